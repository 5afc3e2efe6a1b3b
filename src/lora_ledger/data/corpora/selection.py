"""Examples of a reader become splits: no copies, no group on two sides, in an order of no meaning.

In: the examples of one corpus. Out: a list for each split and the counts of what went. Exact copies
are found on normalised text, near-copies by the Jaccard similarity of their 8-grams of words, which
is computed exactly: prefix filtering (Bayardo et al. 2007, "Scaling up all pairs similarity
search") leaves out only pairs that cannot reach the threshold. The split follows from the group's
name alone, so one group falls on the same side of every corpus. A split that is wanted as it was
published passes through untouched. It does not read sources and does not write files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from . import Example

SHARES: Mapping[str, float] = MappingProxyType({"train": 0.8, "validation": 0.1, "test": 0.1})
GRAM = 8
THRESHOLD = 0.7


def content(example: Example) -> str:
    """The text that copies are judged by: the document, or prompt and response together."""
    return example.text or f"{example.prompt}\n{example.response}"


def normalised(text: str) -> str:
    """`text` with case folded and every run of white space made one blank."""
    return " ".join(text.casefold().split())


def content_hash(example: Example) -> str:
    """sha256, in hex, of the example's canonical JSON without its split."""
    values = {
        "group": example.group,
        "text": example.text,
        "prompt": example.prompt,
        "response": example.response,
        "fields": example.fields,
    }
    line = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()


def identifier(example: Example) -> str:
    """The example's name in every table: the first 16 hex digits of its content hash."""
    return content_hash(example)[:16]


def side(group: str, shares: Mapping[str, float] = SHARES) -> str:
    """The split that `group` falls on: its sha256 as a number in [0, 1) against `shares`."""
    total = math.fsum(shares.values())
    if not shares or abs(total - 1.0) > 1e-9 or min(shares.values()) < 0:
        raise ValueError(
            f"shares: found {dict(shares)}, which add to {total:g}; expected shares that are not "
            "negative and add to 1; change them in the call of select()"
        )
    place = int(hashlib.sha256(group.encode("utf-8")).hexdigest()[:16], 16) / 2**64
    edge = 0.0
    for name, share in shares.items():
        edge += share
        if place < edge:
            return name
    return list(shares)[-1]


def grams(texts: Sequence[str]) -> list[frozenset[int]]:
    """The set of 8-grams of words of each text, as numbers; empty below eight words.

    A gram is the hash of a tuple of word numbers, which no hash seed of the interpreter changes.
    """
    numbers: dict[str, int] = {}
    sets = []
    for text in texts:
        words = [numbers.setdefault(word, len(numbers)) for word in normalised(text).split()]
        found = {hash(tuple(words[i : i + GRAM])) for i in range(len(words) - GRAM + 1)}
        sets.append(frozenset(found))
    return sets


def near_copies(
    texts: Sequence[str], threshold: float = THRESHOLD, owners: Sequence[str] = ()
) -> set[int]:
    """Positions whose 8-gram Jaccard similarity with an earlier text that stays is > `threshold`.

    With `owners`, a name for each text, only texts of different owners are compared.

    Two sets with similarity above t share one of the first |s| - ceil(t |s|) + 1 grams of each,
    when the grams of all sets are put in one common order; the rarest first makes few candidates.
    """
    sets = grams(texts)
    frequency: Counter[int] = Counter()
    for one in sets:
        frequency.update(one)
    holders: dict[int, list[int]] = defaultdict(list)
    gone: set[int] = set()
    for position, one in enumerate(sets):
        if not one:
            continue
        ordered = sorted(one, key=lambda gram: (frequency[gram], gram))
        prefix = ordered[: len(one) - math.ceil(threshold * len(one)) + 1]
        candidates = {other for gram in prefix for other in holders[gram]}
        if owners:
            candidates = {other for other in candidates if owners[other] != owners[position]}
        if any(_jaccard(one, sets[other]) > threshold for other in candidates):
            gone.add(position)
            continue
        for gram in prefix:
            holders[gram].append(position)
    return gone


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def select(
    examples: Iterable[Example],
    *,
    near_duplicates: bool = True,
    shares: Mapping[str, float] = SHARES,
    published: Collection[str] = (),
) -> tuple[dict[str, list[Example]], dict[str, int]]:
    """De-duplicate and split `examples`.

    Each split is in the order of the content hash, so that a prefix is a random sample and the
    reader's order does not matter. An example with a split of its own keeps it; otherwise the
    sha256 of its group decides, by `shares`. `near_duplicates=False` keeps near-copies, for corpora
    made from templates. The splits named in `published` keep every example, empty ones and copies
    too, in the reader's order, and no other split loses an example for being like one of theirs.
    Counts: read, empty, exact_duplicates, near_duplicates, and one for each split.
    """
    counts = {"read": 0, "empty": 0, "exact_duplicates": 0, "near_duplicates": 0}
    splits: dict[str, list[Example]] = defaultdict(list)
    hashed: list[tuple[str, Example]] = []
    for example in examples:
        counts["read"] += 1
        if published and (name := example.split or side(example.group, shares)) in published:
            splits[name].append(example)
        elif content(example).strip():
            hashed.append((content_hash(example), example))
        else:
            counts["empty"] += 1
    hashed.sort(key=lambda pair: pair[0])

    seen: set[str] = set()
    kept: list[Example] = []
    for _, example in hashed:
        key = normalised(content(example))
        if key not in seen:
            seen.add(key)
            kept.append(example)
    counts["exact_duplicates"] = len(hashed) - len(kept)

    if near_duplicates:
        gone = near_copies([content(example) for example in kept])
        kept = [example for position, example in enumerate(kept) if position not in gone]
        counts["near_duplicates"] = len(gone)

    for example in kept:
        splits[example.split or side(example.group, shares)].append(example)
    counts.update({name: len(splits[name]) for name in sorted(splits)})
    return {name: splits[name] for name in sorted(splits)}, counts
