"""Read a study file, or say what is wrong with it in the user's terms.

In: the path of a YAML file, or the name of a study in `config/`.
Out: a validated `Study`.
YAML is read by `common.yaml`, to which `no` and `12:30` are text; they are refused here where a
truth value or a number belongs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lora_ledger.catalogue import CorpusEntry, HubSource, LocalSource
from lora_ledger.common import yaml
from lora_ledger.common.errors import KeyProblem, nearest, require
from lora_ledger.common.yaml import YamlError
from lora_ledger.data.corpora.readers import mixture
from lora_ledger.data.tasks import TaskError, describe
from lora_ledger.methods import MethodBase
from lora_ledger.models.architecture import ArchitectureError

from . import branches, cells, corpus_entries, decided, derived, models, sources
from . import schema as schema
from .evaluation import LikelihoodTask, TaskRun
from .models import folder_config, model_config, positions
from .schema import Study

CONFIG = Path("config")
# Keys of earlier releases, and what they are called now.
OLD_KEYS = {
    "clip": "max_grad_norm",
    "checkpointing": "gradient_checkpointing",
    "validation": "validation_examples",
    "validations": "validation_points",
    "choices": "likelihood",
}


class StudyError(ValueError):
    """A study that cannot be run; the message holds one line for each problem."""


def path_of(name_or_path: str) -> Path:
    """The file that a study's name or path means."""
    path = Path(name_or_path)
    return path if path.suffix in (".yaml", ".yml") else CONFIG / f"{name_or_path}.yaml"


def load(name_or_path: str) -> Study:
    """The study in `config/<name>.yaml` or at a path; raises StudyError."""
    path = path_of(name_or_path)
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        near = nearest(path.stem, known)
        hint = f"; did you mean {near!r}?" if near else ""
        raise StudyError(
            f"study: found no file {path}, expected a path or one of those in {path.parent}: "
            f"{', '.join(known) or 'none is there'}{hint}"
        )
    return parse(path.read_bytes(), str(path))


def parse(text: str | bytes, where: str = "study") -> Study:
    """A study from YAML text; raises StudyError that names `where`."""
    try:
        raw = yaml.load(text)
    except YamlError as error:
        raise StudyError(f"{where}: {error}") from error
    if not isinstance(raw, dict):
        raise StudyError(f"{where}: found {type(raw).__name__}, expected keys such as `name:`")
    try:
        study = Study.model_validate_json(json.dumps(raw), strict=True)
        _check_entries(study)
        _check_tasks(study)
        _check_mixtures(study)
        _check_resolved(study)
        _check_descent(study)
        for name in study.model_names:
            models.check_base(study, name)
        _check_methods(study)
        branches.check(study)
        _check_derived(study)
        _check_window(study)
        decided.check(study)
    except ValidationError as error:
        lines = "\n".join(f"  {line}" for line in dict.fromkeys(map(_explain, error.errors())))
        raise StudyError(f"{where} cannot be run:\n{lines}") from error
    except (KeyProblem, corpus_entries.EntryError, ArchitectureError) as error:
        raise StudyError(f"{where} cannot be run:\n  {error}") from error
    return study


def _explain(error: ErrorDetails) -> str:
    """One line: the key, what was found, what was expected, the nearest valid name."""
    location = _without_tags(error["loc"])
    key = ".".join(str(part) for part in location) or "study"
    cause = (error.get("ctx") or {}).get("error")
    if isinstance(cause, KeyProblem):
        parts = str(cause)
        return parts if not location or parts.startswith(key) else f"{key}.{parts}"
    if error["type"] == "extra_forbidden":
        known = _fields_at(error["loc"])
        new = OLD_KEYS.get(str(location[-1]))
        if new in known:
            return f"{key}: found a key of an earlier release, expected its new name {new!r}"
        near = nearest(str(location[-1]), known)
        hint = f"; did you mean {near!r}?" if near else ""
        return f"{key}: found an unknown key, expected one of {', '.join(known)}{hint}"
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        kinds = [kind.strip("'") for kind in str(context["expected_tags"]).split(", ")]
        near = nearest(str(context["tag"]), kinds)
        hint = f"; did you mean {near!r}?" if near else ""
        where = f"{key}.{str(context['discriminator']).strip(chr(39))}"
        return f"{where}: found {context['tag']!r}, expected one of {', '.join(kinds)}{hint}"
    if error["type"] == "missing":
        return f"{key}: found nothing, expected this key"
    found = error["input"]
    shown = repr(found) if not isinstance(found, dict | list) else type(found).__name__
    return f"{key}: found {shown}, expected {_expected(error)}"


