"""The loop: transformers' `Trainer` with our order, loss, optimiser, checkpoints and stop rule.

In: a model whose trainable weights are set, and a `Run`. Out: the trained model (changed in place)
and its `Progress`. It writes checkpoints under the run's work folder and nothing else; a run that
was killed goes on from the newest whole one and ends with the same bits.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from lora_ledger.common.seeds import stream
from lora_ledger.compute.casts import Casts
from lora_ledger.compute.cuda import liger
from lora_ledger.records.atomic import write_bytes_atomic
from lora_ledger.study.schema import Optimiser, Schedule

from . import checkpoints, optimisers, patching, plain
from .batching import Example, Plan, collate
from .loss import autocast, nats_of_examples
from .schedules import multiplier

WEIGHTS = "weights.safetensors"
PROGRESS = "progress.json"
DIVERGED_FACTOR = 2.0
DIVERGED_SHARE = 0.05


@dataclass(frozen=True)
class Run:
    """All that one run needs beside the model."""

    plan: Plan
    train: Sequence[Example]
    validation: Sequence[Example]
    optimiser: Optimiser
    schedule: Schedule
    rate: float
    clip: float
    seed: int
    validations: int
    batch_size: int
    micro_batch_size: int
    device: str
    precision: str
    evaluate_precision: str
    checkpointing: bool
    checkpoint_steps: int
    work: Path
    fingerprint: str
    plain: bool = False
    """Whether transformers' own forward and loss are trained with, or what `patching` installs."""
    start: Path | None = None
    """Where runs that begin from the same weights leave the validation's nats to one another."""


@dataclass
class Progress:
    """What is known so far: curves of (step, loss-bearing tokens, nats per token), and timings."""

    loss_curve: list[tuple[int, int, float]] = field(default_factory=list)
    validation_curve: list[tuple[int, int, float]] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    diverged: bool = False

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), "utf-8")

    def load(self, path: Path) -> None:
        """Take over what a checkpoint holds."""
        for key, value in json.loads(path.read_text("utf-8")).items():
            setattr(self, key, [tuple(v) for v in value] if key.endswith("curve") else value)


def fit(model: Any, run: Run) -> tuple[Progress, dict[str, float]]:
    """Train, or go on training; returns the progress and how fast it went.

    The second value holds `tokens_per_second` (loss-bearing, without the first step) and
    `first_step_seconds`.
    """
    run.work.mkdir(parents=True, exist_ok=True)
    progress = Progress()
    trainer = CellTrainer(model, run, progress)
    last = checkpoints.newest(run.work, run.fingerprint)
    if last is not None:
        progress.load(last / PROGRESS)
    else:
        validate(trainer.model, run, progress, 0)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if not progress.diverged:
        validate(trainer.model, run, progress, len(run.plan.steps))
    patching.uninstall(model)
    return progress, trainer.watch.speed()


def validate(model: Any, run: Run, progress: Progress, step: int) -> None:
    """Measure the validation loss after `step` steps; one that is not finite means divergence."""
    tokens = sum(example.loss_tokens for example in run.validation)
    if not tokens:
        return
    known = _known_start(run) if step == 0 else None
    measure = plain.nats_of_examples if run.plain else nats_of_examples
    nats = known or measure(model, run.validation, run.device, run.evaluate_precision)
    mean = math.fsum(nats) / tokens
    progress.validation_curve.append((step, run.plan.cumulative(step), mean))
    if step == 0:
        progress.start = nats
        if run.start and not known:
            write_bytes_atomic(run.start, json.dumps(nats).encode())
    if step == len(run.plan.steps):
        progress.end = nats
        progress.diverged |= not math.isfinite(mean)


def _known_start(run: Run) -> list[float] | None:
    """What another run has measured of the same weights, where one has."""
    if run.start is None or not run.start.is_file():
        return None
    try:
        nats = [float(value) for value in json.loads(run.start.read_bytes())]
    except (ValueError, TypeError):
        return None
    return nats if len(nats) == len(run.validation) else None


def validation_steps(total: int, times: int) -> frozenset[int]:
    """The steps after which the loss is measured, evenly between start and end."""
    between = {round(total * k / (times + 1)) for k in range(1, times + 1)}
    return frozenset(between - {0, total})


