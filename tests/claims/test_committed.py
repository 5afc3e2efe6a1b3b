"""Since when a rule stands, by the history of a study file in a repository made for the test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from lora_ledger.claims.committed import commitments
from planted_runs import decision, rule

DIGESTS = {"one": decision().digest}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    return tmp_path


def git(folder: Path, *command: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", *who, *command], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, **rules: object) -> str:
    (folder / "study.yaml").write_text(yaml.safe_dump({"name": "x", "decisions": rules}))
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


def test_before_or_after_its_records(repository: Path) -> None:
    file = repository / "study.yaml"
    without = commit(repository)
    other = commit(repository, one=rule(margin=0.1))
    first = commit(repository, one=rule())
    # Prose and order are no part of a rule.
    later = commit(repository, two=rule(margin=0.3), one={**rule(), "reason": "clearer"})

    def when(*made: str | None) -> tuple[str, str | None]:
        found = commitments(file, DIGESTS, {"one": made})["one"]
        return found.when, found.commit

    assert when(first) == when(later) == when(first, later) == ("before", first)
    assert when(without)[0] == when(other)[0] == when(later, other)[0] == "post hoc"
    assert when(None)[0] == "unknown"
    assert when("0" * 40)[0] == "unknown"
    # A rule that was there, went and came back stands since it came back.
    commit(repository)
    again = commit(repository, one=rule())
    assert when(later) == ("post hoc", again)


def test_what_is_not_committed_is_post_hoc(repository: Path) -> None:
    commit(repository)
    (repository / "study.yaml").write_text(yaml.safe_dump({"decisions": {"one": rule()}}))
    found = commitments(repository / "study.yaml", DIGESTS, {})["one"]
    assert (found.when, "is not committed" in found.reason) == ("post hoc", True)


def test_without_a_repository_it_cannot_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = commitments(tmp_path / "study.yaml", DIGESTS, {"one": ["0" * 40]})["one"]
    assert (found.when, "no git checkout" in found.reason) == ("unknown", True)
