"""One training run from files to numbers; `train` and `tune` both stand on it.

In: a study and a `Job` (which setting, method, budget, seed and rate; which folders). Out: the
trained model, the results that a record holds, and how the run went.
It writes checkpoints in the work folder only; saving models and records is the stages' matter.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lora_ledger.common.errors import KeyProblem
from lora_ledger.common.startup import loading
from lora_ledger.compute.cuda import liger
from lora_ledger.compute.device import resolve
from lora_ledger.records.host import peak_memory_bytes
from lora_ledger.records.record import Input, digest_json, identity
from lora_ledger.study.schema import Study
from lora_ledger.study.training_inputs import decides

from . import branching, checkpoints
from .batching import Example, batch_of, read_examples
from .regimes import regime
from .validation import between


@dataclass(frozen=True)
class Job:
    """One run, by names and folders."""

    setting: str
    method: str
    budget: str
    seed: int
    rate: float
    model: Path
    data: Path
    work: Path
    starts: Path | None = None
    """A folder that the runs of a study share, for what is the same before each of them."""
    code: str = ""
    """The digest of the code that runs, which decides what may be shared."""
    model_name: str | None = None
    """The model's name, where the study has several."""
    leave: Path | None = None
    """A folder that runs off the same trunk share, for their state where branches leave it."""
    stop: bool = False
    """Whether the run ends where its cool-down would begin: it leaves a checkpoint, and no more."""


@dataclass(frozen=True)
class Outcome:
    """A finished run. `model` holds the trained weights; `validation` are its examples.

    Of a run that stops where it is left only `diverged` says anything.
    """

    model: Any
    diverged: bool
    results: dict[str, Any]
    run: dict[str, Any]
    validation: list[Example]


def engine(study: Study, method: str) -> str:
    """`fast`, or `plain` where the study or the method wants transformers' own forward."""
    return "plain" if "plain" in (study.compute.backend, study.methods[method].engine) else "fast"


def settings_of(study: Study, job: Job) -> dict[str, Any]:
    """Every resolved setting that decides a run's numbers, as plain JSON values."""
    where = resolve(study.compute)
    backend = engine(study, job.method)
    kernels = {}
    if backend == "fast" and liger.available(where["device"]):
        kernels = {"kernels": "liger"}
    return {
        **decides(study, job.setting, job.method, job.budget, job.seed, job.rate, defaults=True),
        "threads": study.compute.threads,
        **where,
        "backend": backend,
        **kernels,
    }


def inputs_of(job: Job) -> dict[str, Input]:
    """Both hashes of the model and of the packed data."""
    return {"model": identity(job.model), "packed": identity(job.data)}


