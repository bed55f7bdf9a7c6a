"""A replica that is stopped by a signal is told apart from a slow one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.local.frozen import STOPPED_S, Frozen, stopped


@pytest.mark.parametrize(("state", "is_stopped"), [("T", True), ("R", False), ("S", False), ("D", False), ("t", False)])
def test_only_a_stopped_process_is_frozen(tmp_path: Path, state: str, is_stopped: bool) -> None:
    """Only the process state T counts as stopped.

    Running, sleeping, waiting for a disk and being debugged do not count.

    The process name in /proc may contain any characters, such as ") T (".
    """
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (ray::Serve) T (x)) {state} 1 7 7 0 -1\n")
    assert stopped([7, 8], tmp_path) == ({7} if is_stopped else set())


def test_who_wakes_in_time_is_left_alone() -> None:
    """A process is stopped, wakes and is stopped again. It is reported only after `STOPPED_S` seconds without a
    break.
    """
    frozen = Frozen()
    assert frozen.look({7}, 0.0) == []
    assert frozen.look(set(), 3.0) == []
    assert frozen.look({7}, 4.0) == []
    assert frozen.look({7}, 4.0 + STOPPED_S - 0.1) == []
    assert frozen.look({7}, 4.0 + STOPPED_S) == [7]
