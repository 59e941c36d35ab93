"""Engines, which run many jobs side by side: here, in a pool of processes, or on a cluster."""
