"""A stage's facts: its version, what it reads of the study, what it runs on, and which code it is.

In: a study and the names of a job. Out: the two digests by which Snakemake knows whether a job's
outcome is out of date, and the record that the stage writes. Each stage has one `STAGE`, beside its
code; nothing about a stage stands anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lora_ledger.records.record import Input, Record, digest_json, write_record
from lora_ledger.study import rates
from lora_ledger.study.cells import derived
from lora_ledger.study.schema import Study
from lora_ledger.study.training_inputs import decides
from lora_ledger.training.regimes import regime

from .digests import code_digest

Names = Mapping[str, str]
Reads = Callable[[Study, Names], dict[str, Any]]


def nothing(study: Study, names: Names) -> dict[str, Any]:
    """For a stage that reads nothing of the study."""
    return {}


def no_module(study: Study, names: Names) -> tuple[str, ...]:
    """For a stage whose code is found by its imports alone."""
    return ()


@dataclass(frozen=True)
class Stage:
    """`name` is also that of its module in `stages`.

    `changes[i]` says what version i + 1 computes that the one before did not; the last is the
    version in force. It is raised by hand, when the stage computes something else.
    `reads`: the resolved values that decide the outcome, without keys at their default.
    `asks`: as `reads`, where not all of it is to be in a record's `asked`.
    `machine`: what the study says of where it runs; out of date when it changes, part of no hash.
    `modules`: modules that the stage finds by a name in the study, such as a corpus's reader.
    `whole`: whether all of the stage's own file counts; where one file makes things of several
    kinds, `modules` names what makes the kind at hand.
    """

    name: str
    changes: tuple[str, ...]
    reads: Reads = nothing
    machine: Reads = nothing
    asks: Reads | None = None
    modules: Callable[[Study, Names], tuple[str, ...]] = no_module
    whole: bool = True
    torch: bool = False

    @property
    def version(self) -> int:
        return len(self.changes)

    def code(self, study: Study | None, names: Names) -> str:
        """The digest of the code that a job runs."""
        found = self.modules(study, names) if study is not None else ()
        own = (f"stages.{self.name}",) if self.whole or not found else ()
        return code_digest(*own, *sorted(set(found)))

    def science(self, study: Study, names: Names) -> str:
        """The digest of what a job reads of study and catalogue."""
        return digest_json(
            {
                "stage": self.name,
                "version": self.version,
                "reads": self.reads(study, names),
                "machine": self.machine(study, names),
            }
        )

    def record(
        self,
        path: Path,
        study: Study | None,
        names: Names,
        cell: str,
        *,
        inputs: Mapping[str, Input],
        settings: Mapping[str, Any],
        results: Mapping[str, Any],
        run: Mapping[str, Any] | None = None,
        status: Literal["complete", "diverged"] = "complete",
        resolved: Names | None = None,
    ) -> Record:
        """Write the record of a job; see `write_record`.

        `resolved`: what else `reads` is to know, such as the rate that was selected.
        """
        asks = self.asks or self.reads
        known = {**names, **(resolved or {})}
        told = {"code_digest": self.code(study, names)}
        if study is not None:
            told["stage_digest"] = self.science(study, known)
        return write_record(
            path,
            stage=self.name,
            version=self.version,
            cell=cell,
            names=names,
            inputs=inputs,
            asks={} if study is None else asks(study, known),
            settings=settings,
            results=results,
            run={**told, **(run or {})},
            status=status,
        )


def of_evaluation(study: Study, names: Names) -> dict[str, Any]:
    """What the study says of the machine that evaluates."""
    return {"device": study.compute.device, "threads": study.compute.threads}


def asked_of_evaluation(study: Study, cell: str) -> dict[str, Any]:
    """Precision and back-end of an evaluation, where the study names them; of a derived cell what
    is made."""
    compute = study.compute
    named = {"precision": compute.precision.evaluate, "backend": compute.backend}
    fixed = {"precision": "auto", "backend": type(compute).model_fields["backend"].default}
    found = {key: value for key, value in named.items() if value != fixed[key]}
    how = derived(study, cell)
    return {**found, "derived": how.asked} if how else found


def lean(model: Any, *leave_out: str) -> dict[str, Any]:
    """The keys of a part of the study that are not at their default, as plain JSON values."""
    found: dict[str, Any] = model.model_dump(
        mode="json", exclude_defaults=True, exclude=set(leave_out) or None
    )
    return found


SCHEDULES = ("compute", "checkpoint_steps", "keep_weights", "to_be_pinned", "decisions")
"""Keys of a study that say how it runs, and change no number that stands in a table."""


def of_the_whole(study: Study, names: Names) -> dict[str, Any]:
    """For tables and figures: the study but where it is computed, and the models' entries."""
    said = {"study": lean(study, *SCHEDULES, "catalogue")}
    if not study.several:
        return {**said, "model": lean(study.model_entry())}
    return {**said, "models": {name: lean(study.model_entry(name)) for name in study.model_names}}


def asked_of_training(study: Study) -> dict[str, Any]:
    """Precision of the training and of its validation, and the plain back-end, where named."""
    plain = {"backend": "plain"} if study.compute.backend == "plain" else {}
    return {**lean(study.compute.precision), **plain}


def of_a_run(study: Study, names: Names) -> dict[str, Any]:
    """What decides the weights; the rate as `names` has it where it was selected."""
    setting, method = names["setting"], names["method"]
    rate = float(names["rate"]) if "rate" in names else rates.given_rate(study, setting, method)
    return {
        **decides(study, setting, method, names["budget"], int(names["seed"]), rate),
        **asked_of_training(study),
    }


def code_of_all_methods(study: Study) -> str:
    """The digest of training's code with every method and regime of the study: what its cells may
    share."""
    regimes = {regime(setting.regime).module() for setting in study.settings.values()}
    return code_digest("stages.train", *every_method(study, {}), *sorted(regimes))


def regime_module(study: Study, names: Names) -> tuple[str, ...]:
    """The file of the regime of the job's setting."""
    return (regime(study.settings[names["setting"]].regime).module(),)


def training_modules(study: Study, names: Names) -> tuple[str, ...]:
    """The files of the job's method and of its setting's regime."""
    return (study.methods[names["method"]].module(), *regime_module(study, names))


def every_method(study: Study, names: Names) -> tuple[str, ...]:
    """The files of all methods of the study."""
    return tuple(sorted({method.module() for method in study.methods.values()}))
