"""A network in which every decision is still open, and its parts."""
