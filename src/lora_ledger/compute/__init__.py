"""Arithmetic that knows no study: the device, and what is computed on it, in training and after."""
