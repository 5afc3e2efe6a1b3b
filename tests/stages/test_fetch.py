"""Stage `fetch`: mixtures end to end, what records say of sources, and somebody else's weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.data.corpora import make
from lora_ledger.data.corpora.store import load as rows
from lora_ledger.data.sources import SourceError, pins
from lora_ledger.records.record import Input, read_record
from lora_ledger.stages import _main, fetch
from lora_ledger.study.schema import Study

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CORPUS = {"type": "corpus", "title": "t", "licence": "CC0-1.0", "citation": "none"}
SPLITS = {
    "train": {"role": "train"},
    "validation": {"role": "validation"},
    "test": {"role": "test"},
}


def ids(inputs: Mapping[str, Input]) -> dict[str, str]:
    """What pins each input."""
    return {name: one.id for name, one in inputs.items()}


def study(**changes: Any) -> Study:
    raw: dict[str, Any] = {
        "name": "made-up",
        "title": "made up",
        "model": "tiny-random-llama",
        "seeds": [1],
        "evaluation": {"texts": {"general": {"corpus": "smoke-text"}}},
    }
    return Study.model_validate({**raw, **changes})


def jsonl(path: Path, letter: str, count: int, group: str = "g") -> dict[str, Any]:
    """A corpus of `count` different documents of 20 bytes, in as many groups."""
    path.write_text(
        "".join(
            json.dumps({"text": f"{i:{letter}>20}", "group": f"{group}{i}"}) + "\n"
            for i in range(count)
        )
    )
    source = {"kind": "local", "path": str(path)}
    return {
        **CORPUS,
        "reader": "jsonl",
        "content": "text",
        "sources": {"data": source},
        "options": {"group": "group"},
        "splits": SPLITS,
    }


def mixture(**weights: float) -> dict[str, Any]:
    splits = {name: SPLITS[name] for name in ("train", "validation")}
    return {**CORPUS, "reader": "mixture", "content": "text", "mixture": weights, "splits": splits}


def test_a_mixture_is_drawn_from_what_its_parts_give(tmp_path: Path) -> None:
    catalogue = {
        "one": jsonl(tmp_path / "one.jsonl", "x", 300),
        "two": jsonl(tmp_path / "two.jsonl", "y", 300),
        "both": mixture(one=1, two=3),
    }
    made = study(catalogue=catalogue)
    for name in catalogue:
        fetch.fetch_corpus(made, name, tmp_path / "data" / name)
    results = read_record(tmp_path / "data" / "both" / "record.json").results
    for split in ("train", "validation"):
        found = rows(tmp_path / "data" / "both", split)
        parts = {part: rows(tmp_path / "data" / part, split) for part in ("one", "two")}
        # All documents have 20 bytes: of `two` all, of `one` a third of that, up to one document.
        taken = {
            part: [r for r in found if r["id"] in {p["id"] for p in parts[part]}] for part in parts
        }
        assert len(taken["two"]) == len(parts["two"])
        assert abs(len(taken["one"]) - len(parts["two"]) / 3) <= 1
        # A prefix of the part's own order, and the whole in the order of the hash.
        assert {r["id"] for r in taken["one"]} == {
            r["id"] for r in parts["one"][: len(taken["one"])]
        }
        assert [r["id"] for r in found] == sorted(r["id"] for r in found)
        assert results[split]["bounded_by"] == "two"
        assert results[split]["parts"]["one"] == {
            "documents": len(taken["one"]),
            "bytes": 20 * len(taken["one"]),
            "left": len(parts["one"]) - len(taken["one"]),
        }
    assert results["read"]["one"]["read"] == 300
    # One group is on one side, whichever part it came from, and nothing held out is in it.
    sides = {
        split: {r["group"] for r in rows(tmp_path / "data" / "both", split)}
        for split in ("train", "validation")
    }
    assert not sides["train"] & sides["validation"]
    held = {r["group"] for r in rows(tmp_path / "data" / "two", "test")}
    assert held
    assert not held & (sides["train"] | sides["validation"])
    digest = hashlib.sha256((tmp_path / "one.jsonl").read_bytes()).hexdigest()
    record = read_record(tmp_path / "data" / "both" / "record.json")
    assert record.science.inputs["one.data"].id == digest
    assert "resolved" not in record.science.settings


def test_a_mixture_of_mixtures_is_refused(tmp_path: Path) -> None:
    catalogue = {
        "one": jsonl(tmp_path / "one.jsonl", "x", 30),
        "both": mixture(one=1, two=3),
        "two": mixture(one=1, three=1),
        "three": jsonl(tmp_path / "three.jsonl", "z", 30),
    }
    with pytest.raises(ValueError, match=r"catalogue\.both\.mixture\.two: .* no mixture itself"):
        fetch.fetch_corpus(study(catalogue=catalogue), "both", tmp_path / "data")


def hub_corpus(files: list[str]) -> dict[str, Any]:
    source = {"kind": "hub", "repo": "me/mine", "type": "dataset", "files": files}
    return {
        **CORPUS,
        "reader": "jsonl",
        "content": "text",
        "sources": {"hub": source},
        "options": {"near_duplicates": False},
        "splits": SPLITS,
    }


def on_hub(folder: Path, **changes: Any) -> dict[str, Any]:
    """What `provenance` says of a folder's files."""
    return {
        "repo": "me/mine",
        "type": "dataset",
        "revision": "main",
        "commit": COMMIT,
        "resolved": False,
        "files": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, f"resolved me/mine@main to {COMMIT}; put `revision: {COMMIT}` into the entry to pin"),
        ({"commit": None}, "me/mine@main came from a mirror that does not say its commit"),
        ({"resolved": True, "revision": COMMIT}, ""),
    ],
)
def test_the_record_holds_commit_and_hashes_of_a_hub(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    words: str,
) -> None:
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    jsonl(folder / "data" / "a.jsonl", "x", 100)
    monkeypatch.setattr(make, "obtain", lambda source: folder)
    monkeypatch.setattr(pins, "provenance", lambda source: on_hub(folder, **changes))
    made = study(catalogue={"mine": hub_corpus(["data/*.jsonl"])})
    fetch.fetch_corpus(made, "mine", tmp_path / "data" / "mine")
    record = read_record(tmp_path / "data" / "mine" / "record.json")
    assert record.results["counts"]["read"] == 100
    assert ids(record.science.inputs) == {
        "hub": f"me/mine@{changes.get('commit', COMMIT) or 'unknown'}",
        "hub/data/a.jsonl": on_hub(folder)["files"]["data/a.jsonl"],
    }
    assert record.run["resolved"] is changes.get("resolved", False)
    revision = record.science.settings["sources"]["hub"]["revision"]
    assert revision == changes.get("commit", COMMIT) or revision == "main"
    assert words in capsys.readouterr().out