def has_diverged(curve: Sequence[tuple[int, int, float]], budget: int) -> bool:
    """Whether the last loss is not finite, or the losses stay above twice the first one.

    They do when the unbroken stretch of such steps that ends the curve covers 5 % of `budget`, in
    loss-bearing tokens.
    """
    if not curve:
        return False
    if not math.isfinite(curve[-1][2]):
        return True
    limit = DIVERGED_FACTOR * curve[0][2]
    calm = next((tokens for _, tokens, loss in reversed(curve) if loss <= limit), 0)
    return curve[-1][2] > limit and curve[-1][1] - calm >= DIVERGED_SHARE * budget


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Seeds each step, keeps the curves, measures, stops what diverges, asks for checkpoints."""

    def __init__(self, run: Run, progress: Progress, casts: Casts) -> None:
        self.run = run
        self.progress = progress
        self.casts = casts
        self.nats = 0.0
        self.started = 0.0
        self.seconds: list[float] = []
        self.tokens: list[int] = []
        self.validate_at = validation_steps(len(run.plan.steps), run.validations)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Dropout that depends on seed and step alone is the same after a resume, and shifts no
        # other stream.
        torch.manual_seed(stream(self.run.seed, "dropout", state.global_step))
        self.nats = 0.0
        self.started = time.perf_counter()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # The step changes these weights, and its own buffers come on top of what is held.
        self.casts.forget(frozen=False)

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        step, plan, progress = state.global_step, self.run.plan, self.progress
        self.seconds.append(time.perf_counter() - self.started)
        self.tokens.append(plan.tokens[step - 1])
        mean = self.nats / max(1, plan.tokens[step - 1])
        done = (progress.loss_curve[-1][1] if progress.loss_curve else 0) + plan.tokens[step - 1]
        progress.loss_curve.append((step, done, mean))
        if has_diverged(progress.loss_curve, sum(plan.tokens)):
            progress.diverged = True
            control.should_training_stop = True
            return
        if step in self.validate_at:
            validate(model, self.run, progress, step)
        if step % self.run.checkpoint_steps == 0 and step < len(plan.steps):
            control.should_save = True

    def speed(self) -> dict[str, float]:
        """Of this process's steps."""
        if not self.seconds:
            return {}
        result = {"first_step_seconds": round(self.seconds[0], 3)}
        if len(self.seconds) > 1:
            result["tokens_per_second"] = round(sum(self.tokens[1:]) / sum(self.seconds[1:]), 1)
        return result


class CellTrainer(Trainer):  # type: ignore[misc]
    """`Trainer` for one run; one Trainer epoch is the whole run."""

    def __init__(self, model: Any, run: Run, progress: Progress) -> None:
        self.run = run
        self.progress = progress
        casts = Casts()
        if not run.plain:
            casts = patching.install(model, by_hand=run.device == "cpu")
            if liger.available(run.device):
                liger.install(model)
        self.watch = _Watch(run, progress, casts)
        arguments = TrainingArguments(
            output_dir=str(run.work),
            max_steps=len(run.plan.steps),
            per_device_train_batch_size=run.micro_batch_size,
            gradient_accumulation_steps=run.batch_size // run.micro_batch_size,
            max_grad_norm=run.clip,
            learning_rate=run.rate,
            seed=run.seed,
            use_cpu=run.device == "cpu",
            save_strategy="no",
            logging_strategy="no",
            eval_strategy="no",
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=not sys.stderr.isatty(),
            dataloader_pin_memory=False,
            activation_checkpointing=run.checkpointing,
            activation_checkpointing_kwargs={"use_reentrant": False},
            remove_unused_columns=False,
        )
        # More than one visible device would silently become data parallelism.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        super().__init__(model=model, args=arguments, callbacks=[self.watch])
        self.remove_callback(PrinterCallback)
        casts.keep = not (self.is_fsdp_enabled or self.is_deepspeed_enabled)
        self.loss_is_scaled_for_ga = True

    def get_train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            list(self.run.train),  # type: ignore[arg-type]
            batch_sampler=self.run.plan.micro_batches,
            collate_fn=plain.collate if self.run.plain else collate,
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        weights = [w for w in self.model.parameters() if w.requires_grad]
        self.optimizer: Any = optimisers.build(self.run.optimiser, weights, self.run.rate)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        self.lr_scheduler: Any = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer,
            lambda step: multiplier(self.run.schedule, step, num_training_steps),
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> int:
        """The loss-bearing tokens of the whole step."""
        if self.run.plain:
            return sum(plain.loss_tokens(batch) for batch in batch_samples)
        return int(sum(batch["loss_mask"].sum() for batch in batch_samples))

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Summed nats over the tokens of the whole step, so that each token weighs the same."""
        with autocast(self.run.device, self.run.precision):
            nats = model(**inputs).loss
        self.watch.nats += float(nats.detach())
        return nats / max(1, num_items_in_batch)

    def floating_point_ops(self, inputs: Any) -> int:
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Nothing is printed or kept: the curves are in `Progress`."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Weights that train, optimiser, schedule, random state and curves; then the marker."""
        from safetensors.torch import save_file

        path = checkpoints.folder(self.run.work, self.state.global_step)
        path.mkdir(parents=True)
        save_file(
            {name: w.detach().contiguous() for name, w in _trainable(self.model).items()},
            path / WEIGHTS,
        )
        self._save_optimizer_and_scheduler(str(path))
        self._save_rng_state(str(path))
        self.state.save_to_json(str(path / "trainer_state.json"))
        self.progress.save(path / PROGRESS)
        checkpoints.complete(path, self.run.fingerprint)
        checkpoints.keep_only(self.run.work, path)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        from safetensors.torch import load_file

        state = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        with torch.no_grad():
            for name, weight in _trainable(self.model).items():
                weight.copy_(state[name])


def _trainable(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
