"""Stage `prepare`: a corpus becomes token ids, ready to be trained on.

In: `data/<corpus>/`, the model folder's tokenizer, and a setting.
Out: `packed/<setting>/train` and `/validation`, and a record with the counts; of several models
`packed/<model>/<setting>/`, since their tokenizers may differ.
How examples become rows is the regime's matter. Nothing is shuffled and no budget is known: the
order of training is the batching's affair.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lora_ledger.common.errors import require
from lora_ledger.common.startup import loading
from lora_ledger.data.corpora.store import load as load_examples
from lora_ledger.records.atomic import new_folder
from lora_ledger.records.record import Record, identity
from lora_ledger.scheduling.stage import Names, Stage, lean, regime_module
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study
from lora_ledger.training.packing import fixed
from lora_ledger.training.regimes import regime

from ._main import flag, place
from ._main import run as run_stage

SPLITS = ("train", "validation")


def reads(study: Study, names: Names) -> dict[str, Any]:
    """Regime, sequence length, validation examples, the tokens' roles."""
    setting = study.settings[names["setting"]]
    keys = {"regime", "sequence_length", "validation_examples"}
    return {
        **setting.model_dump(mode="json", include=keys, exclude_defaults=True),
        "tokens": lean(study.model_entry(names.get("model")).tokens),
    }


STAGE = Stage("prepare", ("the first",), reads, modules=regime_module)


def prepare(
    study_file: str,
    setting_name: str,
    model: Path,
    data: Path,
    out: Path,
    model_name: str | None = None,
) -> Record:
    """Write `out`; raises ValueError when nothing is left to train on, or too much was dropped.

    `model_name` is that of the model, where the study has several.
    """
    with loading():
        import datasets

    study = load(study_file)
    require("--setting", setting_name, study.settings, "one of settings")
    setting = study.settings[setting_name]
    names = {"setting": setting_name}
    if study.several:
        require("--model-name", str(model_name), study.models_of(setting_name), "a model of it")
        names = {"model": str(model_name), **names}
    tokens = study.model_entry(names.get("model")).tokens
    how = regime(setting.regime)
    tokenizer = fixed(str(model / "tokenizer.json"))
    examples = {split: load_examples(data, split) for split in SPLITS}
    rows, counts = how.splits(f"settings.{setting_name}", setting, examples, tokenizer, tokens)
    features = datasets.Features(
        {
            "input_ids": datasets.Sequence(datasets.Value("int32")),
            "prompt_length": datasets.Value("int32"),
            "bytes": datasets.Value("int32"),
        }
    )
    with new_folder(out) as folder:
        for split in SPLITS:
            datasets.Dataset.from_list(rows[split], features=features).save_to_disk(
                str(folder / split)
            )
        return STAGE.record(
            folder / "record.json",
            study,
            names,
            "/".join(names.values()),
            inputs={"data": identity(data), "model": identity(model)},
            settings={
                **setting.model_dump(
                    mode="json",
                    include={"corpus", "regime", "sequence_length", "validation_examples"},
                ),
                "tokens": tokens.model_dump(),
            },
            results={"counts": counts},
        )


FLAGS = (
    flag("study"),
    flag("setting"),
    flag("model-name", "one of models, where the study has several", required=False),
    place("model", "model folder, for its tokenizer"),
    place("data", "the corpus"),
    place("out", "folder to write"),
)


def main(args: argparse.Namespace) -> str:
    """Pack the setting's data and say what was dropped."""
    record = prepare(args.study, args.setting, args.model, args.data, args.out, args.model_name)
    limit = record.science.settings["sequence_length"]
    return "\n".join(
        f"{record.cell}, {split}: {found['dropped_over_length']:,} of {found['examples']:,} "
        f"examples dropped over {limit} tokens, {found['rows']:,} rows kept"
        for split, found in record.results["counts"].items()
    )


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
