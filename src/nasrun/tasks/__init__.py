"""Tasks: what networks are trained for, and how they are measured."""
