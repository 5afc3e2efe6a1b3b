"""The exact experiments hold, and fail where the claim is made false."""

from __future__ import annotations

import numpy as np
import pytest

from lora_ledger.claims import exact


def test_a_lora_has_two_knobs() -> None:
    found = exact.two_knobs()
    assert found.holds
    assert "largest difference of a loss" in found.figure
    reference = exact.losses(exact.Knobs())
    assert reference[-1] < reference[0] - 0.3
    # p = 2, q = 2 by hand: alpha over 4, all else times 2.
    moved = exact.losses(exact.Knobs(1.5, 2.0, 0.04, 0.04))
    assert np.abs(moved - reference).max() < 1e-12


def test_another_scale_is_not_the_same_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """With p q missing from alpha the claim is false, and the experiment says so."""
    whole = exact.losses
    monkeypatch.setattr(
        exact, "losses", lambda k: whole(exact.Knobs(6.0, k.start, k.rate_a, k.rate_b))
    )
    assert not exact.two_knobs().holds


def test_a_large_spike_makes_an_intruder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "DRAWS", 4)
    assert exact.planted_spike().holds
    # Of no size it makes none, so a rule that expects one there fails.
    monkeypatch.setattr(exact, "LARGE", (0.01,))
    assert not exact.planted_spike().holds