def _expected(error: ErrorDetails) -> str:
    ctx = error.get("ctx") or {}
    fixed = {
        "greater_than": f"a number above {ctx.get('gt')}",
        "greater_than_equal": f"a number of at least {ctx.get('ge')}",
        "less_than": f"a number below {ctx.get('lt')}",
        "less_than_equal": f"a number of at most {ctx.get('le')}",
        "int_type": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "string_type": "text (put it in quotes)",
        "tuple_type": "a list",
        "literal_error": str(ctx.get("expected", "")) + _near(error),
        "string_pattern_mismatch": f"text of the form {ctx.get('pattern')}",
    }
    return fixed.get(error["type"], error["msg"])


def _near(error: ErrorDetails) -> str:
    names = re.findall(r"'([^']*)'", str((error.get("ctx") or {}).get("expected", "")))
    near = nearest(str(error["input"]), names)
    return f"; did you mean {near!r}?" if near else ""


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are valid where an unknown one stands, found in the study's JSON schema."""
    root: dict[str, Any] = Study.model_json_schema()
    node: dict[str, Any] = root
    for part in location[:-1]:
        node = _child(root, _resolve(root, node), part)
    return sorted(_resolve(root, node).get("properties", {}))


def _without_tags(location: tuple[int | str, ...]) -> list[int | str]:
    """The location without the union tags that pydantic puts in, such as a method's kind."""
    root: dict[str, Any] = Study.model_json_schema()
    node: dict[str, Any] = root
    kept = []
    for part in location:
        resolved = _resolve(root, node)
        tags = (resolved.get("discriminator") or {}).get("mapping", {})
        if part not in tags and "[" not in str(part):
            kept.append(part)
        node = _child(root, resolved, part)
    return kept


