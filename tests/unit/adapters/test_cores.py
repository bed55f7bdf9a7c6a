"""Checks the reading of free cores and of this process's CPU, from files as Linux writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dispatcher.adapters.cores import Cores

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Machine:
    """A stand-in for Linux's files about cores: one core that this process may use, and a control group inside another
    one.
    """

    def __init__(self, folder: Path) -> None:
        self.proc, self.groups = folder / "proc", folder / "groups"
        (self.proc / "self").mkdir(parents=True)
        (self.groups / "above" / "mine").mkdir(parents=True)
        (self.proc / "self" / "cgroup").write_text("0::/above/mine\n")
        self.idle_s = self.used_s = 0.0
        self.write()

    def write(self) -> None:
        number = min(os.sched_getaffinity(0))
        words = f"{number} 0 0 0 {round(self.idle_s / TICK_S)} 0 0 0 0 0 0"
        (self.proc / "stat").write_text(f"cpu  0 0 0 0 0\ncpu{words}\ncpu999 0 0 0 9 9 0 0\n")
        for group in ("above", "above/mine"):
            (self.groups / group / "cpu.stat").write_text(f"usage_usec {int(self.used_s * 1e6)}\nuser_usec 0\n")

    def pass_s(self, idle_s: float, used_s: float = 0.0) -> None:
        self.idle_s += idle_s
        self.used_s += used_s
        self.write()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_free_is_what_was_idle_in_the_busier_of_two_windows(machine: Machine) -> None:
    """The free cores are the idle share of the busier of the last two seconds.

    So a new load counts at once, and a load that ended counts for one second more.
    """
    cores, found = Cores(machine.proc, machine.groups), []
    cores.read(0.0)
    for second, idle_s in enumerate((0.9, 0.1, 0.9, 0.9), 1):
        machine.pass_s(idle_s)
        reading = cores.read(float(second))
        assert reading is not None
        found.append(reading.free_cores)
    assert found == pytest.approx([0.9, 0.1, 0.1, 0.9], abs=0.02)


@pytest.mark.parametrize("group", ["above", "above/mine"])
def test_a_quota_counts_also_of_a_group_above(machine: Machine, group: str) -> None:
    """On an idle machine, a control group has a quota of half a core and uses 0.4 cores. Then 0.1 cores are free.

    This holds if the quota belongs to the process's own group, and also if it belongs to the parent group.
    """
    (machine.groups / group / "cpu.max").write_text("50000 100000\n")
    (machine.groups / "above" / ("mine" if group == "above" else "") / "cpu.max").touch()
    cores = Cores(machine.proc, machine.groups)
    cores.read(0.0)
    machine.pass_s(1.0, used_s=0.4)
    reading = cores.read(1.0)
    assert reading is not None
    assert reading.free_cores == pytest.approx(0.1)


def test_nothing_is_known_at_first_and_without_proc(machine: Machine, tmp_path: Path) -> None:
    cores, blind = Cores(machine.proc, machine.groups), Cores(tmp_path / "none", machine.groups)
    assert cores.read(0.0) is None
    assert cores.read(0.5) is None
    assert [blind.read(float(second)) for second in range(3)] == [None] * 3


def test_this_machine_is_read() -> None:
    """On a real Linux machine the reading shows at least 0 CPU in use, and a share of waiting time from 0 to 1."""
    cores = Cores()
    cores.read(0.0)
    reading = cores.read(1.0)
    if reading is not None:  # no Linux: nothing is known
        assert reading.cpu >= 0.0
        assert 0.0 <= reading.waiting <= 1.0
