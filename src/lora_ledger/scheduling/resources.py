"""What a job needs: memory in MB and devices, from the study and the model's config alone.

The formulas were fitted to measured peaks of resident memory (docs/quickstart.md), rounded up.
They schedule jobs; they change no number.
"""

from __future__ import annotations

import json
from pathlib import Path

from lora_ledger.catalogue import HubSource, LocalSource
from lora_ledger.compute.device import CPUINFO, NATIVE_FLAGS, cpu_flags
from lora_ledger.data.tasks import describe
from lora_ledger.models.architecture import Architecture, read, total_parameters
from lora_ledger.study.derivations import Derivations
from lora_ledger.study.evaluation import TaskRun
from lora_ledger.study.models import model_config
from lora_ledger.study.schema import Study
from lora_ledger.study.sources import corpus_sources

from . import limits

MB = 2**20
LIBRARIES_MB = 700
"""Resident size of a process that has imported torch, transformers and peft."""


FETCH_MB = 1500
EXAMPLES_PER_BYTE = 6.5
NEAR_COPIES_PER_BYTE = 31
"""Memory for each byte of text: measured on 80 MB, and on 20 MB searched for near-copies."""


WHOLE_HUB_FILES = 500e6
"""Bytes of text that is expected where whole files of a hub are read."""


PACKED_TOKENS = 4096
SCORED_POSITIONS = 256
GROUP_SCORES = 2**21
"""Of an evaluation: tokens of a forward pass, positions whose logits it holds at a time, and scores
of one head in a group of segments, which are held before and after their softmax."""


COMPARED_POSITIONS = 128
"""Positions whose logits of a cell and of its base are held at a time."""


LIKELIHOOD_TOKENS = 512
"""Of an item of multiple choice with its solved examples, taken for longer than most are."""


LOGIT_POSITIONS = 512
"""Positions whose logits the training loss holds at a time."""


PLAIN_LOGITS = 2
"""How many times lm-eval's class holds the logits of a batch: as they are, and their logarithms."""


PLAIN_ACTIVATIONS = 2
"""How many times the fast path's activations transformers' own blocks keep: 1.6 was counted."""


TRAIN_MINUTES = 2880
EVALUATE_MINUTES = 720
"""Limits for a cluster's scheduler, far above what a job of the committed studies takes: a job that
is cut off goes on from its checkpoint, but only when somebody asks again."""


def model_disk_mb(study: Study) -> int:
    """A model's weights in fp32, and as much again while they are written."""
    return 500 + int(_largest(study) * 4 * 2 / MB)


def packed_mb(study: Study, setting: str) -> int:
    """Token ids of 4 bytes for each token of about 4 bytes of text."""
    return 200 + fetch_corpus_mb(study, study.settings[setting].corpus) // 4


def train_disk_mb(study: Study, method: str) -> int:
    """What is saved, and two checkpoints of weights and two moments each."""
    chosen = study.methods[method]
    needed = [
        (total_parameters(config) if chosen.artefact == "model" else 0)
        + 2 * 3 * chosen.held_parameters(config)
        for config in _configs(study)
    ]
    return 500 + int(max(needed) * 4 / MB)


def trunk_disk_mb(study: Study, setting: str, method: str) -> int:
    """A run's own, and a checkpoint for each branch of the setting."""
    branches = sum(study.budgets[one].trunk is not None for one in study.budgets_of(setting))
    held = max(study.methods[method].held_parameters(config) for config in _configs(study))
    return train_disk_mb(study, method) + int(branches * 3 * held * 4 / MB)


def gpus(study: Study) -> int:
    """Devices of one job: 1 on CUDA, or where `auto` would find it; else 0."""
    found = study.compute.device == "auto" and limits.gpus() > 0
    return int(found or study.compute.device == "cuda")


def memory_limit_mb(study: Study, allowed: int | None) -> int | None:
    """The lower of what the study and the profile allow all jobs together; None: no limit."""
    own = study.compute.memory_gb
    limits = [allowed, None if own is None else int(own * 1e9 / MB)]
    return min((limit for limit in limits if limit is not None), default=None)


def _configs(study: Study) -> list[dict[str, object]]:
    return [model_config(study.model_entry(name)) for name in study.model_names]


def _largest(study: Study) -> int:
    """Parameters of the largest of the study's models."""
    return max(total_parameters(config) for config in _configs(study))


def fetch_model_mb(study: Study) -> int:
    """Reading and writing a model holds its weights about four times."""
    return LIBRARIES_MB + int(_largest(study) * 4 * 4 / MB)


def fetch_corpus_mb(study: Study, corpus: str) -> int:
    """Examples of a pinned file fit in 1.5 GB; texts of a hub are held with their 8-grams."""
    entry = study.corpus_entry(corpus)
    copies = bool(entry.options.get("near_duplicates", True))
    per_byte = NEAR_COPIES_PER_BYTE if copies else EXAMPLES_PER_BYTE
    needed = FETCH_MB
    for source in corpus_sources(study, corpus).values():
        if isinstance(source, HubSource):
            stream = source.stream
            size = stream.tokens * stream.bytes_per_token if stream else WHOLE_HUB_FILES
            needed += int(size * per_byte / MB)
    return needed


def train_mb(study: Study, setting: str, method: str) -> int:
    """Weights, gradients, optimiser states and the activations of one micro-batch, on the setting's
    largest model."""
    models = [model_config(study.model_entry(name)) for name in study.models_of(setting)]
    return max(_train_mb(study, setting, method, config) for config in models)


