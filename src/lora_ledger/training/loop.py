"""The loop: transformers' `Trainer` with our order, loss, optimiser, checkpoints and stop rule.

In: a model whose trainable weights are set, and a `Run`. Out: the trained model (changed in place)
and its `Curves`. It writes checkpoints under the run's work folder and nothing else; a run that
was killed goes on from the newest whole one and ends with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from lora_ledger.common.seeds import stream
from lora_ledger.compute.casts import Casts
from lora_ledger.compute.cuda import liger
from lora_ledger.methods import MethodBase
from lora_ledger.methods.recipe import Optimiser, Schedule

from . import checkpoints, loss, optimisers, patching, plain
from .batching import Example, Order, batch_of, collate
from .branching import Trunk
from .curves import CURVES, WEIGHTS, Curves
from .progress import Progress
from .regimes import Regime
from .schedules import multiplier
from .validation import Validation

METHOD = "method.pt"


@dataclass(frozen=True)
class Run:
    """All that one run needs beside the model."""

    regime: Regime
    order: Order
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
    method: MethodBase
    plain: bool = False
    """Whether transformers' own forward and loss are trained with, or what `patching` installs."""
    start: Path | None = None
    """Where runs that begin from the same weights leave the validation's nats to one another."""
    trunk: Trunk | None = None
    """What is left for the runs that branch off the same trunk."""


def fit(model: Any, run: Run) -> tuple[Curves, dict[str, Any], dict[str, float]]:
    """Train, or go on training; returns the curves, the validation's results, and how fast it went.

    The last value holds `tokens_per_second` (loss-bearing, without the first step),
    `first_step_seconds`, and `went_on_at`, the step of the checkpoint, if there was one.
    """
    run.work.mkdir(parents=True, exist_ok=True)
    curves = Curves()
    run.method.begin(model, len(run.order.steps))
    trainer = CellTrainer(model, run, curves)
    validation = trainer.watch.validation
    last = checkpoints.newest(run.work, run.fingerprint)
    if last is not None:
        curves.load(last / CURVES)
        trainer.leave(last)
    else:
        validation.measure(trainer.model, curves, 0)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    stops = run.trunk is not None and run.trunk.until is not None
    if not curves.diverged and not stops:
        validation.measure(trainer.model, curves, len(run.order.steps))
    patching.uninstall(model)
    speed = trainer.watch.speed()
    if last is not None:
        speed["went_on_at"] = checkpoints.step_of(last)
    return curves, validation.results(curves), speed


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Seeds each step, keeps the curves, measures, stops what diverges, asks for checkpoints."""

    def __init__(self, run: Run, curves: Curves, casts: Casts) -> None:
        self.run = run
        self.curves = curves
        self.casts = casts
        self.validation = Validation(
            run.regime,
            run.validation,
            run.order,
            run.validations,
            run.device,
            run.evaluate_precision,
            (plain if run.plain else loss).nats_of_examples,
            run.start,
        )
        trunk = run.trunk
        self.validate_at = self.validation.steps() | (trunk.measure if trunk else set())
        self.save_at = {*trunk.leave, trunk.until} if trunk else set()
        self.nats = 0.0
        self.started = 0.0
        self.seconds: list[float] = []
        self.tokens: list[int] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress = Progress(self.run.order.tokens, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress.close()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Dropout that depends on seed and step alone is the same after a resume, and shifts no
        # other stream.
        torch.manual_seed(stream(self.run.seed, "dropout", state.global_step))
        self.nats = 0.0
        self.started = time.perf_counter()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # The step changes these weights, and its own buffers come on top of what is held.
        self.casts.forget(frozen=False)

    def on_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        self.run.method.after_update(model, state.global_step + 1)

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        step, order, curves = state.global_step, self.run.order, self.curves
        tokens = order.tokens[step - 1]
        self.seconds.append(time.perf_counter() - self.started)
        self.tokens.append(tokens)
        mean = self.nats / max(1, tokens)
        done = (curves.loss[-1][1] if curves.loss else 0) + tokens
        curves.loss.append((step, done, mean))
        self.progress.step(step, mean)
        if self.run.regime.diverged(curves.loss, sum(order.tokens), self.trained_on):
            curves.diverged = True
            control.should_training_stop = True
            return
        if step in self.validate_at:
            self.validation.measure(model, curves, step)
        regular = step % self.run.checkpoint_steps == 0 and step < len(order.steps)
        if regular or step in self.save_at:
            control.should_save = True
        if self.run.trunk and step == self.run.trunk.until:
            control.should_training_stop = True

    def trained_on(self, step: int) -> int:
        return batch_of(self.run.train, self.run.order, step)

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

    def __init__(self, model: Any, run: Run, curves: Curves) -> None:
        self.run = run
        self.curves = curves
        casts = Casts()
        if not run.plain:
            casts = patching.install(model, by_hand=run.device == "cpu")
            if liger.available(run.device):
                liger.install(model)
        self.watch = _Watch(run, curves, casts)
        arguments = TrainingArguments(
            output_dir=str(run.work),
            max_steps=len(run.order.steps),
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
            disable_tqdm=True,
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
            batch_sampler=self.run.order.micro_batches,
            collate_fn=plain.collate if self.run.plain else collate,
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        groups = self.run.method.groups(self.model)
        hidden = optimisers.hidden_matrices(self.model)
        self.optimizer: Any = optimisers.build(self.run.optimiser, groups, self.run.rate, hidden)
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
        with loss.autocast(self.run.device, self.run.precision):
            nats = self.run.regime.loss(model, inputs)
        self.watch.nats += float(nats.detach())
        mean = nats / max(1, num_items_in_batch)
        penalty = self.run.method.penalty(self.model) if self.model.training else None
        if penalty is None:
            return mean
        # Once a step, of which this is one micro-batch.
        return mean + penalty / len(self.run.order.steps[self.state.global_step])

    def floating_point_ops(self, inputs: Any) -> int:
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Nothing is printed or kept: the curves are in `Curves`."""

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
        self.curves.save(path / CURVES)
        torch.save(self.run.method.state(self.model), path / METHOD)
        checkpoints.complete(path, self.run.fingerprint)
        self.leave(path)
        checkpoints.keep_only(self.run.work, path)

    def leave(self, path: Path) -> None:
        """Hand a checkpoint over to the runs that branch off at its step, if any do."""
        trunk = self.run.trunk
        if trunk and checkpoints.step_of(path) in trunk.leave:
            checkpoints.link(path, trunk.folder, trunk.fingerprint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        from safetensors.torch import load_file

        state = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        with torch.no_grad():
            for name, weight in _trainable(self.model).items():
                weight.copy_(state[name])
        own = torch.load(Path(resume_from_checkpoint) / METHOD, weights_only=True)
        self.run.method.restore(self.model, own)


def _trainable(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
