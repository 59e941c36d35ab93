"""Engines: where the members of a population are trained."""
