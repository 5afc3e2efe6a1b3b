"""How text becomes rows of token ids, ready to be trained on.

In: a tokenizer and documents, or prompts with their responses. Out: rows of `input_ids`,
`prompt_length` (that many ids bear no loss) and `bytes` (UTF-8 bytes of the text that bears loss).
Which of the two ways is a regime's to say. Nothing is shuffled, and no budget is known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    since nothing stands before it. The tail is left out."""
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


def counted(made: Iterable[Row | None], examples: int) -> tuple[list[Row], dict[str, int]]:
    """The rows without those that were too long, and the counts; tokens are those that bear loss.

    `examples` is how many the rows were made from.
    """
    found = list(made)
    rows = [row for row in found if row is not None]
    counts = {
        "examples": examples,
        "rows": len(rows),
        "dropped_over_length": len(found) - len(rows),
        "tokens": sum(len(row["input_ids"]) - max(row["prompt_length"], 1) for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
    }
    return rows, counts


def fixed(path: str) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, which neither cuts nor pads by itself.

    What is too long is dropped and counted, never cut. Raises FileNotFoundError or ValueError for
    a path that is not there, or a file that is none.
    """
    from tokenizers import Tokenizer

    content = Path(path).read_text("utf-8")
    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # tokenizers raises nothing narrower
        raise ValueError(
            f"{path}: found {error}, expected a tokenizer as `save_pretrained` writes it"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
