"""The fixtures of a small training run."""

from tiny_study import job, packed, study

__all__ = ["job", "packed", "study"]
