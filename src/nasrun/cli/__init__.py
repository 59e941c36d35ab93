"""The command line: a verb, then its words; those of a stage are Hydra's override grammar."""
