"""Measurements on finished searches."""
