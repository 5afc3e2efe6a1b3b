"""Regimes: what is learnt from an example, one file for each.

In: the name of a regime. Out: its `Regime`. A new regime is a new file here, called like its name,
with a `REGIME` of a class of its own, and its line of facts in `study/regimes.py`; nobody else asks
which regime it is.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .base import Regime


def names() -> tuple[str, ...]:
    """The regimes that have a file here."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    return tuple(name for name in files if name not in ("__init__", "base"))


def regime(name: str) -> Regime:
    """The regime of a name that a study accepts."""
    found: Regime = import_module(f"{__name__}.{name}").REGIME
    return found


__all__ = ["Regime", "names", "regime"]