def train(study: Study, job: Job, fingerprint: str) -> Outcome:
    """Run a job, or go on with it from a checkpoint of the same fingerprint.

    Raises ValueError or KeyProblem for data, ranks or branches that cannot be trained with.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    with loading():
        import torch
        from datasets import load_from_disk
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        from .loop import Run, fit

    setting, method = study.recipe_of(job.setting, job.method), study.methods[job.method]
    seed = method.seeded(job.seed)
    where = resolve(study.compute)
    logging.disable_progress_bar()
    torch_setup(study.compute.threads, where["device"])
    for split in ("train", "validation"):
        if not (job.data / split).is_dir():
            raise FileNotFoundError(
                f"{job.data / split}: found nothing, expected packed data; run the prepare stage "
                "for this setting"
            )
    examples = read_examples(load_from_disk(str(job.data / "train")))
    validation = read_examples(
        load_from_disk(str(job.data / "validation")), setting.validation_examples
    )
    names = (job.setting, job.method, job.budget, job.seed)
    course = branching.course(study, *names, examples)
    order = course.order
    trunk = _trunk(study, job, course, examples)
    if trunk and trunk.until is not None:
        points = setting.validation_points if any(one.loss_tokens for one in validation) else 0

        def lost(curve: Sequence[tuple[int, int, float]]) -> bool:
            return regime(setting.regime).diverged(
                curve, sum(order.tokens), lambda step: batch_of(examples, order, step)
            )

        branching.take(trunk, job.work, fingerprint, between(course.steps, points), lost)
        there = checkpoints.newest(job.work, fingerprint)
        if trunk.until == (checkpoints.step_of(there) if there else 0):
            if there:
                checkpoints.link(there, trunk.folder, trunk.fingerprint)
            return Outcome(None, False, {}, {}, validation)
    config = json.loads((job.model / "config.json").read_text("utf-8"))
    taken = method.virtual_tokens
    room = config.get("max_position_embeddings", setting.sequence_length + taken) - taken
    if setting.sequence_length > room:
        raise KeyProblem(
            f"settings.{job.setting}.sequence_length",
            setting.sequence_length,
            f"{room} at most, what the model's max_position_embeddings leave",
        )
    notes = method.notes(config)
    for about, note in notes.items():
        print(f"{about}: {note}", file=sys.stderr, flush=True)
    dropout = method.attention_dropout
    with loading():
        model = AutoModelForCausalLM.from_pretrained(
            job.model,
            dtype=torch.float32,
            attn_implementation="sdpa",
            **({} if dropout is None else {"attention_dropout": dropout}),
        )
        model.config.use_cache = False
        model = method.apply(model, seed)
    curves, measured, speed = fit(
        model,
        Run(
            regime=regime(setting.regime),
            order=order,
            train=examples,
            validation=validation,
            optimiser=setting.optimiser,
            schedule=course.schedule,
            rate=job.rate,
            clip=setting.max_grad_norm,
            seed=seed,
            validations=setting.validation_points,
            batch_size=setting.batch_size,
            micro_batch_size=setting.micro_batch_size,
            device=where["device"],
            precision=where["train"],
            evaluate_precision=where["evaluate"],
            checkpointing=study.compute.gradient_checkpointing,
            checkpoint_steps=study.checkpoint_steps,
            work=job.work,
            fingerprint=fingerprint,
            method=method,
            plain=engine(study, job.method) == "plain",
            start=_start(study, job),
            trunk=trunk,
        ),
    )
    # Trainer and callbacks hold one another, and with them optimiser states of twice the weights'
    # size, which saving the weights would come on top of.
    model.zero_grad(set_to_none=True)
    gc.collect()
    done = len(curves.loss)
    trained = [i for step in order.steps[:done] for micro in step for i in micro]
    results = {
        "steps": done,
        "tokens": order.cumulative(done),
        "tokens_seen": sum(len(examples[i].input_ids) for i in trained),
        "examples": len(trained),
        "learning_rate": job.rate,
        "loss_curve": curves.loss,
        "validation": measured,
        "parameters": {
            "trainable": method.trained(model),
            "total": sum(w.numel() for w in model.parameters()),
        },
        "flops_per_token": method.flops_per_token(config, setting.sequence_length),
        **({"notes": notes} if notes else {}),
    }
    memory = peak_memory_bytes()
    if where["device"] == "cuda":
        memory = torch.cuda.max_memory_allocated()
    run = {**speed, "peak_memory_bytes": memory}
    return Outcome(model, curves.diverged, results, run, validation)


def _trunk(
    study: Study, job: Job, own: branching.Course, examples: Sequence[Example]
) -> branching.Trunk | None:
    """What the run leaves for others; None where none shares a trunk with it."""
    beside = branching.budgets_beside(study, job.setting, job.budget)
    if job.leave is None or not (beside or job.stop):
        return None
    others = [
        branching.course(study, job.setting, job.method, budget, job.seed, examples)
        for budget in beside
    ]
    settings = settings_of(study, job)
    setting = settings["setting"]
    schedule = {"name": own.schedule.name, "warmup_steps": own.warmup}
    known = {
        **settings,
        "budget": None,
        "setting": {**setting, "schedule": schedule, "validation_points": None},
        "inputs": {name: one.id for name, one in inputs_of(job).items()},
        "code": job.code,
    }
    points = setting["validation_points"]
    return branching.trunk_for(own, others, points, job.leave, digest_json(known), job.stop)


def _start(study: Study, job: Job) -> Path | None:
    """The file for the validation before the first step, named by all that decides it.

    None for a method that does not begin from the base model's weights, bit for bit.
    """
    if job.starts is None or not study.methods[job.method].starts_from_base:
        return None
    settings = settings_of(study, job)
    known = {
        "inputs": {name: one.id for name, one in inputs_of(job).items()},
        "validation": settings["setting"]["validation_examples"],
        # Another processor may round otherwise.
        "where": [
            platform.node(),
            settings["threads"],
            resolve(study.compute),
            settings["backend"],
        ],
        "code": job.code,
        "versions": [
            *(version(name) for name in ("torch", "transformers", "peft")),
            settings.get("kernels"),
        ],
    }
    return job.starts / f"{digest_json(known)}.json"


def torch_setup(threads: int, device: str) -> None:
    """Threads of a CPU job, and on a GPU the algorithms that give the same bits every time."""
    import torch

    torch.set_num_threads(threads)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
