"""Hub repositories: commits, mirrors, refusals and damage, against a hub on this machine."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fake_hub import FakeHub, git_blob, sha256
from lora_ledger.catalogue import HubSource
from lora_ledger.data import sources
from lora_ledger.data.sources import SourceError

REPO = "someone/model"
CONFIG = b'{"model_type": "llama"}'
WEIGHTS = random.Random(5).randbytes(300_000)
FILES = {
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "original/params.json": b"{}",
    "README.md": b"words",
}


def source(*files: str, **keys: object) -> HubSource:
    wanted = list(files) or ["*.safetensors", "config.json"]
    return HubSource(kind="hub", repo=REPO, type="model", files=wanted, **keys)


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def mirrored(root: Path, files: dict[str, bytes], commit: str | None = None) -> Path:
    """The layout of `hf download owner/name --local-dir root/owner/name`."""
    folder = root / REPO
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if commit:
            note = folder / ".cache/huggingface/download" / f"{name}.metadata"
            note.parent.mkdir(parents=True, exist_ok=True)
            etag = sha256(content) if len(content) >= 1000 else git_blob(content)
            note.write_text(f"{commit}\n{etag}\n1712656091.123\n")
    return folder


def test_exactly_the_matching_files_and_what_pins_them(hub: FakeHub, home: Path) -> None:
    commit = hub.commit("model", REPO, FILES)
    wanted = source("*.safetensors", "config.json", "original/*")
    assert sources.missing(wanted).endswith("of model someone/model at main has to be fetched")
    folder = sources.obtain(wanted)
    assert contents(folder) == {k: v for k, v in FILES.items() if k != "README.md"}
    asked = len(hub.requests)
    found = sources.provenance(wanted)
    assert found == {
        "repo": REPO,
        "type": "model",
        "revision": "main",
        "commit": commit,
        "resolved": False,
        "files": {
            "model.safetensors": sha256(WEIGHTS),
            "config.json": sha256(CONFIG),
            "original/params.json": sha256(b"{}"),
        },
    }
    # Patterns in their order, not names in theirs.
    assert list(found["files"]) == ["model.safetensors", "config.json", "original/params.json"]
    assert len(hub.requests) == asked
    assert sources.missing(wanted) == ""
    assert not list((home / "hub" / "partial").iterdir())


def test_a_named_commit_is_asked_for_once_and_never_again(hub: FakeHub) -> None:
    commit = hub.commit("model", REPO, FILES)
    hub.commit("model", REPO, {"config.json": b"{}", "model.safetensors": b"new"})
    wanted = source(revision=commit)
    folder = sources.obtain(wanted)
    assert contents(folder)["config.json"] == CONFIG
    asked = len(hub.requests)
    assert sources.obtain(wanted) == folder
    assert len(hub.requests) == asked
    assert sources.provenance(wanted)["resolved"] is True


def test_a_branch_that_moved_changes_nothing_but_is_told(hub: FakeHub, capsys, home: Path) -> None:
    first = hub.commit("model", REPO, FILES)
    folder = sources.obtain(source())
    assert capsys.readouterr().err == ""
    sources.obtain(source())
    assert capsys.readouterr().err == ""
    second = hub.commit("model", REPO, FILES | {"config.json": b"{}"})
    assert sources.obtain(source()) == folder
    told = capsys.readouterr().err
    record = home / "hub" / "resolved" / "model--someone--model--main.json"
    assert told.count("\n") == 1
    for word in (first, second, str(record)):
        assert word in told
    # Other files of the repository come from the recorded commit too.
    assert contents(sources.obtain(source("README.md", "config.json")))["config.json"] == CONFIG
    record.unlink()
    assert contents(sources.obtain(source()))["config.json"] == b"{}"
    assert sources.provenance(source())["commit"] == second


def test_without_a_network_the_recorded_commit_serves(hub: FakeHub, monkeypatch, capsys) -> None:
    hub.commit("model", REPO, FILES)
    folder = sources.obtain(source())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert sources.obtain(source()) == folder
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert sources.obtain(source()) == folder
    assert capsys.readouterr().err == ""
    with pytest.raises(SourceError, match=r"HF_HUB_OFFLINE is set; unset it.*hf download"):
        sources.obtain(source("README.md"))


def test_half_a_file_is_gone_on_with(hub: FakeHub, naps: list[float], monkeypatch) -> None:
    from huggingface_hub import constants

    # The library keeps whole chunks of a broken answer; with its 10 MB none of this file would be.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.commit("model", REPO, FILES)
    hub.cut("model.safetensors", 150_000)
    assert contents(sources.obtain(source()))["model.safetensors"] == WEIGHTS
    gets = hub.asked("model.safetensors")
    assert [r.headers.get("range") for r in gets] == [None, "bytes=150000-"]
    assert hub.sent("model.safetensors") == len(WEIGHTS)


def test_complete_files_survive_a_failure(hub: FakeHub, naps: list[float]) -> None:
    hub.commit("model", REPO, FILES)
    wanted = source("model.safetensors", "config.json")
    hub.answer("config.json", 500, times=50)
    with pytest.raises(SourceError, match=r"500|could not be fetched"):
        sources.obtain(wanted)
    hub.answers.clear()
    assert contents(sources.obtain(wanted)) == {"model.safetensors": WEIGHTS, "config.json": CONFIG}
    assert hub.sent("model.safetensors") == len(WEIGHTS)


def test_two_at_once_fetch_once(hub: FakeHub) -> None:
    hub.commit("model", REPO, FILES)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(sources.obtain, [source(), source()]))
    assert folders[0] == folders[1]
    assert contents(folders[0]) == {"model.safetensors": WEIGHTS, "config.json": CONFIG}
    assert hub.sent("model.safetensors") == len(WEIGHTS)


def test_too_many_requests_are_waited_for(hub: FakeHub, naps: list[float]) -> None:
    hub.commit("model", REPO, FILES)
    hub.answer("/revision/main", 429, Retry_After="11")
    hub.answer("/revision/main", 503)
    sources.obtain(source())
    assert naps == [11.0, 2.0]
    hub.answer("/revision/other", 429, times=5, Retry_After="2")
    hub.commit("model", REPO, FILES, branch="other")
    with pytest.raises(SourceError, match=r"429.*run again later"):
        sources.obtain(source(revision="other"))


def test_a_gated_repository_names_token_and_page(hub: FakeHub, monkeypatch) -> None:
    hub.commit("model", REPO, FILES, gated=True)
    for reach in (sources.obtain, lambda s: sources.check_available({"m": s})):
        with pytest.raises(SourceError, match=r"gated.*401.*accept its terms.*HF_TOKEN") as caught:
            reach(source())
        assert f"{hub.endpoint}/{REPO}" in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(SourceError, match="403 to the token in HF_TOKEN") as caught:
        sources.obtain(source())
    assert "hf_of_somebody_else" not in str(caught.value)


def test_the_token_is_sent_and_never_written(
    hub: FakeHub, home: Path, tmp_path: Path, monkeypatch, capfd
) -> None:
    hub.commit("model", REPO, FILES, gated=True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    sources.check_available({"m": source()})
    sources.obtain(source())
    assert {r.headers.get("authorization") for r in hub.requests} == {f"Bearer {hub.token}"}
    assert not any(hub.token in r.path for r in hub.requests)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not any(hub.token.encode() in path.read_bytes() for path in files)
    assert hub.token not in "".join(capfd.readouterr())


def test_a_token_on_disk_is_not_used(hub: FakeHub, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import constants

    (tmp_path / "token").write_text("hf_from_a_file")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    hub.commit("model", REPO, FILES)
    sources.obtain(source())
    assert hub.requests
    assert not any("authorization" in r.headers for r in hub.requests)


def test_what_is_not_there_is_named_with_its_neighbours(hub: FakeHub, naps: list[float]) -> None:
    hub.commit("model", REPO, FILES)
    with pytest.raises(SourceError, match=r"\['confg.json'\] match nothing.*'config.json'"):
        sources.obtain(source("confg.json"))
    with pytest.raises(SourceError, match=r"'orignal/par\*'.*'original/params.json'"):
        sources.obtain(source("orignal/par*"))
    with pytest.raises(SourceError, match=r"no revision 'mian'.*'main'"):
        sources.obtain(source(revision="mian"))
    with pytest.raises(SourceError, match=r"`sha256` names \['config.jsn'\].*config.json"):
        sources.obtain(source(sha256={"config.jsn": "0" * 64}))
    hub.commit("dataset", "someone/words", {"a.jsonl": b"{}"})
    nowhere = HubSource(kind="hub", repo="someone/words", type="model", files=["*"])
    with pytest.raises(SourceError, match="no model someone/words; there is a dataset of that"):
        sources.obtain(nowhere)
    assert naps == []


@pytest.mark.parametrize(("name", "kind"), [("model.safetensors", sha256), ("config.json", None)])
def test_wrong_bytes_from_the_hub(hub: FakeHub, home: Path, name: str, kind) -> None:
    hub.commit("model", REPO, FILES)
    damaged = bytearray(FILES[name])
    damaged[7] ^= 1
    hub.swap(name, bytes(damaged))
    digest = kind or git_blob
    with pytest.raises(SourceError, match=name) as caught:
        sources.obtain(source())
    for word in (digest(FILES[name]), digest(bytes(damaged)), hub.endpoint):
        assert word in str(caught.value)
    assert not [p for p in home.rglob("*") if p.is_file() and p.read_bytes() == bytes(damaged)]
    hub.swapped.clear()
    assert contents(sources.obtain(source()))[name] == FILES[name]


def test_the_sources_own_hash_is_compared(hub: FakeHub) -> None:
    hub.commit("model", REPO, FILES)
    with pytest.raises(SourceError) as caught:
        sources.obtain(source(sha256={"config.json": "0" * 64}))
    assert "0" * 64 in str(caught.value)
    assert sha256(CONFIG) in str(caught.value)
    sources.obtain(source(sha256={"config.json": sha256(CONFIG)}))
    with pytest.raises(SourceError, match="0" * 64):
        sources.obtain(source(sha256={"config.json": "0" * 64}))


def test_damage_in_the_cache_stops(hub: FakeHub) -> None:
    hub.commit("model", REPO, FILES)
    folder = sources.obtain(source())
    (folder / "config.json").write_bytes(b"{}")
    with pytest.raises(SourceError, match="delete the folder") as caught:
        sources.obtain(source())
    for word in (sha256(CONFIG), sha256(b"{}"), str(folder.parent)):
        assert word in str(caught.value)
    (folder / "config.json").unlink()
    with pytest.raises(SourceError, match="is gone; delete"):
        sources.obtain(source())


def test_mirror_with_notes_gives_the_commit(
    hub: FakeHub, tmp_path: Path, monkeypatch, home: Path
) -> None:
    commit = "ab" * 20
    mirrored(tmp_path / "m", FILES, commit)
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path / "m"))
    assert sources.missing(source()) == ""
    folder = sources.obtain(source())
    assert contents(folder) == {"model.safetensors": WEIGHTS, "config.json": CONFIG}
    found = sources.provenance(source())
    assert (found["commit"], found["resolved"]) == (commit, False)
    assert found["files"]["config.json"] == sha256(CONFIG)
    named = source(revision=commit)
    sources.obtain(named)
    assert sources.provenance(named)["commit"] == commit
    with pytest.raises(SourceError, match="and the source names") as caught:
        sources.missing(source(revision="cd" * 20))
    assert commit in str(caught.value)
    assert "cd" * 20 in str(caught.value)
    assert hub.requests == []


def test_mirror_without_notes_knows_no_commit(hub: FakeHub, tmp_path: Path, monkeypatch) -> None:
    mirrored(tmp_path / "m", FILES)
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path / "m"))
    for revision in ("main", "cd" * 20):
        sources.obtain(source(revision=revision))
        assert sources.provenance(source(revision=revision))["commit"] is None
    assert hub.requests == []


def test_mirror_of_two_commits_is_refused(hub: FakeHub, tmp_path: Path, monkeypatch) -> None:
    mirrored(tmp_path / "m", {"config.json": CONFIG}, "ab" * 20)
    mirrored(tmp_path / "m", {"model.safetensors": WEIGHTS}, "cd" * 20)
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path / "m"))
    with pytest.raises(SourceError, match="of several commits"):
        sources.obtain(source())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_wrong_byte_in_the_mirror_stops(
    hub: FakeHub, tmp_path: Path, monkeypatch, name: str
) -> None:
    folder = mirrored(tmp_path / "m", FILES, "ab" * 20)
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path / "m"))
    damaged = FILES[name][:-1] + b"!"
    (folder / name).write_bytes(damaged)
    digest = git_blob if name == "config.json" else sha256
    with pytest.raises(SourceError, match="LEDGER_MIRROR has the wrong bytes") as caught:
        sources.obtain(source())
    assert digest(FILES[name]) in str(caught.value)
    assert digest(damaged) in str(caught.value)
    (folder / ".cache/huggingface/download" / f"{name}.metadata").unlink()
    sources.obtain(source())
    with pytest.raises(SourceError, match=sha256(FILES[name])):
        sources.obtain(source(sha256={name: sha256(FILES[name])}))


def test_a_mirror_that_lacks_a_file_is_passed_over(
    hub: FakeHub, tmp_path: Path, monkeypatch
) -> None:
    commit = hub.commit("model", REPO, FILES)
    folder = mirrored(tmp_path / "m", {"config.json": b"{}"})
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path / "m"))
    assert sources.missing(source()).endswith(f"({folder} lacks ['*.safetensors'])")
    assert contents(sources.obtain(source()))["config.json"] == CONFIG
    assert sources.provenance(source())["commit"] == commit


def test_nothing_obtained_has_no_provenance(home: Path) -> None:
    with pytest.raises(SourceError, match="not obtained yet"):
        sources.provenance(source())
    (home / "hub" / "resolved").mkdir(parents=True)
    record = home / "hub" / "resolved" / "model--someone--model--main.json"
    record.write_text(json.dumps({"commit": "ab" * 20})[:-4])
    with pytest.raises(SourceError, match="delete it and run again"):
        sources.provenance(source())


def test_half_a_mirror_is_refused(hub: FakeHub, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path))
    shards = {f"data/train-{i:05}-of-00003.parquet": b"x" for i in range(3)}
    folder = mirrored(tmp_path, dict(list(shards.items())[:2]))
    with pytest.raises(SourceError, match=r"not complete: found data/train: 2 of 3, expected all"):
        sources.obtain(source("data/train-*.parquet"))
    mirrored(tmp_path, shards)
    assert len(contents(sources.obtain(source("data/train-*.parquet")))) == 3
    trace = folder / ".cache/huggingface/download/abc.incomplete"
    trace.parent.mkdir(parents=True, exist_ok=True)
    trace.touch()
    with pytest.raises(SourceError, match=r"not complete: found abc\.incomplete"):
        sources.obtain(source("data/train-*.parquet"))


def test_a_token_without_access_is_noticed_before_the_download(hub: FakeHub, monkeypatch) -> None:
    hub.commit("model", REPO, FILES, gated=True)
    hub.answer(f"/api/models/{REPO}/auth-check", 403)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with pytest.raises(SourceError, match=r"answers 403 to the token in HF_TOKEN"):
        sources.check_available({"m": source()})