def _resolve(root: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node


def _child(root: dict[str, Any], node: dict[str, Any], part: int | str) -> dict[str, Any]:
    if part in node.get("properties", {}):
        return dict(node["properties"][part])
    if part in (node.get("discriminator") or {}).get("mapping", {}):
        return {"$ref": node["discriminator"]["mapping"][part]}
    for pattern, value in node.get("patternProperties", {}).items():
        if re.search(pattern, str(part)):
            return dict(value)
    for option in node.get("anyOf", []):
        resolved = _resolve(root, option)
        if resolved.get("type") == "object":
            return _child(root, resolved, part)
    return node


def _check_entries(study: Study) -> None:
    """The study's own corpora have readers that are there, with options that these take, and every
    corpus the splits that are read."""
    for name, entry in study.catalogue.items():
        if isinstance(entry, CorpusEntry):
            corpus_entries.check(entry, study.known(), f"catalogue.{name}")
    asked = [(s.corpus, "validation", f"settings.{key}") for key, s in study.settings.items()]
    texts = study.evaluation.texts.items()
    asked += [(text.corpus, "test", f"evaluation.texts.{key}") for key, text in texts]
    for corpus, split, what in asked:
        corpus_entries.holds(study.corpus_entry(corpus), corpus, split, what)


def _check_tasks(study: Study) -> None:
    """Every task that is named exists and fits the place where it is named."""
    for place, runs, kinds in (
        ("generate", study.evaluation.generate, ("generate",)),
        ("likelihood", study.evaluation.likelihood, ("choices", "continuation")),
        ("prompts", study.evaluation.prompts, ("generate",)),
    ):
        for name, run in runs.items():
            key = f"evaluation.{place}.{name}.task"
            try:
                if run.corpus:
                    known = describe(run.task).corpora
                    require(f"evaluation.{place}.{name}.corpus", run.corpus, known, "one of")
                task = describe(run.task, run.corpus)
            except TaskError as error:
                raise KeyProblem(key, run.task, str(error)) from error
            if task.kind not in kinds:
                raise KeyProblem(
                    key, run.task, f"a task of kind {' or '.join(kinds)} (it is {task.kind})"
                )
            entry = schema.corpus(
                study.known(), key, task.corpus, ("problems", "pairs", "choices", "passages")
            )
            corpus_entries.holds(entry, task.corpus, task.split, f"evaluation.{place}.{name}")
            runs_code = task.executes_code and place != "prompts"
            if runs_code and not study.evaluation.allow_code_execution:
                raise KeyProblem(
                    "evaluation.allow_code_execution",
                    False,
                    f"true, since {name} runs generated code in a confined process",
                )


def _check_mixtures(study: Study) -> None:
    """The parts of each mixture that is used are there and fit together."""
    for name in sources.corpora(study):
        mixture.check(study.corpus_entry(name), study.known(), f"catalogue.{name}.mixture")


def _check_resolved(study: Study) -> None:
    """Where results are to be pinned, no hub source may be at a branch that a push can move."""
    if not study.to_be_pinned:
        return
    for name, source in sources.sources(study).items():
        if isinstance(source, HubSource) and not source.resolved:
            raise KeyProblem(
                f"to_be_pinned: {name}.revision",
                source.revision,
                f"a commit of {source.repo}, 40 hex digits; fetch it once without `to_be_pinned` "
                "and take the commit that its record names",
            )


def _check_descent(study: Study) -> None:
    """No cell is evaluated on a set that its training corpus was made from."""
    evaluation = study.evaluation
    for name, setting in study.settings.items():
        parents = sources.ancestors(study, setting.corpus)
        asked: dict[str, TaskRun | LikelihoodTask] = {
            **{f"generate.{run}": evaluation.generate[run] for run in setting.tasks},
            **{f"likelihood.{run}": choice for run, choice in evaluation.likelihood.items()},
        }
        scored: dict[str, tuple[str, ...]] = {
            run: describe(what.task, what.corpus).corpora for run, what in asked.items()
        }
        scored |= {f"texts.{name}": (text.corpus,) for name, text in evaluation.texts.items()}
        for run, corpora in scored.items():
            family = {*corpora}
            # A corpus is scored on its own test split by its splits' roles; any other copy of what
            # it was made from is refused.
            if not {setting.corpus, *study.corpus_entry(setting.corpus).mixture} & family:
                family = family.union(*(sources.ancestors(study, name) for name in corpora))
            shared = sorted(family & parents)
            if shared:
                raise KeyProblem(
                    f"settings.{name}.corpus",
                    setting.corpus,
                    f"a corpus that was not derived from {shared[0]}, on which evaluation.{run} "
                    "scores it; no key lifts this",
                )


def _check_methods(study: Study) -> None:
    """Each method fits the models, as their configs say, without loading them."""
    checkpointing = study.compute.gradient_checkpointing
    for name, method in study.methods.items():
        for model in study.model_names:
            method.check(model_config(study.model_entry(model)), f"methods.{name}.")
        method.check_run(checkpointing=checkpointing, where=f"methods.{name}")
    spectrum = study.evaluation.spectrum
    for model in study.model_names if spectrum and spectrum.layers else ():
        depth = int(model_config(study.model_entry(model))["num_hidden_layers"])
        if spectrum and max(spectrum.layers or ()) >= depth:
            expected = f"places from 0 to {depth - 1}, since {model} has {depth} blocks"
            raise KeyProblem("evaluation.spectrum.layers", list(spectrum.layers or ()), expected)


def _check_derived(study: Study) -> None:
    """What is derived is of cells that are there, of a rank that their matrices have."""
    derived.check(study, cells.cells(study))
    for model in study.model_names if study.derived.random else ():
        derived.check_rank(study, model, model_config(study.model_entry(model)))


def _check_window(study: Study) -> None:
    """Nothing that is trained or asked is longer than the positions that the models have.

    A model whose config.json is not known yet is checked once it is loaded.
    """

    def least(names: Iterable[str]) -> int | None:
        known = (positions(model_config(study.model_entry(name))) for name in names)
        return min((one for one in known if one is not None), default=None)

    for name, setting in study.settings.items():
        trained = [study.methods[one] for one in setting.methods or study.methods]
        room = _beside(least(study.models_of(name)), trained)
        _fits(f"settings.{name}.sequence_length", setting.sequence_length, room)
    window = _beside(least(study.model_names), study.methods.values())
    for name, text in study.evaluation.texts.items():
        _fits(f"evaluation.texts.{name}.sequence_length", text.sequence_length, window)
    for name, run in study.evaluation.generate.items():
        own = [
            positions(folder_config(Path(other.source.path)))
            for other in study.others.values()
            if isinstance(other.source, LocalSource)
            and (other.tasks is None or name in other.tasks)
        ]
        for one in [window, *own]:
            _fits(f"evaluation.generate.{name}.max_gen_toks", run.max_gen_toks, one, left=1)
            # An example has a token at least; how many the prompts have shows at their run.
            shots = describe(run.task, run.corpus).shots(run.num_fewshot)
            room = one and one - run.max_gen_toks
            _fits(f"evaluation.generate.{name}.num_fewshot", shots, room, left=1)
    for name, asked in study.evaluation.likelihood.items():
        shots = describe(asked.task, asked.corpus).shots(asked.num_fewshot)
        _fits(f"evaluation.likelihood.{name}.num_fewshot", shots, window, left=1)


def _beside(window: int | None, methods: Iterable[MethodBase]) -> int | None:
    """What is left of a window beside the virtual tokens of methods."""
    taken = max((method.virtual_tokens for method in methods), default=0)
    return None if window is None else window - taken


def _fits(key: str, found: int, window: int | None, left: int = 0) -> None:
    if window is not None and found > window - left:
        raise KeyProblem(
            key,
            found,
            f"{max(0, window - left)} at most, what the model's max_position_embeddings leave",
        )
