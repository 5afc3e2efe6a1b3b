"""Derived cells of a study: their labels, what they are asked, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lora_ledger.cli.plan import lines
from lora_ledger.scheduling import staleness
from lora_ledger.scheduling.planning import plan
from lora_ledger.study import cells
from lora_ledger.study.derived import written
from lora_ledger.study.file import StudyError, parse
from lora_ledger.study.schema import Study

CELL = "code-cpt/lora-r2/tokens/s1"
OF = {"settings": ["code-cpt"], "methods": ["lora-r2"]}
ALL = {
    "rewound": {"of": OF, "lambda": [0, 0.5]},
    "intruders": {"of": OF, "lambda": [0.3], "epsilon": 0.4},
    "random": {"like": OF, "rank": 2},
}
MADE = [
    f"derived/rewound/{CELL}/lambda-0",
    f"derived/rewound/{CELL}/lambda-0.5",
    f"derived/intruders/{CELL}/lambda-0.3",
    f"derived/intruders/{CELL}/lambda-0.3-neighbour",
    f"derived/intruders/{CELL}/lambda-0.3-direction",
    f"derived/intruders/{CELL}/lambda-0.3-shrink",
    f"derived/random/{CELL}/rank-2",
]


def smoke(derived: Any = None, **changes: Any) -> Study:
    raw: dict[str, Any] = yaml.safe_load(Path("config/smoke.yaml").read_text("utf-8"))
    raw |= changes | ({} if derived is None else {"derived": derived})
    return parse(yaml.safe_dump(raw))


def test_derived_cells_are_cells_but_are_not_trained_ones() -> None:
    study, plain = smoke(ALL), smoke()
    assert cells.labels(study) == [*cells.labels(plain), *MADE]
    assert cells.cells(study) == cells.cells(plain)
    for label in MADE:
        assert cells.cell(study, label) is None
        assert cells.weights_of(study, label) == cells.cell(study, CELL)
        assert cells.folder(study, label) == f"train/{CELL}"
        assert cells.generate_runs(study, label) == ["code"]
        assert cells.base_of(study, label) == "base"
    records = set(cells.records(study)) - set(cells.records(plain))
    assert records == {
        f"{what}/{label}"
        for what in ("generate/code", "score/code", "diversity/code", "retain/general",
                     "retain/facts")
        for label in MADE
    }  # fmt: skip


def test_weights_stay_until_what_is_derived_from_them_is_answered() -> None:
    study = smoke(ALL)
    asked = cells.evaluations(study, CELL)
    assert {f"retain/general/{label}" for label in (CELL, *MADE)} <= set(asked)
    assert not [path for path in asked if path.startswith("spectrum/derived")]
    other = "code-cpt/full/tokens/s1"
    assert cells.evaluations(study, other) == cells.evaluations(smoke(), other)


def test_everything_is_chosen_where_nothing_is_named() -> None:
    study = smoke({"random": {}})
    found = [one.of.label for one in cells.index(study).derived.values()]
    assert found == [cell.label for cell in cells.cells(study)]
    assert cells.labels(study)[-1].endswith("/rank-full")


def test_digests_move_with_the_derivation_and_nowhere_else() -> None:
    study, plain = smoke(ALL), smoke()
    wider = smoke(ALL | {"intruders": {"of": OF, "lambda": [0.3], "epsilon": 0.5}})

    def digest(of: Study, label: str, stage: str = "retain") -> str:
        names = {"task": "general"} if stage == "retain" else {"run": "code"}
        return staleness.science(of, stage, cell=label, **names)

    for stage in ("retain", "generate"):
        assert digest(study, CELL, stage) == digest(plain, CELL, stage)
        first = digest(study, MADE[2], stage)
        assert first != digest(wider, MADE[2], stage)
        assert digest(study, MADE[1], stage) == digest(wider, MADE[1], stage)
        assert len({digest(study, label, stage) for label in MADE}) == len(MADE)


def test_a_plan_counts_them(tmp_path: Path) -> None:
    found = plan(smoke(ALL), tmp_path)
    assert (found.cells, found.derived) == (9, 7)
    assert lines(found, "smoke", True)[0].startswith("9 cells and 7 derived from them, ")
    assert found.memory_mb >= plan(smoke(), tmp_path).memory_mb
    assert found.jobs["retain"][1] - plan(smoke(), tmp_path).jobs["retain"][1] == 14


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.5, "0.5"), (0.25, "0.25"), (1e-5, "0.00001")]
)
def test_a_lambda_is_written_without_an_exponent(value: float, text: str) -> None:
    assert written(value) == text


@pytest.mark.parametrize(
    ("derived", "said"),
    [
        (
            {"rewound": {"of": {"methods": ["lora-r3"]}, "lambda": [0.5]}},
            r"derived\.rewound\.of\.methods: found 'lora-r3', expected one of: full.*"
            r"did you mean 'lora-r2'",
        ),
        (
            {"random": {"like": {"settings": ["math-ift"], "methods": ["lora-r2"]}}},
            r"derived\.random\.like: found \{.*expected names of which some trained cell has all",
        ),
        ({"rewound": {"lambda": [1.0]}}, r"derived\.rewound\.lambda\.0: found 1.0, .*below 1"),
        ({"rewound": {"lambda": [-0.1]}}, r"derived\.rewound\.lambda\.0: .*at least 0"),
        ({"intruders": {"lambda": [0.5, 0.5]}}, r"derived\.intruders\.lambda: .*that differ"),
        ({"intruders": {}}, r"derived\.intruders\.lambda: found nothing"),
        ({"random": {"like": OF, "rank": 1000}}, r"derived\.random\.rank: found 1000.* at most"),
        ({"rewind": {}}, r"derived\.rewind: found an unknown key.*did you mean 'rewound'"),
    ],
)
def test_what_cannot_be_made_is_refused(derived: Any, said: str) -> None:
    with pytest.raises(StudyError, match=said):
        smoke(derived)


def test_a_method_that_does_not_merge_is_refused() -> None:
    raw: dict[str, Any] = yaml.safe_load(Path("config/smoke.yaml").read_text("utf-8"))
    methods = raw["methods"] | {
        "houlsby": {"kind": "houlsby", "bottleneck": 4, "learning_rates": [0.001]}
    }
    settings = raw["settings"]
    settings["repair"]["methods"] = ["lora-olora", "houlsby"]
    given = {"methods": methods, "settings": settings}
    said = r"derived\.rewound\.of\.methods: found 'houlsby', expected methods that merge .*lora-r2"
    with pytest.raises(StudyError, match=said):
        smoke({"rewound": {"lambda": [0.5]}}, **given)
    named = smoke({"rewound": {"of": {"methods": ["lora-olora"]}, "lambda": [0.5]}}, **given)
    assert len(cells.index(named).derived) == 1
