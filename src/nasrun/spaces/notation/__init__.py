"""Notations of architectures, ours and others': texts are parsed and never executed."""
