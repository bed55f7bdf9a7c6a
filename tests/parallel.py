"""`make test` runs in several pytest workers: which tests share one, and in which order tests are given out.

Tests whose assertions hold times come first. Those that only compute come last, at a low priority, in what
the others leave of the cores. A worker that has come to them never returns to the first kind: all of it is given out.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

ON_THE_SERVICE = {
    "tests/chaos/test_kills.py": "kills",
    "tests/chaos/test_outage.py": "lives",
    "tests/chaos/test_restart.py": "lives",
    "tests/serve/test_hostile.py": "lives",
    "tests/serve/test_http.py": "lives",
    "tests/serve/test_procedures.py": "lives",
}
"""File: group. A group runs in one worker on one service: starting Ray takes longer than most tests on it."""
COMPUTE = ("simulation", "unit")
ORDER = ("contract", "processes", "chaos", "", *COMPUTE)
"""Chaos waits until Ray has started, which takes both cores. The empty name stands for every other folder."""
NICENESS = 10


def file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def folder(nodeid: str) -> str:
    return nodeid.split("/")[1]


def rank(item: pytest.Item) -> tuple[bool, int, bool]:
    """The service first, since its groups take longest; within a folder the other Ray after what is short."""
    name = file(item.nodeid)
    place = folder(name) if folder(name) in ORDER else ""
    return name not in ON_THE_SERVICE, ORDER.index(place), name.endswith("test_deploy.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give out single tests and the groups above.

    xdist's own `loadgroup` puts a group's name into the test's id, which pytest 9.2 ignores (pytest-xdist #1386).
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return ON_THE_SERVICE.get(file(nodeid), nodeid)

    return Groups(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "service" in getattr(item, "fixturenames", ()) and file(item.nodeid) not in ON_THE_SERVICE:
            raise pytest.UsageError(f"{file(item.nodeid)}: uses the service; give it a group in {__name__}")
    if hasattr(config, "workerinput"):
        items.sort(key=rank)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if hasattr(item.config, "workerinput") and folder(item.nodeid) in COMPUTE and os.nice(0) < NICENESS:
        os.nice(NICENESS)
