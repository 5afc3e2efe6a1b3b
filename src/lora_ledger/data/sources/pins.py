"""What pins the sources of a catalogue entry, for the record of what was made from them.

In: the sources by name. Out: a hash, a seed, or a hub's commit with a hash for each file; and the
entry with that commit in it. It fetches nothing that `obtain` has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_ledger.catalogue import ModelSource, TrainedSource
from lora_ledger.records.record import Input, of_bytes

from . import provenance, trained


def pins(
    sources: Mapping[str, ModelSource],
) -> tuple[dict[str, Input], dict[str, str], dict[str, Any]]:
    """What pins each source: a hash, a seed, or for a hub the commit and the hash of each file.

    Then the commit of each hub source by its name, and for the record's run, whether the entry
    names them all. Where it does not, a line says what to write there.
    """
    digests: dict[str, str] = {}
    commits: dict[str, str] = {}
    moving = []
    for name, source in sources.items():
        found = provenance(source)
        if isinstance(found, str):
            digests[name] = found
            continue
        digests[name] = f"{found['repo']}@{found['commit'] or 'unknown'}"
        commits[name] = found["commit"] or ""
        for path, sha256 in found["files"].items():
            digests[f"{name}/{path}"] = sha256
        if found["resolved"]:
            continue
        moving.append(name)
        if found["commit"]:
            print(
                f"resolved {found['repo']}@{found['revision']} to {found['commit']}; put "
                f"`revision: {found['commit']}` into the entry to pin it"
            )
        else:
            print(
                f"{found['repo']}@{found['revision']} came from a mirror that does not say its "
                "commit; the record has the hash of each file"
            )
    found_pins = {name: of_bytes(digest) for name, digest in digests.items()}
    for name, source in sources.items():
        if isinstance(source, TrainedSource):
            # What asked for a base is followed beyond it, to the study that trained it.
            found_pins[name] = trained.record_of(source).input
    return found_pins, commits, {"resolved": not moving} if commits else {}


def pinned(said: dict[str, Any], commits: Mapping[str, str]) -> dict[str, Any]:
    """An entry as the settings have it, hub sources at the commit that they were read at.

    So writing that commit into the entry changes no record's id, and nothing is trained again.
    """
    own = {"source": said["source"]} if "source" in said else said["sources"]
    for name, source in own.items():
        if commits.get(name):
            source["revision"] = commits[name]
    return said
