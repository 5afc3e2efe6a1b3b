"""Bad studies stop with the key, what was found, what was expected and the nearest valid name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import counts
from lora_ledger.methods.recipe import Optimiser, Schedule, over
from lora_ledger.study import cells, rates, sources
from lora_ledger.study.file import StudyError, load, parse
from lora_ledger.study.schema import Study
from lora_ledger.study.training_inputs import decides

SMOKE = Path("config/smoke.yaml").read_text("utf-8")

BAD = {
    "a misspelt key": ("dropout: 0.0", "dropuot: 0.0", ["methods.lora-olora.dropuot", "'dropout'"]),
    "an unknown corpus": (
        "corpus: smoke-words",
        "corpus: smoke-wrods",
        ["settings.math-ift.corpus", "'smoke-wrods'", "did you mean 'smoke-words'"],
    ),
    "a corpus of the wrong content": (
        "corpus: smoke-words",
        "corpus: smoke-text",
        ["settings.math-ift.corpus", "a corpus of pairs", "it holds text"],
    ),
    "a rank of 0": (
        "lora-r2: {kind: lora, rank: 2,",
        "lora-r2: {kind: lora, rank: 0,",
        ["methods.lora-r2.rank", "found 0", "above 0"],
    ),
    "a module that the model lacks": (
        "target_modules: mlp",
        "target_modules: [q_proj, gate_porj]",
        ["methods.lora-rslora-lion.target_modules", "'gate_porj'", "did you mean 'gate_proj'"],
    ),
    "a reserved name": ("name: smoke", "name: pinned", ["name: found 'pinned'", "not pinned"]),
    "no for a truth value": (
        "allow_code_execution: true",
        "allow_code_execution: no",
        ["evaluation.allow_code_execution", "found 'no'", "true or false"],
    ),
    "a time of day for a number": (
        "checkpoint_steps: 4",
        "checkpoint_steps: 12:30",
        ["checkpoint_steps", "found '12:30'", "a whole number"],
    ),
    "an unknown task": (
        "task: smoke-words",
        "task: smoke-wrods",
        ["evaluation.generate.words.task", "'smoke-wrods'", "smoke-words"],
    ),
    "a method that is not there": (
        "methods: [lora-olora]",
        "methods: [lora-ollora]",
        ["settings.repair.methods", "'lora-ollora'", "did you mean 'lora-olora'"],
    ),
    "a tuning seed that is reported": (
        "tuning_seed: 1000",
        "tuning_seed: 1",
        ["tuning_seed: found 1", "not among seeds"],
    ),
    "grids of unequal width": (
        "full: [1.0e-3, 3.0e-3]",
        "full: [1.0e-3, 3.0e-3, 1.0e-2]",
        ["settings.code-cpt.learning_rates", "equal width"],
    ),
    "blocks longer than the model's window": (
        "sequence_length: 192",
        "sequence_length: 4096",
        ["sequence_length: found 4096", "2048 at most"],
    ),
    "a text in windows longer than the model's": (
        "kilobytes: 2, sequence_length: 64",
        "kilobytes: 2, sequence_length: 2049",
        ["evaluation.texts.general.sequence_length", "2048 at most"],
    ),
    "completions that leave no room for a prompt": (
        "limit: 8, max_gen_toks: 16",
        "limit: 8, max_gen_toks: 2048",
        ["evaluation.generate.words.max_gen_toks", "2047 at most"],
    ),
    "more examples than the window has tokens": (
        "limit: 8, max_gen_toks: 16",
        "limit: 8, max_gen_toks: 2000, num_fewshot: 60",
        ["evaluation.generate.words.num_fewshot", "47 at most"],
    ),
    "a seed that no generator takes": (
        "tuning_seed: 1000",
        "tuning_seed: 4294967296",
        ["tuning_seed: found 4294967296", "at most 4294967295"],
    ),
    "a number that fp32 does not have": (
        "limit: 8, max_gen_toks: 16",
        "limit: 8, max_gen_toks: 16, samples: 2, temperature: 1e-320",
        ["evaluation.generate.words.temperature: found 1e-320", "at least 1e-06"],
    ),
    "a method that looks like a flag": (
        "lora-r2: {kind: lora",
        "-r2: {kind: lora",
        ["methods.-r2", "text of the form"],
    ),
    "a key that stands twice": (
        "tuning_seed: 1000",
        "tuning_seed: 1000\ntuning_seed: 1001",
        ["'tuning_seed' stands twice"],
    ),
    "tokens and epochs": (
        "tokens: {tokens: 2000}",
        "tokens: {tokens: 2000, epochs: 1}",
        ["budgets.tokens.tokens: found 'tokens and epochs'", "one of tokens, epochs, examples"],
    ),
    "a budget of nothing": (
        "tokens: {tokens: 2000}",
        "tokens: {}",
        ["budgets.tokens.tokens: found None", "examples, steps or episodes"],
    ),
    "episodes where nothing is sampled": (
        "tokens: {tokens: 2000}",
        "tokens: {episodes: 20}",
        ["budgets.tokens.episodes: found 20", "settings.code-cpt is of the regime cpt"],
    ),
    "a name that other cells have": (
        "  repair:",
        "  derived:",
        ["settings: found 'derived'", "not base, other, derived, trunk, sequence or random"],
    ),
    "code without consent": (
        "allow_code_execution: true",
        "allow_code_execution: false",
        ["evaluation.allow_code_execution", "code"],
    ),
    "a key of an earlier release": (
        "validation_examples: 8",
        "validation: 8",
        ["settings.code-cpt.validation: ", "'validation_examples'"],
    ),
    "an unknown kind of method": (
        "kind: lora, rank: 2, init: olora",
        "kind: lara, rank: 2, init: olora",
        ["methods.lora-olora.kind", "found 'lara'", "did you mean 'lora'"],
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_study_is_explained(what: str) -> None:
    old, new, expected = BAD[what]
    assert old in SMOKE
    with pytest.raises(StudyError) as caught:
        parse(SMOKE.replace(old, new, 1), "bad.yaml")
    for part in ("bad.yaml", *expected):
        assert part in str(caught.value)


def test_corpus_without_a_training_split_cannot_be_trained_on() -> None:
    text = SMOKE.replace(
        "corpus: smoke-text\n    regime: cpt\n    domain: code",
        "corpus: only-test\n    regime: cpt\n    domain: code",
        1,
    )
    text += """
