"""What pins a source, and the entry that is pinned by it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lora_ledger.catalogue import GeneratedSource, HubSource, UrlSource
from lora_ledger.data.sources import pins
from lora_ledger.records.record import Input

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def ids(inputs: Mapping[str, Input]) -> dict[str, str]:
    """What pins each input."""
    return {name: one.id for name, one in inputs.items()}


def test_committed_sources_have_one_provenance_each(monkeypatch: pytest.MonkeyPatch) -> None:
    url = UrlSource(kind="url", url="https://a.b/c", file="c", sha256="0" * 64)
    digests, commits, run = pins.pins(
        {"url": url, "made": GeneratedSource(kind="generated", seed=7)}
    )
    assert ids(digests) == {"url": "0" * 64, "made": "seed 7"}
    assert commits == run == {}
    hub = HubSource(kind="hub", repo="me/mine", type="model", revision=COMMIT, files=["a"])
    found = {"repo": "me/mine", "revision": COMMIT, "commit": COMMIT, "resolved": True}
    monkeypatch.setattr(pins, "provenance", lambda source: {**found, "files": {"a": "1" * 64}})
    digests, commits, run = pins.pins({"hub": hub})
    assert ids(digests) == {"hub": f"me/mine@{COMMIT}", "hub/a": "1" * 64}
    assert (commits, run) == ({"hub": COMMIT}, {"resolved": True})


def test_an_entry_is_pinned_at_the_commit_that_was_read() -> None:
    sources = {"one": {"revision": "main"}, "two": {"revision": "main"}, "three": {"seed": 7}}
    found = pins.pinned({"sources": sources}, {"one": COMMIT, "two": ""})
    assert found["sources"] == {
        "one": {"revision": COMMIT},
        "two": {"revision": "main"},
        "three": {"seed": 7},
    }
    assert pins.pinned({"source": {"revision": "v1"}}, {"source": COMMIT}) == {
        "source": {"revision": COMMIT}
    }
