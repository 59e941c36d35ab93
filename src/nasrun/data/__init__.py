"""Image sets: what they are, how they are split, streamed and augmented."""
