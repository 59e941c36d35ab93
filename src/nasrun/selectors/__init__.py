"""Selectors: stages that turn what a strategy learned into one genotype."""
