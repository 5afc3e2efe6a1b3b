"""Stage `prepare`: a corpus becomes token ids, ready to be trained on.

In: `data/<corpus>/`, the model folder's tokenizer, and a setting.
Out: `packed/<setting>/train` and `/validation`, and a record with the counts.
Continued pretraining: the documents are joined with the separator between them and cut into blocks
of `sequence_length` tokens; the tail is left out. Instruction fine-tuning: prompt ids, response ids
and the end-of-response token; an example over the limit is dropped and counted, never cut.
It shuffles nothing and knows no budget: the order of training is the batching's affair.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.catalogue import TokenRoles, begin_ids, token_id
from lora_ledger.common.errors import require
from lora_ledger.common.startup import loading
from lora_ledger.data.corpora.store import load as load_examples
from lora_ledger.records.atomic import new_folder
from lora_ledger.records.record import identity
from lora_ledger.scheduling.stage import Names, Stage, lean
from lora_ledger.study.file import load
from lora_ledger.study.schema import Setting, Study

from ._main import flag, place
from ._main import run as run_stage

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Row = dict[str, Any]


def encode(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int]]:
    """Token ids and the UTF-8 bytes that each token adds; the bytes sum to those of the text.

    A character that several tokens share is counted with the last of them.
    """
    encoding = tokenizer.encode(text, add_special_tokens=False)
    until = [0, *accumulate(len(character.encode()) for character in text)]
    ids: list[int] = encoding.ids
    ends = [end for _, end in encoding.offsets]
    starts = [start for start, _ in encoding.offsets]
    sizes = []
    reached = 0
    for token, end in enumerate(ends):
        last = token + 1 == len(ids)
        shared = not last and starts[token + 1] < end
        position = until[-1] if last else until[end - 1 if shared else end]
        sizes.append(max(position - reached, 0))
        reached = max(position, reached)
    return ids, sizes


def blocks(
    tokenizer: Tokenizer, separator: int, texts: Iterable[str], length: int
) -> Iterator[Row]:
    """Blocks of `length` tokens from the joined documents; the first token of each bears no loss,
    since nothing stands before it."""
    ids: list[int] = []
    sizes: list[int] = []
    for text in texts:
        more, more_sizes = encode(tokenizer, text)
        ids += [*more, separator]
        sizes += [*more_sizes, 0]
        whole = len(ids) // length * length
        for start in range(0, whole, length):
            stop = start + length
            yield {
                "input_ids": ids[start:stop],
                "prompt_length": 0,
                "bytes": sum(sizes[start + 1 : stop]),
            }
        ids, sizes = ids[whole:], sizes[whole:]


def pairs(
    tokenizer: Tokenizer,
    end: int,
    rows: Iterable[Mapping[str, Any]],
    length: int,
    begin: Sequence[int] = (),
) -> Iterator[Row | None]:
    """Prompt and response as the evaluation sends and expects them; None for one over `length`.

    `begin` stands before every prompt.
    """
    for row in rows:
        prompt = [*begin, *encode(tokenizer, row["prompt"])[0]]
        response, _ = encode(tokenizer, row["response"])
        if len(prompt) + len(response) + 1 > length:
            yield None
            continue
        yield {
            "input_ids": [*prompt, *response, end],
            "prompt_length": len(prompt),
            "bytes": len(row["response"].encode()),
        }


def pack(
    setting: Setting, tokens: TokenRoles, tokenizer: Tokenizer, data: Path, split: str
) -> tuple[list[Row], dict[str, int]]:
    """All rows of a split and what was dropped; tokens are those that bear loss."""
    examples = load_examples(data, split)
    made: list[Row | None]
    if setting.regime == "cpt":
        separator = token_id(tokenizer.get_vocab(), "separator", tokens.separator)
        texts = (row["text"] for row in examples)
        made = list(blocks(tokenizer, separator, texts, setting.sequence_length))
    else:
        end = token_id(tokenizer.get_vocab(), "end_of_response", tokens.end_of_response)
        begin = begin_ids(tokenizer.get_vocab(), tokens)
        made = list(pairs(tokenizer, end, examples, setting.sequence_length, begin))
    rows = [row for row in made if row is not None]
    counts = {
        "examples": len(examples),
        "rows": len(rows),
        "dropped_over_length": len(made) - len(rows),
        "tokens": sum(len(r["input_ids"]) - max(r["prompt_length"], 1) for r in rows),
        "bytes": sum(r["bytes"] for r in rows),
    }
    return rows, counts


def reads(study: Study, names: Names) -> dict[str, Any]:
    """Regime, sequence length, validation examples, the tokens' roles."""
    setting = study.settings[names["setting"]]
    keys = {"regime", "sequence_length", "validation_examples"}
    return {
        **setting.model_dump(mode="json", include=keys, exclude_defaults=True),
        "tokens": lean(study.model_entry().tokens),
    }


STAGE = Stage("prepare", ("the first",), reads)


def prepare(study_file: str, setting_name: str, model: Path, data: Path, out: Path) -> None:
    """Write `out`; raises ValueError when nothing is left to train on."""
    with loading():
        import datasets

    study = load(study_file)
    require("--setting", setting_name, study.settings, "one of settings")
    setting = study.settings[setting_name]
    tokens = study.model_entry().tokens
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    # A saved tokenizer may cut or pad by itself; what is cut here is dropped, and said so.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    features = datasets.Features(
        {
            "input_ids": datasets.Sequence(datasets.Value("int32")),
            "prompt_length": datasets.Value("int32"),
            "bytes": datasets.Value("int32"),
        }
    )
    counts = {}
    with new_folder(out) as folder:
        for split in ("train", "validation"):
            rows, counts[split] = pack(setting, tokens, tokenizer, data, split)
            if not rows:
                raise ValueError(
                    f"settings.{setting_name}: found no {split} example of at most "
                    f"{setting.sequence_length} tokens in {setting.corpus}, expected some; "
                    "raise sequence_length or choose another corpus"
                )
            if split == "validation":
                rows = rows[: setting.validation_examples]
            datasets.Dataset.from_list(rows, features=features).save_to_disk(str(folder / split))
        STAGE.record(
            folder / "record.json",
            study,
            {"setting": setting_name},
            setting_name,
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
    place("model", "model folder, for its tokenizer"),
    place("data", "the corpus"),
    place("out", "folder to write"),
)


def main(args: argparse.Namespace) -> None:
    """Pack the setting's data."""
    prepare(args.study, args.setting, args.model, args.data, args.out)


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