def test_pinning_the_commit_that_was_found_changes_no_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    jsonl(folder / "data" / "a.jsonl", "x", 100)
    monkeypatch.setattr(make, "obtain", lambda source: folder)
    ids = []
    for changes in ({}, {"resolved": True, "revision": COMMIT}):
        found = on_hub(folder, **changes)
        monkeypatch.setattr(pins, "provenance", lambda source, found=found: found)
        entry = hub_corpus(["data/*.jsonl"])
        entry["sources"]["hub"]["revision"] = changes.get("revision", "main")
        out = tmp_path / "data" / str(len(ids))
        fetch.fetch_corpus(study(catalogue={"mine": entry}), "mine", out)
        ids.append(read_record(out / "record.json").id)
    assert ids[0] == ids[1]


def test_a_hub_mirror_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("LEDGER_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "mirror" / "me" / "mine" / "data"
    place.mkdir(parents=True)
    jsonl(place / "a.jsonl", "x", 100)
    made = study(catalogue={"mine": hub_corpus(["data/*.jsonl"])})
    fetch.fetch_corpus(made, "mine", tmp_path / "data" / "mine")
    record = read_record(tmp_path / "data" / "mine" / "record.json")
    digest = hashlib.sha256((place / "a.jsonl").read_bytes()).hexdigest()
    assert record.science.inputs["hub/data/a.jsonl"].id == digest
    assert record.results["counts"]["read"] == 100


def test_published_splits_are_named_to_the_selection(tmp_path: Path) -> None:
    entry = jsonl(tmp_path / "one.jsonl", "x", 40)
    # Two equal rows: all of a published split stay.
    with (tmp_path / "one.jsonl").open("a") as file:
        file.write(json.dumps({"text": f"{0:x>20}", "group": "g0"}) + "\n")
    published = {name: {**what, "as_published": True} for name, what in SPLITS.items()}
    made = study(catalogue={"one": entry, "all": {**entry, "splits": published}})
    counts = {}
    for name in ("one", "all"):
        fetch.fetch_corpus(made, name, tmp_path / "data" / name)
        counts[name] = read_record(tmp_path / "data" / name / "record.json").results["counts"]
    assert counts["one"]["exact_duplicates"] == 1
    assert sum(counts["all"][split] for split in SPLITS) == 41


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that peft made of the tiny model and saved: rank 4 on two modules, B not zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    torch.manual_seed(3)
    out = tmp_path_factory.mktemp("adapter") / "theirs"
    get_peft_model(model, config).save_pretrained(str(out))
    return out


def others(path: Path) -> Study:
    source = {"kind": "local", "path": str(path)}
    other = {"source": source, "title": "theirs", "licence": "MIT", "citation": "them"}
    return study(others={"theirs": other})


def test_an_adapter_is_copied_recorded_and_loads(
    adapter: Path, tiny_model: Path, tmp_path: Path
) -> None:
    from lora_ledger.inference.weights import load_cell

    out = tmp_path / "other" / "theirs"
    fetch.fetch_other(others(adapter), "theirs", out, tiny_model)
    names = ["adapter_config.json", "adapter_model.safetensors"]
    assert sorted(path.name for path in (out / "adapter").iterdir()) == names
    record = read_record(out / "record.json")
    assert (record.stage, record.cell) == ("fetch", "other/theirs")
    # Two layers: q is 64 × 64, down is 128 → 64; r (in + out) each.
    assert record.results["parameters"] == 2 * (4 * (64 + 64) + 4 * (128 + 64))
    assert record.results["files"] == {
        f"adapter/{name}": hashlib.sha256((adapter / name).read_bytes()).hexdigest()
        for name in names
    }
    settings = record.science.settings
    assert {key: settings[key] for key in ("kind", "title", "licence", "citation")} == {
        "kind": "adapter",
        "title": "theirs",
        "licence": "MIT",
        "citation": "them",
    }
    assert ids(record.science.inputs) == {"source": "folder theirs"}
    merged, _ = load_cell(tiny_model, out, "fp32", "cpu")
    base, _ = load_cell(tiny_model, None, "fp32", "cpu")
    layer = merged.model.layers[0]
    assert not layer.self_attn.q_proj.weight.equal(base.model.layers[0].self_attn.q_proj.weight)
    assert layer.self_attn.k_proj.weight.equal(base.model.layers[0].self_attn.k_proj.weight)
    # Without the model's folder the catalogue's config says what fits.
    fetch.fetch_other(others(adapter), "theirs", out)
    assert read_record(out / "record.json").id == record.id


def configured(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def reshaped(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return spoil


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def whole(tensors: dict[str, Any]) -> None:
    """Every tensor twice as wide as the tiny model's."""
    for name, value in tensors.items():
        tensors[name] = value.repeat(1, 2) if "lora_A" in name else value.repeat(2, 1)


def ints(tensors: dict[str, Any]) -> None:
    import torch

    name = sorted(tensors)[0]
    tensors[name] = tensors[name].to(torch.int8)


Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickled, r"lacks adapter_model\.safetensors and has adapter_model\.bin, which are not"),
        (cut, r"adapter_model\.safetensors: found no whole safetensors file .*not fully covered"),
        (
            lambda f: (f / "adapter_model.safetensors").write_bytes(b"pickle"),
            r"found no whole safetensors file .*fetch it again",
        ),
        (reshaped(whole), r"lora_A\.weight: found the shape \[4, 256\], expected \[4, 128\]"),
        (reshaped(ints), r"found I8, expected one of F32, F16, BF16; quantised weights"),
        (
            reshaped(lambda t: t.pop(f"{Q0}.lora_B.weight")),
            r"found no .*q_proj\.lora_B\.weight, expected one of shape \[64, 4\]",
        ),
        (
            reshaped(lambda t: [t.pop(f"{Q0}.lora_{x}.weight") for x in "AB"]),
            r"target_modules: .* without weights: model\.layers\.0\.self_attn\.q_proj",
        ),
        (
            reshaped(lambda t: t.update({f"{Q0}.bias": t[f"{Q0}.lora_A.weight"][0].clone()})),
            r"q_proj\.bias: found the shape \[64\], expected no such tensor",
        ),
        (
            reshaped(lambda t: t.update({"lm_head.lora_A.weight": next(iter(t.values())).clone()})),
            r"expected no such tensor",
        ),
        (configured(target_modules=["q_proj"]), r"not asked for: model\.layers\.0\.mlp\.down_proj"),
        (configured(target_modules=r".*\.1\..*(q|down)_proj"), r"asks for 2 modules.* for 4"),
        (configured(target_modules="("), r"expected a pattern of modules"),
        (configured(r=8), r"found the shape \[4, \d+\], expected \[8, \d+\].* at rank 8"),
        (
            configured(use_dora=True),
            r"found no .*magnitude_vector, .* says use_dora True",
        ),
        (configured(peft_type="IA3"), r"peft_type: found 'IA3', expected LORA"),
        (configured(init_lora_weights="pissa"), r"init_lora_weights: found 'pissa'.*convert it"),
        (
            configured(auto_mapping={"parent_library": "os", "base_model_class": "x"}),
            r"auto_mapping: found .* expected a module of transformers",
        ),
        (configured(megatron_config={"a": 1}), r"megatron_config: found"),
        (configured(layer_replication=[[0, 2], [1, 2]]), r"layer_replication: found"),
        (configured(use_qalora=True), r"use_qalora: found True"),
        (
            lambda f: (f / "config.json").write_text("{}"),
            r"found README\.md, adapter_config\.json, .*one of th",
        ),
        (
            lambda f: (f / "adapter_config.json").unlink(),
            r"expected adapter_config\.json or config",
        ),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    adapter: Path, tiny_model: Path, tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(adapter, theirs)
    spoil(theirs)
    with pytest.raises(SourceError, match=message) as caught:
        fetch.fetch_other(others(theirs), "theirs", tmp_path / "out" / "theirs", tiny_model)
    assert str(caught.value).startswith("others.theirs: ")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "how",
    [
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "v_proj"], "use_dora": True},
        {"target_modules": r".*\.(k|up)_proj", "exclude_modules": ["up_proj"]},
        {"target_modules": ["v_proj"], "layers_to_transform": [1]},
        {"target_modules": ["v_proj"], "rank_pattern": {"layers.1.self_attn.v_proj": 2}},
        {"target_modules": ["v_proj"], "modules_to_save": ["norm", "embed_tokens", "o_proj"]},
        {"target_modules": ["o_proj"], "use_rslora": True, "init_lora_weights": "orthogonal"},
    ],
)
def test_what_peft_saves_of_the_model_fits_it(
    how: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, **how))
    adapted.save_pretrained(str(tmp_path / "theirs"))
    expected = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    fetch.fetch_other(others(tmp_path / "theirs"), "theirs", tmp_path / "out")
    assert read_record(tmp_path / "out" / "record.json").results["parameters"] == expected


