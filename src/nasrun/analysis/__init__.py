"""Measurements on architectures, scores and finished searches."""
