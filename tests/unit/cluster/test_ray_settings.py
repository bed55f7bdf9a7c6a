"""Ray is started with the cores that this process may use, and a limited number of old sessions is kept."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from cluster import node_report
from cluster.local.ray_settings import SESSIONS_KEPT, cpus, init_arguments, open_files_fault, remove_old_sessions


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 64, id="no control group"),
        pytest.param({"cpu.max": "max 100000\n"}, 64, id="version 2, no quota"),
        pytest.param({"cpu.max": "250000 100000\n"}, 3, id="version 2, two and a half cores"),
        pytest.param({"cpu.max": "10000 100000\n"}, 1, id="version 2, a tenth of a core"),
        pytest.param({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4, id="version 1"),
        pytest.param({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64, id="version 1, no quota"),
        pytest.param({"cpu.max": "a lot\n"}, 64, id="what nobody can read"),
    ],
)
def test_a_containers_quota_counts(files: dict[str, str], expected: int, tmp_path: Path) -> None:
    """The CPU quota of the container limits the number of cores.

    Without a readable quota, the machine's 64 cores count.
    """
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpus(tmp_path, 64) == expected


def test_the_cores_a_process_is_bound_to_count(tmp_path: Path) -> None:
    """Ray gets the cores that the process is bound to, but at least two, which Ray's own actors need."""
    assert cpus(tmp_path) == len(os.sched_getaffinity(0))
    assert init_arguments(tmp_path)["num_cpus"] >= 2


def test_old_sessions_are_removed_and_the_last_ones_stay(tmp_path: Path) -> None:
    """Old session folders of Ray are removed, except the last `SESSIONS_KEPT`. Other files stay."""
    for number in range(10):
        (tmp_path / "ray" / f"session_2026-01-0{number}_00-00-00_1_7" / "logs").mkdir(parents=True)
    (tmp_path / "ray" / "session_latest").symlink_to(tmp_path / "ray" / "session_2026-01-09_00-00-00_1_7")
    (tmp_path / "ray" / "mine").mkdir()
    remove_old_sessions(tmp_path)
    left = sorted(path.name for path in (tmp_path / "ray").iterdir())
    last = [f"session_2026-01-0{number}_00-00-00_1_7" for number in range(10 - SESSIONS_KEPT, 10)]
    assert left == ["mine", *last, "session_latest"]


def test_a_first_start_has_no_sessions(tmp_path: Path) -> None:
    """Without any session folder, `remove_old_sessions` raises no error."""
    remove_old_sessions(tmp_path)


@pytest.mark.parametrize("allowed", [1_024, 1_048_576, resource.RLIM_INFINITY])
def test_a_machine_with_enough_files_has_no_fault(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """A machine that allows a process at least 1,024 open files has no fault."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, allowed))
    assert open_files_fault() is None


def test_a_machine_with_too_few_files_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine allows fewer open files than a process needs. One sentence says so, and a node's report contains it."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    sentence = "a process may open 256 files here, 1024 are needed: see `ulimit -Hn`"
    assert open_files_fault() == sentence
    monkeypatch.setattr(node_report, "_look_at_redis", lambda *_: None)
    question = {"settings": {}, "redis_url": "redis://127.0.0.1:1/0", "api_keys": "", "code": ""}
    assert sentence in node_report.report(question)["faults"]
