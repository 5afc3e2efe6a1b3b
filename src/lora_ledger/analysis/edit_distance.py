"""How alike two texts are by the edits between them.

In: two texts. Out: the least number of insertions, deletions and substitutions of characters that
make one of the other (Levenshtein 1966), and that as a similarity. Words and meaning do not count.
"""

from __future__ import annotations


def distance(one: str, other: str) -> int:
    """Levenshtein's distance, by the recurrence of Wagner and Fischer 1974, a row at a time."""
    row = list(range(len(other) + 1))
    for i, mine in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, theirs in enumerate(other, 1):
            kept = before + (mine != theirs)
            before = row[j]
            row[j] = min(kept, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def similarity(one: str, other: str) -> float:
    """1 less the distance over the longer text's characters: 1 is the same, 0 nothing in place."""
    longest = max(len(one), len(other))
    return 1 - distance(one, other) / longest if longest else 1.0
