"""Inference: a cell's weights, decoding, and the language model that lm-eval drives."""
