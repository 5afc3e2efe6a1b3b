"""What each job's outcome depends on, as the two parameters that say whether it is out of date.

In: a validated `Study`, a stage, and the job's wildcards.
Out: the digest of the stage's code, and the digest of the part of study and catalogue that the
stage reads. Nothing here runs a job or reads a result.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from lora_ledger.catalogue import PROSE, CorpusEntry
from lora_ledger.records.record import digest_json
from lora_ledger.study.cells import permission, task_of, tokens
from lora_ledger.study.schema import Study

from .digests import code_digest


def _lean(model: BaseModel) -> dict[str, Any]:
    """The keys that are not at their default, as JSON values."""
    return model.model_dump(mode="json", exclude_defaults=True)


def _compute(study: Study, role: str) -> dict[str, Any]:
    compute = study.compute
    reads = {
        "device": compute.device,
        "threads": compute.threads,
        "precision": getattr(compute.precision, role),
    }
    # vLLM answers evaluations alone.
    if compute.backend == "plain" or (role == "evaluate" and compute.backend != "fast"):
        reads["backend"] = compute.backend
    return reads


def science(study: Study, stage: str, **names: str) -> str:
    """Digest of what a job's stage reads from the study and the catalogue.

    `names` are the job's wildcards: model, corpus, other, setting, method, budget, seed, run, cell.
    """
    return digest_json({"stage": stage, **_reads(study, stage, names)})


def _reads(study: Study, stage: str, names: dict[str, str]) -> dict[str, Any]:
    evaluation = study.evaluation
    if stage == "fetch":
        return _fetch(study, names.get("model") or names["corpus"])
    if stage == "other":
        keys = {"title", "tasks", "licence", "citation"}
        other = study.others[names["other"]]
        return other.model_dump(mode="json", exclude_defaults=True, exclude=keys)
    if stage == "contaminate":
        task = task_of(study, names["run"])
        return {
            "corpus": names["corpus"],
            "splits": _splits(study, names["corpus"]),
            "task": task.digest,
            "task corpus": task.corpus,
            "task splits": _splits(study, task.corpus),
            "permission": permission(study, names["corpus"], names["run"]),
        }
    if stage == "gate":
        return {}
    if stage == "prepare":
        setting = study.settings[names["setting"]]
        keys = {"corpus", "regime", "sequence_length", "validation_examples"}
        return {
            **setting.model_dump(mode="json", include=keys),
            "tokens": _lean(study.model_entry().tokens),
        }
    if stage in ("tune", "train"):
        return _train(study, stage, names)
    if stage == "select":
        return {"rates": study.rates_of(names["setting"], names["method"])}
    if stage in ("generate", "score", "diversity"):
        run = evaluation.generate[names["run"]]
        lean = run.model_dump(mode="json", exclude_defaults=True, exclude={"diversity"})
        common = {"run": lean, "task": task_of(study, names["run"]).digest}
        if stage == "generate":
            common |= {
                "compute": _compute(study, "evaluate"),
                "tokens": _lean(tokens(study, names["cell"])),
            }
        return common
    if stage == "retain":
        return {
            "texts": {name: _lean(text) for name, text in evaluation.texts.items()},
            "choices": {
                name: {**_lean(choice), "digest": task_of(study, name).digest}
                for name, choice in evaluation.likelihood.items()
            },
            "batch_size": evaluation.batch_size,
            "compute": _compute(study, "evaluate"),
            "tokens": _lean(tokens(study, names["cell"])),
        }
    if stage in ("tabulate", "figures"):
        left_out = {"compute", "checkpoint_steps", "catalogue", "to_be_pinned"}
        return {
            "study": study.model_dump(mode="json", exclude_defaults=True, exclude=left_out),
            "model": _lean(study.model_entry()),
        }
    raise ValueError(f"stage: found {stage!r}, expected a stage of the workflow")


def _splits(study: Study, corpus: str) -> dict[str, Any]:
    """What each part of a corpus may be used for."""
    splits = study.corpus_entry(corpus).splits
    return {name: {"role": s.role, "as_published": s.as_published} for name, s in splits.items()}


def _fetch(study: Study, name: str) -> dict[str, Any]:
    """An entry without its prose, and the entries of a mixture's parts."""
    known = study.known()[name]
    entry = known.model_dump(mode="json", exclude_defaults=True, exclude=PROSE)
    if isinstance(known, CorpusEntry):
        for split in entry["splits"].values():
            split.pop("description", None)
        if known.mixture:
            entry["parts"] = {part: _fetch(study, part) for part in known.mixture}
    return entry


def _train(study: Study, stage: str, names: dict[str, str]) -> dict[str, Any]:
    setting = study.settings[names["setting"]]
    method = study.methods[names["method"]]
    left_out = {"methods", "budgets", "tuning_budget", "learning_rates", "tasks", "corpus", "role"}
    left_out |= {"domain"}
    rates = study.rates_of(names["setting"], names["method"])
    budget = names.get("budget") or setting.tuning_budget or study.budgets_of(names["setting"])[0]
    reads: dict[str, Any] = {
        "setting": setting.model_dump(mode="json", exclude_defaults=True, exclude=left_out),
        "method": method.resolved(defaults=False),
        "budget": _lean(study.budgets[budget]),
        "compute": _compute(study, "train"),
        "evaluate": study.compute.precision.evaluate,
    }
    if stage == "tune":
        index = int(names["index"])
        return {**reads, "rate": rates[index], "seed": study.tuning_seed}
    if len(rates) == 1:
        reads["rate"] = rates[0]
    elif not rates:
        factor, other = method.reference() or (1.0, "")
        grid = study.rates_of(names["setting"], other)
        reads["rate"] = {"factor": factor, "of": grid[0] if len(grid) == 1 else "selection"}
    return {**reads, "seed": int(names["seed"])}


def code(study: Study, stage: str, **names: str) -> str:
    """Digest of the code that a job runs, with the modules that it imports by name."""
    if stage == "fetch" and "model" in names:
        return code_digest("models.pretrained")
    if stage == "fetch":
        entry = study.corpus_entry(names["corpus"])
        read = [entry.reader, *(study.corpus_entry(part).reader for part in entry.mixture)]
        return code_digest(
            "data.corpora.selection",
            ("data.corpora.store", *(f"data.corpora.readers.{reader}" for reader in read)),
        )
    if stage == "other":
        return code_digest("models.external")
    if stage in ("tune", "train"):
        return code_digest(f"stages.{stage}", (study.methods[names["method"]].module(),))
    if stage in ("tabulate", "figures"):
        said = {method.module() for method in study.methods.values()}
        return code_digest(f"stages.{stage}", tuple(sorted(said)))
    return code_digest(f"stages.{stage}")
