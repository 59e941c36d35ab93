"""Cells and curves as pictures."""
