"""From a genotype to its score."""
