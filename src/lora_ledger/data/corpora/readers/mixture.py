"""A mixture: one corpus drawn from several, by shares of their bytes.

In: for each part its splits as `selection` made them, and the weights of the catalogue entry.
Out: the splits `train` and `validation`, and what of them came from where. A part gives only its
splits of those two roles. Copies across parts are removed: of two, the one that comes later in the
order of the content hash. The rest is drawn from each part in that order, so at random, until the
next document wanted is one that its part no longer has; the shares of UTF-8 bytes are then those of
the weights up to one document of each part. Groups keep their names, so that one that several parts
share stays on one side. It reads no source: the parts' own readers and selection do (`make`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_ledger.catalogue import CorpusEntry, ModelEntry
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.make import make as selected
from lora_ledger.data.corpora.selection import content, content_hash, near_copies, normalised
from lora_ledger.data.sources import SourceError

ROLES = ("train", "validation")
Parts = Mapping[str, Mapping[str, Sequence[Example]]]


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """Refuses: a mixture has parts and no sources."""
    raise ValueError(
        "reader mixture: found no `mixture`, expected parts and their weights; add them to the "
        "corpus entry"
    )


def check(
    entry: CorpusEntry, known: Mapping[str, ModelEntry | CorpusEntry], key: str = "mixture"
) -> None:
    """Refuse a mixture that cannot be made; KeyProblem names the key below `key`.

    Parts must be corpora that are known, are no mixtures, hold what the entry holds, and have a
    split of each role that the entry asks for. An entry with another reader passes.
    """
    from lora_ledger.common.errors import KeyProblem, require

    if entry.reader != "mixture":
        if entry.mixture:
            raise KeyProblem(f"{key}.reader", entry.reader, "mixture, since the entry has parts")
        return
    if len(entry.mixture) < 2:
        raise KeyProblem(key, entry.mixture, "two parts or more, each with its weight")
    if entry.sources:
        raise KeyProblem(f"{key}.sources", sorted(entry.sources), "none: the parts have them")
    asked = {split: what.role for split, what in entry.splits.items()}
    if "train" not in asked or any(split != role for split, role in asked.items()):
        raise KeyProblem(
            f"{key}.splits", asked, "train of role train and, if wanted, validation of that role"
        )
    if set(asked) - set(ROLES):
        raise KeyProblem(f"{key}.splits", asked, "no split but train and validation")
    for name in entry.mixture:
        here = f"{key}.{name}"
        require(here, name, [n for n, e in known.items() if isinstance(e, CorpusEntry)], "a corpus")
        part = known[name]
        assert isinstance(part, CorpusEntry)
        if part.reader == "mixture":
            raise KeyProblem(here, name, "a corpus that is no mixture itself; name its parts")
        if part.content != entry.content:
            raise KeyProblem(here, name, f"a corpus of {entry.content} (it holds {part.content})")
        roles = {split: what.role for split, what in part.splits.items()}
        for role in asked:
            if role not in roles.values():
                raise KeyProblem(here, roles, f"a corpus with a split whose role is {role}")


def make(
    name: str, known: Mapping[str, ModelEntry | CorpusEntry]
) -> tuple[dict[str, list[Example]], dict[str, Any]]:
    """The splits of the mixture `name`, and an account of what came from which part.

    Raises KeyProblem for an entry that cannot be made, SourceError for a split without examples.
    """
    entry = known[name]
    assert isinstance(entry, CorpusEntry)
    check(entry, known, f"catalogue.{name}.mixture")
    parts, read = {}, {}
    for part in entry.mixture:
        of = known[part]
        assert isinstance(of, CorpusEntry)
        splits, counts = selected(part, of)
        parts[part] = of_role(of, splits)
        read[part] = counts["counts"]
    near = bool(entry.options.get("near_duplicates", True))
    mixed, results = mix(parts, entry.mixture, near_duplicates=near)
    for split in entry.splits:
        if split not in mixed:
            raise SourceError(
                f"catalogue.{name}.mixture: found no example for the split {split}, expected some "
                "of each part; give the parts more data or leave the split out"
            )
    return {split: mixed[split] for split in entry.splits}, {**results, "read": read}


def of_role(
    entry: CorpusEntry, splits: Mapping[str, Sequence[Example]]
) -> dict[str, list[Example]]:
    """The examples that a part may give, by role: train and validation, nothing held out."""
    found: dict[str, list[Example]] = {role: [] for role in ROLES}
    for split, examples in splits.items():
        role = entry.splits[split].role
        if role in found:
            found[role] += examples
    return found


def mix(
    parts: Parts, weights: Mapping[str, float], *, near_duplicates: bool = True
) -> tuple[dict[str, list[Example]], dict[str, Any]]:
    """The mixture's splits, each in the order of the content hash, and an account of them.

    The account: `counts` of documents and of copies removed; for each split `parts`, {part:
    {documents, bytes, left}}, and `bounded_by`, the part that ran out first.
    """
    kept, counts = across(parts, near_duplicates=near_duplicates)
    splits: dict[str, list[Example]] = {}
    account: dict[str, Any] = {}
    for role in ROLES:
        pools = {part: kept[part].get(role, []) for part in weights}
        if not any(pools.values()):
            continue
        taken, bound = draw(pools, weights)
        drawn = [example for examples in taken.values() for example in examples]
        splits[role] = sorted(drawn, key=content_hash)
        account[role] = {
            "parts": {
                part: {
                    "documents": len(examples),
                    "bytes": sum(map(size, examples)),
                    "left": len(pools[part]) - len(examples),
                }
                for part, examples in taken.items()
            },
            "bounded_by": bound,
        }
        counts[role] = len(drawn)
    return splits, {"counts": counts, **account}


def size(example: Example) -> int:
    """UTF-8 bytes of the document, or of prompt and response."""
    return len((example.text + example.prompt + example.response).encode("utf-8", "surrogatepass"))


def draw(
    pools: Mapping[str, Sequence[Example]], weights: Mapping[str, float]
) -> tuple[dict[str, list[Example]], str]:
    """What is taken of each pool, from its start, and the part whose end ended it.

    The next document always comes from the part with the fewest bytes for its weight, the first
    named among equals; so bytes by weight never differ by more than one document.
    """
    taken: dict[str, list[Example]] = {part: [] for part in weights}
    reached = dict.fromkeys(weights, 0)
    while True:
        part = min(weights, key=lambda name: reached[name] / weights[name])
        if len(taken[part]) == len(pools[part]):
            return taken, part
        example = pools[part][len(taken[part])]
        taken[part].append(example)
        reached[part] += size(example)


def across(
    parts: Parts, *, near_duplicates: bool = True
) -> tuple[dict[str, dict[str, list[Example]]], dict[str, int]]:
    """The parts without what copies an example of another part, each in the content hash's order.

    Within a part nothing is removed: its own selection has done that, or was told not to.
    """
    ordered = sorted(
        (
            (content_hash(example), part, role, example)
            for part, splits in parts.items()
            for role, examples in splits.items()
            for example in examples
        ),
        key=lambda one: one[:3],
    )
    owner: dict[str, str] = {}
    unique = []
    for one in ordered:
        if owner.setdefault(normalised(content(one[3])), one[1]) == one[1]:
            unique.append(one)
    counts = {"exact_duplicates": len(ordered) - len(unique), "near_duplicates": 0}
    if near_duplicates:
        gone = near_copies([content(one[3]) for one in unique], owners=[one[1] for one in unique])
        counts["near_duplicates"] = len(gone)
        unique = [one for position, one in enumerate(unique) if position not in gone]
    kept: dict[str, dict[str, list[Example]]] = {part: {} for part in parts}
    for _, part, role, example in unique:
        kept[part].setdefault(role, []).append(example)
    return kept, counts
