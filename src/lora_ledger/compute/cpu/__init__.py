"""Pieces of a decoder written for processors: with gradients beside without."""
