"""Image sets and environments: how they are read, split, streamed and augmented."""