catalogue:
  only-test:
    type: corpus
    title: a user's own evaluation set
    reader: jsonl
    content: text
    sources: {data: {kind: local, path: here.jsonl}}
    splits: {test: {role: test}}
    licence: own
    citation: own
"""
    with pytest.raises(StudyError, match=r"settings\.code-cpt\.corpus.*role is train"):
        parse(text)


def test_numbers_are_read_as_numbers() -> None:
    study = parse(SMOKE.replace("learning_rates: [1.0e-4]", "learning_rates: [1e-4]"))
    assert study.methods["lora-olora"].learning_rates == (0.0001,)


@pytest.mark.parametrize("optimiser", [{"betas": (0.9, 1.0)}, {"betas": (1, 0.9)}, {"eps": 1e-320}])
def test_what_divides_by_zero_in_fp32_is_refused(optimiser: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Optimiser(**optimiser)  # type: ignore[arg-type]


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(SMOKE.replace("a random model", "un modèle").encode("latin-1"))
    with pytest.raises(StudyError, match=r"mine\.yaml: line 4: found the byte 0xe8"):
        load(str(path))


def test_a_name_of_its_own_re_trains_nothing_and_is_not_recorded() -> None:
    named = parse(SMOKE.replace("{kind: lora, rank: 2,", "{kind: lora, title: two, rank: 2,"))
    assert named.methods["lora-r2"].title == "two"
    assert named.methods["lora-r2"].resolved() == load("smoke").methods["lora-r2"].resolved()


def test_a_method_says_for_itself_what_its_setting_would_have_said() -> None:
    study = parse(
        SMOKE.replace(
            "  full: {kind: full, learning_rates: [1.0e-3]}",
            "  full: {kind: full, learning_rates: [1.0e-3], max_grad_norm: 0.5, "
            "optimiser: {weight_decay: 1.0}, schedule: {name: constant, warmup: 0}}",
        )
    )
    setting, recipe = study.settings["code-cpt"], study.recipe_of("code-cpt", "full")
    assert recipe.optimiser.weight_decay == 1.0
    assert recipe.optimiser.betas == setting.optimiser.betas
    assert recipe.schedule.name == "constant"
    assert (setting.max_grad_norm, recipe.max_grad_norm) == (1.0, 0.5)
    assert study.recipe_of("code-cpt", "lora-r2") == setting
    decided = decides(study, "code-cpt", "full", "tokens", 1, 1e-3)
    assert decided["method"] == {"kind": "full"}
    assert decided["setting"]["optimiser"]["weight_decay"] == 1.0


def test_a_section_that_names_another_optimiser_stands_whole() -> None:
    setting = Optimiser(betas=(0.8, 0.9), weight_decay=0.3)
    assert over(setting, None) is setting
    assert over(setting, Optimiser(weight_decay=0.0)) == Optimiser(betas=(0.8, 0.9))
    assert over(setting, Optimiser(name="adamw", eps=1e-6)).betas == (0.8, 0.9)
    lion = Optimiser(name="lion", betas=(0.9, 0.99))
    assert over(setting, lion) == lion
    assert over(Schedule(warmup_steps=3), Schedule(cooldown=0.1)).warmup_steps == 3


@pytest.mark.parametrize(
    ("setting", "method", "said"),
    [
        ("{name: sgd, betas: [0.9, 0.9]}", "", "settings.code-cpt.optimiser.betas: found"),
        ("{name: lion, eps: 1.0e-8}", "", "expected a key that lion reads: betas, weight_decay"),
        ("{momentum: 0.9}", "", "a key that adamw reads: betas, eps, weight_decay"),
        ("{}", "{name: sgd, eps: 1.0e-6}", "methods.full.optimiser.eps: found 1e-06"),
        ("{}", "{momentum: 0.9}", "methods.full.optimiser.momentum: found 0.9"),
        ("{name: lion}", "{eps: 1.0e-6}", "lion reads, as settings.code-cpt has it trained: betas"),
    ],
)
def test_a_key_that_the_optimiser_does_not_read_is_refused(
    setting: str, method: str, said: str
) -> None:
    with pytest.raises(StudyError) as found:
        parse(with_optimisers(setting, method))
    assert said in str(found.value)


def test_weight_decay_under_frozen_entries_is_refused_before_any_compute() -> None:
    given = with_optimisers("{weight_decay: 0.1}", "").replace(
        "full: {kind: full, ", "full: {kind: full, freeze: 0.95, "
    )
    said = r"methods\.full\.freeze: found 0\.95, expected 0 with weight_decay 0\.1, .* as settings"
    with pytest.raises(StudyError, match=said):
        parse(given)
    assert parse(given.replace("weight_decay: 0.1", "weight_decay: 0.0"))


def test_a_key_that_the_optimiser_reads_may_come_from_either_section() -> None:
    given = with_optimisers("{name: lion}", "{betas: [0.9, 0.99]}")
    assert parse(given).recipe_of("code-cpt", "full").optimiser.name == "lion"
    given = with_optimisers("{betas: [0.9, 0.9]}", "{name: muon, momentum: 0.5}")
    assert parse(given).recipe_of("code-cpt", "full").optimiser.betas == (0.9, 0.95)


def with_schedules(setting: str, method: str) -> str:
    """`smoke`, whose setting code-cpt and method full say something of the schedule."""
    text = SMOKE.replace("  code-cpt:\n", f"  code-cpt:\n    schedule: {setting}\n")
    own = f", schedule: {method}" if method else ""
    full = "full: {kind: full, learning_rates: [1.0e-3]"
    return text.replace(full, full + own)


@pytest.mark.parametrize(
    ("setting", "method", "said"),
    [
        ("{name: cosine, cooldown: 0.3}", "", "settings.code-cpt.schedule.cooldown: found 0.3"),
        ("{cooldown_steps: 3}", "", "a key that cosine reads: warmup, warmup_steps, final"),
        ("{name: constant, final: 0.1}", "", "a key that constant reads: warmup, warmup_steps"),
        ("{name: inverse-sqrt, final: 0.1}", "", "schedule.final: found 0.1"),
        ("{warmup: 0.2, warmup_steps: 3}", "", "no such key beside warmup_steps, which is 3"),
        ("{}", "{cooldown: 0.1}", "cosine reads, as settings.code-cpt has it trained: warmup"),
        ("{}", "{name: constant, final: 0.1}", "methods.full.schedule.final: found 0.1"),
        ("{warmup_steps: 3}", "{warmup: 0.2}", "methods.full.schedule.warmup: found 0.2"),
        ("{warmup_steps: 3}", "{warmup: 0.2}", "which is 3, as settings.code-cpt has it trained"),
    ],
)
def test_a_key_of_the_schedule_that_has_no_say_is_refused(
    setting: str, method: str, said: str
) -> None:
    with pytest.raises(StudyError) as found:
        parse(with_schedules(setting, method))
    assert said in str(found.value)


def test_a_method_may_turn_a_warm_up_in_steps_into_a_share_and_back() -> None:
    for setting, method, steps, share in (
        ("{warmup: 0.2}", "{warmup_steps: 3}", 3, 0.2),
        ("{warmup_steps: 3}", "{warmup_steps: null, warmup: 0.25}", None, 0.25),
        ("{name: inverse-sqrt, cooldown: 0.4}", "{name: constant}", None, 0.1),
    ):
        found = parse(with_schedules(setting, method)).recipe_of("code-cpt", "full").schedule
        assert (found.warmup_steps, found.warmup) == (steps, share)


def with_optimisers(setting: str, method: str) -> str:
    """`smoke`, whose setting code-cpt and method full say something of the optimiser."""
    text = SMOKE.replace("  code-cpt:\n", f"  code-cpt:\n    optimiser: {setting}\n")
    own = f", optimiser: {method}" if method else ""
    full = "full: {kind: full, learning_rates: [1.0e-3]"
    assert text.count(full) == 1
    return text.replace(full, full + own)


def test_unknown_study_names_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"config/smokee\.yaml.*did you mean 'smoke'"):
        load("smokee")


def test_committed_studies_are_valid() -> None:
    for path in Path("config").glob("*.yaml"):
        assert load(str(path)).name == path.stem


def test_schema_file_is_in_sync() -> None:
    written = json.loads(Path("workflow/schemas/study.schema.json").read_text("utf-8"))
    assert written == Study.model_json_schema(), "run: python -m lora_ledger.study.json_schemas"


TWO_OF_EACH = {
    "name": "two",
    "title": "two of each",
    "model": "tiny-random-llama",
    "seeds": [1, 2],
    "settings": {
        "a": {"corpus": "smoke-text", "regime": "cpt", "tasks": ["words"]},
        "b": {"corpus": "smoke-pairs", "regime": "ift", "tasks": ["words"]},
    },
    "methods": {
        "full": {"kind": "full", "learning_rates": [1e-4, 1e-3]},
        "lora": {"kind": "lora", "rank": 2, "learning_rates": [1e-3, 1e-2]},
    },
    "budgets": {"short": {"tokens": 1000}, "long": {"tokens": 2000}},
    "evaluation": {"generate": {"words": {"task": "smoke-words"}}},
}


BASE_ONLY = {
    "name": "alone",
    "title": "the untouched model",
    "model": "tiny-random-llama",
    "seeds": [1],
    "evaluation": {"generate": {"words": {"task": "smoke-words"}}},
}


def test_a_study_without_settings_asks_the_base_everything() -> None:
    study = parse(yaml.safe_dump(BASE_ONLY))
    counted = counts.jobs(study)
    assert list(cells.scored(study)) == [("words", "base")]
    assert counted["train"] == counted["gate"] == counted["contaminate"] == 0
    assert cells.figures(study) == ["benchmarks"]


HUB = {"kind": "hub", "repo": "someone/theirs", "type": "model", "files": ["*.json"]}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("evaluation", {}, r"settings: found \{\}, expected a setting, or something in evaluation"),
        (
            "evaluation.likelihood",
            {"words": {"task": "smoke-facts"}},
            r"evaluation\.likelihood: found \['words'\], expected names that `generate` does not",
        ),
        (
            "evaluation.gauntlet_mean",
            ["fatcs"],
            r"gauntlet_mean: found 'fatcs', expected one of likelihood: none is there",
        ),
        (
            "evaluation.generate.words.corpus",
            "smoke-text",
            r"words\.corpus: found 'smoke-text', expected one of: smoke-words",
        ),
        (
            "others",
            {"theirs": {"source": HUB, "tasks": ["wrods"]}},
            r"others\.theirs\.tasks: found 'wrods', expected one of: words; did you mean 'words'",
        ),
        (
            "contamination",
            [{"corpus": "smoke-text", "task": "words", "reason": "by design, as it is known"}],
            r"contamination\.0\.corpus: found 'smoke-text', expected a setting's corpus",
        ),
        (
            "contamination",
            [{"corpus": "smoke-text", "task": "words", "reason": "fine"}],
            r"contamination\.0\.reason: found 'fine'",
        ),
    ],
)
def test_bad_keys_of_an_evaluation_are_refused(path: str, value: object, said: str) -> None:
    raw = json.loads(json.dumps(BASE_ONLY))
    *parents, last = path.split(".")
    node = raw
    for key in parents:
        node = node[key]
    node[last] = value
    with pytest.raises(StudyError, match=said):
        parse(yaml.safe_dump(raw))


def test_what_is_to_be_pinned_names_a_commit() -> None:
    pinned = {**BASE_ONLY, "to_be_pinned": True}
    assert parse(yaml.safe_dump(pinned)).to_be_pinned
    moving = {**pinned, "others": {"theirs": {"source": HUB}}}
    with pytest.raises(StudyError, match=r"theirs\.source\.revision: found 'main'.*40 hex digits"):
        parse(yaml.safe_dump(moving))
    fixed = {**pinned, "others": {"theirs": {"source": {**HUB, "revision": "0" * 40}}}}
    assert cells.labels(parse(yaml.safe_dump(fixed))) == ["base", "other/theirs"]


def test_a_mixture_is_checked_and_counts_as_its_parts() -> None:
    entry = {
        "type": "corpus",
        "title": "mixed",
        "reader": "mixture",
        "content": "pairs",
        "mixture": {"smoke-words": 1, "smoke-pairs": 2},
        "splits": {"train": {"role": "train"}, "validation": {"role": "validation"}},
        "licence": "own",
        "citation": "own",
    }
    raw = json.loads(json.dumps(TWO_OF_EACH))
    raw["settings"]["b"] |= {"corpus": "mixed", "tasks": []}
    raw["catalogue"] = {"mixed": entry}
    study = parse(yaml.safe_dump(raw))
    assert set(sources.corpus_sources(study, "mixed")) == {
        f"{part}.{key}"
        for part in ("smoke-words", "smoke-pairs")
        for key in study.corpus_entry(part).sources
    }
    raw["catalogue"]["child"] = {
        **study.corpus_entry("smoke-pairs").model_dump(mode="json"),
        "derived_from": ["smoke-words"],
    }
    entry["mixture"] = {"smoke-words": 1, "child": 2}
    raw["settings"]["b"]["tasks"] = ["words"]
    raw["catalogue"]["mixed"] = entry
    with pytest.raises(StudyError, match=r"not derived from smoke-words"):
        parse(yaml.safe_dump(raw))
    entry["mixture"] = {"smoke-words": 1, "smoke-wrods": 2}
    with pytest.raises(StudyError, match=r"mixture\.smoke-wrods.*did you mean 'smoke-words'"):
        parse(yaml.safe_dump(raw))


def own_corpus(**changed: object) -> str:
    """TWO_OF_EACH trained on a corpus of its own."""
    raw = yaml.safe_load(yaml.safe_dump(TWO_OF_EACH))
    roles = ("train", "validation", "test")
    raw["catalogue"] = {
        "mine": {
            **{"type": "corpus", "title": "mine", "reader": "jsonl", "content": "pairs"},
            "sources": {"data": {"kind": "local", "path": "nowhere.jsonl"}},
            "splits": {role: {"role": role} for role in roles},
            **{"licence": "mine", "citation": "me"},
            **changed,
        }
    }
    raw["settings"]["b"]["corpus"] = "mine"
    return yaml.safe_dump(raw)


def test_a_corpus_of_its_own_is_checked_when_the_study_is_read() -> None:
    assert parse(own_corpus()).settings["b"].corpus == "mine"
    for changed, message in (
        ({"reader": "jsnol"}, r"catalogue\.mine\.reader: found 'jsnol'.*did you mean 'jsonl'"),
        ({"options": {"txt": "a"}}, r"catalogue\.mine\.options: found 'txt'"),
        (
            {"splits": {"train": {"role": "train"}, "vaildation": {"role": "validation"}}},
            r"catalogue\.mine\.splits: found .*, expected validation among them, for settings\.b",
        ),
        ({"content": "piars"}, r"catalogue\.mine\.content: found 'piars'.*did you mean 'pairs'"),
    ):
        with pytest.raises(StudyError, match=message):
            parse(own_corpus(**changed))


def test_two_of_each_axis_gives_the_jobs_counted_by_hand() -> None:
    study = parse(yaml.safe_dump(TWO_OF_EACH))
    counted = counts.jobs(study)
    assert counted["train"] == 2 * 2 * 2 * 2
    assert counted["tune"] == 2 * 2 * 2
    assert counted["select"] == 2 * 2
    assert counted["generate"] == counted["score"] == 16 + 1
    assert counted["retain"] == (16 + 1) * len(cells.retained(study))
    assert counted["prepare"] == 2
    assert len(set(cells.labels(study))) == 17
    assert rates.selection(study, "a", "lora") == ("a", "lora")


def test_a_method_at_another_rate_waits_for_that_selection() -> None:
    own = {**TWO_OF_EACH["methods"], "ten": {"kind": "lora", "rank": 2, "at": "10x full"}}
    study = parse(yaml.safe_dump({**TWO_OF_EACH, "methods": own}))
    assert rates.selection(study, "a", "ten") == ("a", "full")
    assert counts.jobs(study)["tune"] == 8
    assert counts.jobs(study)["train"] == 24
