"""Tests that a measurement names the commit for which it holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cluster.rehearsal import provenance


def test_only_code_makes_a_commit_dirty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If only documents and results are changed, `commit` returns the commit as it is. If code is changed, it adds
    `-dirty`.
    """

    def git(*words: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    files = [tmp_path / name for name in ("benchmarks/results/a.json", "docs/capacity.md", "README.md", "code.py")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("before")
    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    for file in files[:3]:
        file.write_text("after")
    clean = provenance.commit()
    assert not clean.endswith("-dirty")
    files[3].write_text("after")
    assert provenance.commit() == f"{clean}-dirty"
