"""Strategies: stages that search."""
