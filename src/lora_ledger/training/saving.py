"""What a trained cell leaves: its weights and a probe of them, whole or not at all.

In: a trained model and its validation examples. Out: `adapter/` or `model/`, and
`probe.safetensors`: a few token ids with the logits that the trained weights give for them, fp32.
It writes no record.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lora_ledger.records.atomic import new_file, new_folder
from lora_ledger.records.record import digest_file
from lora_ledger.study.schema import Study

from .batching import Example
from .run import Job

PROBE = "probe.safetensors"
PROBE_EXAMPLES, PROBE_LENGTH, PROBE_POSITIONS = 2, 64, 4
ARTEFACTS = ("adapter", "model")


def clear(out: Path) -> None:
    """Take away what an earlier run left in a cell's folder."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("record.json", PROBE):
        (out / name).unlink(missing_ok=True)
    for folder in [out / name for name in ARTEFACTS]:
        shutil.rmtree(folder, ignore_errors=True)


def empty(study: Study, job: Job, out: Path) -> None:
    """The folder of a cell that diverged: there, as the workflow declares it, and empty."""
    (out / study.methods[job.method].artefact).mkdir()


def save(
    study: Study, job: Job, out: Path, model: Any, validation: list[Example]
) -> dict[str, Any]:
    """Write probe and weights; the folder of weights appears whole or not at all."""
    method = study.methods[job.method]
    with new_folder(out / method.artefact) as folder:
        weights = method.save(model, folder, job.model_name or study.model_names[0], job.model)
        described = {"sha256": digest_file(weights), "bytes": weights.stat().st_size}
        if validation:
            with new_file(out / PROBE) as probe:
                _write_probe(model, validation, probe)
    return described


def _write_probe(model: Any, validation: list[Example], path: Path) -> None:
    """The first validation examples, cut to equal length, and logits of their last positions."""
    import torch
    from safetensors.torch import save_file

    chosen = validation[:PROBE_EXAMPLES]
    length = min(PROBE_LENGTH, *(len(example.input_ids) for example in chosen), PROBE_LENGTH)
    ids = torch.tensor([example.input_ids[:length] for example in chosen])
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=ids.to(next(model.parameters()).device)).logits
    save_file(
        {"input_ids": ids, "logits": logits[:, -PROBE_POSITIONS:].float().cpu().contiguous()}, path
    )
