"""Metrics: local modules of `evaluate`, loaded by path and without a network."""
