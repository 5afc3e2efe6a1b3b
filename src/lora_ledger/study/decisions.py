"""How a study decides claims: which cells, against which, by which test, and what it takes.

In: the section `decisions` of a study file. Out: frozen rules, each with a digest of its own, and a
KeyProblem for a rule in which keys do not go together. Cells are chosen by what they
are (kind, rank, modules, regime, domain, budget), never by a name. It knows no study (`decided`
does) and computes nothing; that the claim exists is asked by whoever knows the claims.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from lora_ledger.catalogue import Frozen
from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.records.record import digest_json

from .measured import MEASURED

Test = Literal["difference", "trend", "page", "signs", "matched", "items", "optimum",
               "spearman", "exact"]  # fmt: skip
Word = Literal["lower", "higher", "within", "holds", "fails"]
Along = Literal["budget", "rank", "parameters"]
Share = Literal["", "gain", "forgetting", "value"]
EXPERIMENTS = ("two-knobs", "planted-spike")
"""Exact claims need no cells: the stage makes the experiment itself."""
_MARGIN = re.compile(
    r"(?P<size>[0-9]*\.?[0-9]+)(?:(?P<percent>%) of (?P<of>gain|forgetting|value))?"
)


class Bounds(Frozen):
    """Numbers from `least` to `most`, both counted in."""

    least: float | None = None
    most: float | None = None

    def hold(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


Numbers = float | tuple[float, ...] | Bounds


class Methods(Frozen):
    """Methods by what they are. A key of the method that nothing here speaks of has its default: a
    plain LoRA is chosen by `kind: lora`, a DoRA by `keys: {dora: true}` beside it."""

    kind: str | tuple[str, ...]
    rank: Numbers | None = None
    alpha_over_rank: Numbers | None = None
    share: Numbers | None = Field(
        None, description="Trained parameters over those of the model, such as {most: 0.01}."
    )
    modules: str | tuple[str, ...] | None = Field(
        None, description="Of a LoRA: attention, mlp, all, or names of modules."
    )
    times: PositiveFloat | None = Field(
        None, description="The rate is this many times another method's selected one (`at`)."
    )
    keys: dict[str, Any] = Field(
        default_factory=dict, description="Other keys of the method and their values."
    )

    @property
    def kinds(self) -> tuple[str, ...]:
        return (self.kind,) if isinstance(self.kind, str) else self.kind


class Where(Frozen):
    """Settings and budgets by what they are; compared are cells of one setting and budget."""

    regime: str | tuple[str, ...] | None = None
    domain: str | tuple[str, ...] | None = None
    role: Literal["target", "control"] = "target"
    budget: Literal["longest", "shortest", "all"] = "longest"


class Decision(Frozen):
    """One rule for one claim. `supported` and `contradicted` name what the test has to find."""

    claim: Annotated[str, Field(pattern=r"^L[A-Z][1-9][0-9]?$")]
    version: PositiveInt = 1
    reason: str = Field("", description="Why this version took the place of the one before.")
    primary: bool = False
    test: Test
    metric: str | None = None
    k: PositiveInt = Field(1, description="Of the metric pass-at-k.")
    steps: PositiveInt = Field(20, description="Of the metric first-losses.")
    other: str | None = Field(None, description="Of spearman: what the metric goes with.")
    cells: Methods | None = None
    against: Methods | Literal["base"] | None = Field(
        None, description="The comparator, in the same setting and budget; `base`: untouched."
    )
    where: Where = Where()
    over: Literal["mean", "each"] = Field(
        "mean", description="Of several chosen methods: their mean, or each by itself."
    )
    along: Along | None = Field(None, description="Of trend and page: on a log scale, base 2.")
    margin: str = Field(
        "0", description="A number in the metric's unit, or as in `5% of gain`, of the comparator."
    )
    range: tuple[PositiveFloat, PositiveFloat] | None = Field(
        None, description="Of optimum: ratios that count as within."
    )
    experiment: str | None = Field(None, description="Of exact.")
    supported: tuple[Word, ...] | Word
    contradicted: tuple[Word, ...] | Word

    @field_validator("margin", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return f"{value:g}" if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _fits(self) -> Decision:
        if self.version > 1 and not self.reason:
            raise KeyProblem("reason", "", f"why version {self.version} was needed")
        if not _MARGIN.fullmatch(self.margin):
            expected = "a number, or a share as in '5% of gain', of gain, forgetting or value"
            raise KeyProblem("margin", self.margin, expected)
        _check_words(self)
        for key, tests in ASKED_BY.items():
            given = getattr(self, key) is not None
            if self.test in tests and not given:
                raise KeyProblem(key, None, f"this key, since the test is {self.test}")
            if given and self.test not in (*tests, *MAY_HAVE.get(key, ())):
                expected = f"no such key with the test {self.test}"
                raise KeyProblem(key, _shown(getattr(self, key)), expected)
        if self.experiment is not None:
            require("experiment", self.experiment, EXPERIMENTS, "one of")
        for key in ("metric", "other"):
            if getattr(self, key) is not None:
                require(key, getattr(self, key), MEASURED, "one of")
        if self.test == "trend" and self.along == "budget" and self.where.budget != "all":
            raise KeyProblem("where.budget", self.where.budget, "all, for a trend along budgets")
        return self

    @property
    def said(self) -> dict[str, tuple[str, ...]]:
        """The words for each of the two verdicts."""
        return {
            name: (words,) if isinstance(words, str) else tuple(words)
            for name, words in (("supported", self.supported), ("contradicted", self.contradicted))
        }

    @property
    def limit(self) -> tuple[float, Share]:
        """The margin's size, as a fraction where it is a share, and what it is a share of."""
        found = _MARGIN.fullmatch(self.margin)
        assert found
        of: Any = found["of"] or ""
        return float(found["size"]) / (100 if found["percent"] else 1), of

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the rule: keys at their default and the prose left out."""
        said = self.model_dump(mode="json", exclude_defaults=True, exclude={"reason"})
        return digest_json(said)[:16]


ASKED_BY: dict[str, tuple[str, ...]] = {
    "metric": ("difference", "trend", "page", "signs", "matched", "items", "spearman"),
    "cells": ("difference", "trend", "page", "signs", "matched", "items", "optimum", "spearman"),
    "against": ("difference", "signs", "matched", "items", "optimum"),
    "along": ("trend", "page"),
    "range": ("optimum",),
    "other": ("spearman",),
    "experiment": ("exact",),
}
"""Keys that tests need."""
MAY_HAVE = {"against": ("trend", "page")}


def _check_words(rule: Decision) -> None:
    known: tuple[str, ...] = ("holds", "fails") if rule.test == "exact" else ("lower", "higher")
    if rule.test == "optimum" or (
        rule.test not in ("exact", "page", "signs") and rule.limit[0] > 0
    ):
        known = (*known, "within")
    both = set(rule.said["supported"]) & set(rule.said["contradicted"])
    for key, words in rule.said.items():
        for word in words:
            said = "a word of this test (`within` needs a margin)"
            require(key, word, known, said)
    if both:
        raise KeyProblem("contradicted", sorted(both), "words that `supported` does not have")


def _shown(value: object) -> object:
    return value.model_dump(exclude_defaults=True) if isinstance(value, Frozen) else value
