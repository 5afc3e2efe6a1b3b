"""Unique completions counted by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from lora_ledger.analysis.diversity import Sample, count, distinct_n, read_samples, syntax_key

PROMPT = 'def add(a, b):\n    """Sum."""\n'
SAME = ["    return a + b\n", "    return a+b  # the sum\n", '    """Doc."""\n    return (a + b)\n']
OTHER = "    return b + a\n"
BROKEN = ["    return a +\n", "    return  a + # cut off\n"]


def test_identity_is_blind_to_layout_only() -> None:
    keys = {syntax_key(PROMPT, text) for text in SAME[:2]}
    assert len(keys) == 1
    assert next(iter(keys))[0] is True
    assert syntax_key(PROMPT, OTHER) not in keys
    assert syntax_key("def f():\n", SAME[2]) == syntax_key("def f():\n", SAME[0])


def test_what_does_not_parse_is_compared_by_its_tokens() -> None:
    first, second = (syntax_key(PROMPT, text) for text in BROKEN)
    assert first == second == (False, "return a +")


def test_hand_count() -> None:
    """Four samples: two spellings of one program, one broken, the first one again."""
    texts = [SAME[0], SAME[1], BROKEN[0], SAME[0]]
    samples = [Sample(PROMPT, text, text is not BROKEN[0]) for text in texts]
    failing = [Sample(PROMPT, BROKEN[i % 2], False) for i in range(4)]
    found = count({3: samples, 0: failing}, python=True)
    assert found["problems"] == [3, 0]
    assert found["samples"] == 4
    assert found["classes"]["all"] == {"exact": [[2, 1, 1], [2, 2]], "syntax": [[3, 1], [4]]}
    assert found["classes"]["passing"] == {"exact": [[2, 1], []], "syntax": [[3], []]}
    assert found["classes"]["failing"] == {"exact": [[1], [2, 2]], "syntax": [[1], [4]]}
    assert found["unparsable"] == [1, 4]


def test_prose_keeps_its_marks() -> None:
    found = count(
        {0: [Sample("Q", "so\n#### 42", True), Sample("Q", "so #### 43", True)]}, python=False
    )
    assert found["classes"]["all"]["syntax"] == [[1, 1]]
    assert found["unparsable"] == [0]


def test_distinct_n_by_hand() -> None:
    # Bigrams: "a b", "b a", "a b" and "b c": 3 of 4 are distinct.
    assert distinct_n(["a b a b", "b c"], 2) == 0.75
    assert distinct_n(["a b a b", "b c"], 1) == 0.5
    assert distinct_n(["a b"], 3) is None


def test_a_program_by_itself_is_read_without_its_prompt(tmp_path: Path) -> None:
    """MBPP's prompt is prose: joined to it, no completion would parse."""
    rows = [
        {"problem": 0, "sample": i, "prompt": "Write f.\n[BEGIN]\n", "completion": text}
        for i, text in enumerate(["def f():\n    return 1\n", "def f():\n    return  1\n"])
    ]
    generations, items = tmp_path / "g.jsonl.gz", tmp_path / "i.csv.gz"
    generations.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    items.write_bytes(gzip.compress(b"problem,id,sample,passed,reason\n0,a,0,1,\n0,a,1,1,\n"))
    alone, _ = read_samples(generations, items, joined=False)
    joined, _ = read_samples(generations, items)
    assert count(alone, python=True)["unparsable"] == [0]
    assert count(alone, python=True)["classes"]["all"]["syntax"] == [[2]]
    assert count(joined, python=True)["unparsable"] == [2]
