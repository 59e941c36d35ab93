"""Runs on disk: folders, reports, and the contents of finished runs."""
