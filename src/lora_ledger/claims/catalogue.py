"""The claims of the papers, as `claims.yaml` has them.

In: `claims.yaml`, and the published values that it refers to. Out: frozen `Claim`s with the
protocol of their paper. Refused, by key, with what was found and expected: an unknown key,
protocol, paper or claim, a contradiction that the other side does not name, and a reference that
chooses no row. It says what a paper says; whether it is so, a study decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from lora_ledger.catalogue import Frozen
from lora_ledger.common import yaml
from lora_ledger.common.errors import KeyProblem, nearest, require
from lora_ledger.study.decisions import Decision

from . import published
from .published import Source, Value

FILE = Path(__file__).with_name("claims.yaml")
Text = Annotated[str, Field(min_length=1)]
Id = Annotated[str, Field(pattern=r"^L[A-Z][1-9][0-9]?$")]
Cell = str | int | float
Kind = Literal[
    "exact", "timing", "comparative", "equivalence", "trend", "optimum", "correlation", "causal",
    "fit",
]  # fmt: skip


class Protocol(Frozen):
    """How the paper's numbers came about."""

    model: Text
    data: Text
    batch: Text
    rates: Text = Field(description="How learning rates were chosen.")
    scaling: Text = Field(description="Ranks, and alpha over them.")
    modules: Text
    schedule: Text
    runs: Text = Field(description="Seeds, and what is a run of its own.")
    evaluation: Text


class _Entry(Frozen):
    """One claim, as the file has it."""

    statement: Text
    paper: Text
    place: Text
    kind: Kind
    metric: Text = Field(description="What a study measures to decide it.")
    reported: Text = Field(description="The figure or the direction that the paper gives.")
    published: tuple[dict[str, Cell | tuple[Cell, ...]], ...] = Field(
        (), description="Choices of rows of `results/published/`."
    )
    protocol: Text
    scope: Text
    contradicts: tuple[Id, ...] = Field((), description="Claims that say the opposite.")
    see: tuple[Id, ...] = Field((), description="Claims that limit, explain or repeat it.")
    needs: Text = Field(description="The cells that a study has to have.")
    lacks: Text | None = Field(None, description="What this suite cannot do yet.")


class _File(Frozen):
    protocols: dict[str, Protocol]
    claims: dict[Id, _Entry]


class Claim(Frozen):
    """One claim with everything that stands behind it in its paper."""

    id: str
    statement: str
    source: Source
    place: str
    kind: Kind
    metric: str
    reported: str
    values: tuple[Value, ...]
    protocol_name: str
    protocol: Protocol
    scope: str
    contradicts: tuple[str, ...]
    see: tuple[str, ...]
    needs: str
    lacks: str | None

    @property
    def missing(self) -> str:
        """What keeps it from being decided, while no study has."""
        needs = f"a study that has {self.needs}"
        return f"{self.lacks}; then {needs}" if self.lacks else needs


@cache
def claims(folder: Path = published.FOLDER) -> Mapping[str, Claim]:
    """Every claim by its id, with values from a folder of published numbers."""
    return parse(FILE.read_bytes(), published.read(folder), published.sources(folder), FILE.name)


@cache
def ids() -> tuple[str, ...]:
    """The ids of all claims, for whoever asks whether there is one; no value is read."""
    return tuple(yaml.read(FILE)["claims"])


def statements() -> dict[str, str]:
    """Each claim's one sentence by its id."""
    return {name: str(entry["statement"]) for name, entry in yaml.read(FILE)["claims"].items()}


def check_decided(decisions: Mapping[str, Decision]) -> None:
    """Refuse a study's rule for a claim that is not there."""
    for name, rule in decisions.items():
        require(f"decisions.{name}.claim", rule.claim, ids(), f"a claim of {FILE.name}")


def parse(
    text: str | bytes, values: Sequence[Value], papers: Mapping[str, Source], where: str
) -> dict[str, Claim]:
    """Claims of YAML text, in its order; raises KeyProblem or YamlError, which name the key."""
    raw = yaml.load(text)
    try:
        found = _File.model_validate(raw)
    except ValidationError as error:
        raise _problem(where, error) from None
    made = {
        name: _claim(f"{where}: claims.{name}", name, entry, found.protocols, values, papers)
        for name, entry in found.claims.items()
    }
    for name, claim in made.items():
        for key, others in (("contradicts", claim.contradicts), ("see", claim.see)):
            for other in others:
                require(f"{where}: claims.{name}.{key}", other, made, "a claim")
    for name, claim in made.items():
        for other in claim.contradicts:
            if name not in made[other].contradicts:
                raise KeyProblem(
                    f"{where}: claims.{other}.contradicts",
                    list(made[other].contradicts),
                    f"{name} among them, since {name} contradicts {other}",
                )
    unused = sorted(set(found.protocols) - {claim.protocol_name for claim in made.values()})
    if unused:
        raise KeyProblem(f"{where}: protocols", unused, "protocols that a claim has")
    return made


def _claim(
    where: str,
    name: str,
    entry: _Entry,
    protocols: Mapping[str, Protocol],
    values: Sequence[Value],
    papers: Mapping[str, Source],
) -> Claim:
    require(f"{where}.protocol", entry.protocol, protocols, "a protocol of this file")
    require(f"{where}.paper", entry.paper, papers, f"a paper of {published.SOURCES}")
    chosen: list[Value] = []
    for number, choice in enumerate(entry.published):
        rows = published.select(values, choice)
        if not rows:
            raise KeyProblem(
                f"{where}.published.{number}", choice, "columns that choose a published value"
            )
        chosen += [row for row in rows if row not in chosen]
    return Claim(
        id=name,
        source=papers[entry.paper],
        values=tuple(chosen),
        protocol_name=entry.protocol,
        protocol=protocols[entry.protocol],
        **entry.model_dump(exclude={"paper", "published", "protocol"}),
    )


def _problem(where: str, error: ValidationError) -> KeyProblem:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part != "[key]"]
    key = f"{where}: {'.'.join(place)}"
    if first["type"] == "missing":
        return KeyProblem(key, "nothing", "this key")
    if first["type"] == "extra_forbidden":
        kinds: dict[str, Any] = {"protocols": Protocol, "claims": _Entry}
        known = list(kinds.get(place[0], _File).model_fields)
        return KeyProblem(
            key, "an unknown key", f"one of {', '.join(known)}", nearest(place[-1], known)
        )
    return KeyProblem(key, first["input"], first["msg"])
