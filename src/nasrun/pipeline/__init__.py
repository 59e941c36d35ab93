"""From a command to the stages that run."""