def test_a_model_is_linked_with_its_tokenizer(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "theirs"
    fetch.fetch_other(others(tiny_model), "theirs", out, tiny_model)
    record = read_record(out / "record.json")
    assert record.science.settings["kind"] == "model"
    assert record.results["parameters"] == 258 * 64 + 2 * 36_992 + 64
    assert {f"model/{path.name}" for path in tiny_model.iterdir()} == set(record.results["files"])


def config_of(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def renamed(old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        tensors[new] = tensors.pop(old)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def added(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        norm, embedding = tensors["model.norm.weight"], tensors["model.embed_tokens.weight"]
        for name in names:
            tensors[name] = (embedding if name == "lm_head.weight" else norm).clone()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def test_copies_of_tied_weights_and_computed_numbers_are_nothing_new(
    tiny_model: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(tiny_model, theirs)
    added("lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq")(theirs)
    fetch.fetch_other(others(theirs), "theirs", tmp_path / "out", tiny_model)
    found = read_record(tmp_path / "out" / "record.json").results["parameters"]
    assert found == 258 * 64 + 2 * 36_992 + 64


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (config_of(quantization_config={"bits": 4}), r"has quantization_config, expected plain"),
        (config_of(auto_map={"AutoModel": "evil.Model"}), r"config\.json has auto_map.*no such"),
        (
            lambda f: (f / "tokenizer_config.json").write_text('{"auto_map": {"a": ["b.C", 0]}}'),
            r"tokenizer_config\.json has auto_map",
        ),
        (
            renamed("model.layers.1.mlp.up_proj.weight", "module.layers.1.mlp.up_proj.weight"),
            r"model\.layers\.1\.mlp\.up_proj\.weight: found nothing, expected \[",
        ),
        (
            renamed("model.norm.weight", "model.nrm.weight"),
            r"model\.norm\.weight: found nothing, expected \[64\]",
        ),
        (
            added("model.layers.0.self_attn.q_proj.bias"),
            r"q_proj\.bias: found \[64\], expected no such tensor, as config\.json asks for none",
        ),
        (
            config_of(intermediate_size=7),
            r"model\.layers\.0\.mlp\.gate_proj\.weight: found \[.*, expected \[7, 64\]",
        ),
        (config_of(model_type="gpt2"), r"model_type: found 'gpt2', expected one of llama"),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            r"lacks model\.safetensors and has pytorch_model\.bin, which are not read",
        ),
        (
            lambda f: [(f / "tokenizer.json").unlink(), config_of(vocab_size=300)(f)],
            r"found a vocabulary of 300 and no tokenizer\.json, .* study's model, 258",
        ),
    ],
)
def test_a_model_that_is_not_plain_is_refused(
    tiny_model: Path, tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(tiny_model, theirs)
    spoil(theirs)
    with pytest.raises(SourceError, match=message):
        fetch.fetch_other(others(theirs), "theirs", tmp_path / "out", tiny_model)


def test_the_command_fetches_an_other(
    adapter: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(others(adapter).model_dump_json(exclude_defaults=True))
    out = tmp_path / "out"
    base = ["--study", str(path), "--out", str(out)]

    def run(*more: str) -> int:
        return _main.run(fetch.STAGE, None, fetch.FLAGS, fetch.main, [*base, *more])

    assert run("--other", "theirs", "--model", str(tiny_model)) == 0
    assert read_record(out / "record.json").cell == "other/theirs"
    assert run("--other", "their") == 2
    assert "did you mean 'theirs'" in capsys.readouterr().err
    assert run("--corpus", "smoke-text", "--other", "theirs") == 2
    assert "expected one" in capsys.readouterr().err
