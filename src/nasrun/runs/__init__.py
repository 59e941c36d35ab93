"""Runs on disk: folders, reports, and what a finished one holds."""
