"""Training: optimisers, schedules, batching, loss, checkpoints, and the loop that joins them."""
