"""What replaces pieces of a decoder on GPUs."""
