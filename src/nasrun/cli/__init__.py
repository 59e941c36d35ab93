"""The command line: a verb, then its words; those of stages are Hydra's override grammar."""