def _train_mb(study: Study, setting: str, method: str, config: dict[str, object]) -> int:
    how = study.settings[setting]
    total = total_parameters(config)
    chosen = study.methods[method]
    held = chosen.held_parameters(config)
    shape = read(config)
    tokens = how.micro_batch_size * (how.sequence_length + chosen.virtual_tokens)
    # transformers' own forward makes the logits of a whole batch: they, their logarithms and their
    # gradients were 3.1 copies.
    plain = "plain" in (study.compute.backend, chosen.engine)
    logits = (tokens if plain else min(tokens, LOGIT_POSITIONS)) * shape.vocab * 4 * 3
    # In fp32: two residuals, two norms; queries and their mixture, keys, values; gate and up.
    heads = 2 * (shape.heads + shape.kv_heads) * shape.head_dim
    block = 4 * (4 * shape.hidden + heads + 2 * shape.intermediate)
    kept = shape.layers * block
    if study.compute.gradient_checkpointing:
        kept = shape.layers * 4 * shape.hidden + block
    activations = tokens * kept * max(chosen.activations, PLAIN_ACTIVATIONS if plain else 1)
    casts = total * 2
    return LIBRARIES_MB + int((total * 4 + held * 12 + casts + logits + activations) / MB)


def evaluate_mb(study: Study) -> int:
    """Weights twice (adapters are merged in fp32, then cast), the larger of caches and logits.

    Somebody else's model counts where its folder is on this disk; one of a hub is taken to be as
    large as the study's.
    """
    return max(_evaluate_mb(study, config) for config in _configs(study))


def _evaluate_mb(study: Study, config: dict[str, object]) -> int:
    shape = read(config)
    largest = max(total_parameters(one) for one in (config, *_local_others(study)))
    token = shape.layers * shape.kv_heads * shape.head_dim * 2 * _evaluation_bytes(study)
    caches = [
        (run.batch_size * (_prompt_tokens(run) + run.max_gen_toks) + PACKED_TOKENS) * token
        for run in study.evaluation.generate.values()
    ]
    activations = PACKED_TOKENS * (10 * shape.hidden + 5 * shape.intermediate) * 4
    activations += GROUP_SCORES * shape.heads * _evaluation_bytes(study) * 2
    logits = SCORED_POSITIONS * shape.vocab * 4 * 3
    beside, weights = _beside_base(study, shape, largest)
    if study.compute.backend == "plain" or any(not m.merges for m in study.methods.values()):
        # Of whole batches: of items and texts, and of prompts with the reference of a run.
        texts = [text.sequence_length for text in study.evaluation.texts.values()]
        answers = [
            run.batch_size * (_prompt_tokens(run) + run.max_gen_toks)
            for run in study.evaluation.generate.values()
        ]
        batch = max([study.evaluation.batch_size * max([LIKELIHOOD_TOKENS, *texts]), *answers])
        logits = max(logits, batch * shape.vocab * 4 * PLAIN_LOGITS)
    # A derived cell is made of the base's weights and the trained ones, through one more copy.
    weights += largest * 4 * (2 if study.derived != Derivations() else 0)
    most = max([logits, beside, *caches])
    return LIBRARIES_MB + int((largest * 4 * 2 + weights + most + activations) / MB)


def _beside_base(study: Study, shape: Architecture, largest: int) -> tuple[int, int]:
    """Bytes of logits, and of weights, where cells are held against their base: its weights, both
    output layers in fp32; for CSD what was added to each matrix, and the model that it is read off.
    Logits of both models, their logarithms and products in fp64."""
    evaluation = study.evaluation
    if not evaluation.beside_base:
        return 0, 0
    weights = largest * 4 * (3 if evaluation.drift else 1) + 2 * shape.vocab * shape.hidden * 4
    logits = COMPARED_POSITIONS * shape.vocab * 40
    if study.compute.backend == "plain" or any(not m.merges for m in study.methods.values()):
        # A window's own, of both models, as they are and widened.
        texts = [text.sequence_length for text in evaluation.texts.values()]
        prompts = [1664 if one.num_fewshot else 400 for one in evaluation.prompts.values()]
        logits += max([*texts, *prompts]) * shape.vocab * 4 * 3
    return logits, weights


def spectrum_mb(study: Study) -> int:
    """A matrix of the model with its decompositions in fp64, a dozen of its size; weights twice
    where a method's update is what the merged model has and the base has not."""
    configs = _configs(study)
    sides = (side for one in configs for side in read(one).modules.values())
    largest = max(rows * columns for rows, columns in sides)
    weights = max(total_parameters(one) for one in configs)
    return LIBRARIES_MB + int((weights * 4 * 2 + largest * 8 * 12) / MB)


def spectrum_disk_mb(study: Study) -> int:
    """The base's decompositions: of each matrix both sides' vectors."""
    shapes = [read(one) for one in _configs(study)]
    entries = max(
        one.layers
        * sum((rows + columns) * min(rows, columns) for rows, columns in one.modules.values())
        for one in shapes
    )
    return 200 + int(entries * 4 / MB)


def _evaluation_bytes(study: Study) -> int:
    """Of one number of an evaluation; `auto` as this machine's processor says."""
    asked = study.compute.precision.evaluate
    native = bool((cpu_flags(CPUINFO) or frozenset()) & NATIVE_FLAGS)
    return 2 if asked == "bf16" or (asked == "auto" and native) else 4


def _prompt_tokens(run: TaskRun) -> int:
    """Tokens of a longest prompt: of 200 of GSM8K with five solved examples 1,641, without 400."""
    shots = describe(run.task, run.corpus).shots(run.num_fewshot)
    return 1664 if shots else 400


def _local_others(study: Study) -> list[dict[str, object]]:
    """config.json of each model of `others` that is a local folder."""
    found = []
    for other in study.others.values():
        if isinstance(other.source, LocalSource):
            path = Path(other.source.path).expanduser() / "config.json"
            if path.is_file():
                found.append(json.loads(path.read_text("utf-8")))
    return found
