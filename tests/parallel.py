"""Decides which tests run in the same pytest worker of `make test`, and in which order the tests are given out.

Tests that assert times come first. Tests that only compute come last. They have a low priority and use the rest of the
cores. A worker that has begun with them never gets a test of the first kind again, because those are all given out.
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
"""The group of each file that needs a running service.

A group runs in one worker and on one service, because starting Ray takes longer than most of these tests.
"""
COMPUTE = ("simulation", "unit")
ORDER = ("contract", "processes", "chaos", "", *COMPUTE)
"""The folders in their order. The empty name stands for every other folder.

The chaos tests wait until Ray has started, because its start needs both cores.
"""
NICENESS = 10


def file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def folder(nodeid: str) -> str:
    return nodeid.split("/")[1]


def rank(item: pytest.Item) -> tuple[bool, int, bool]:
    """Return the sort key of a test.

    Tests on the service come first, because their groups take longest. Within a folder, the test that starts another
    Ray comes last.
    """
    name = file(item.nodeid)
    place = folder(name) if folder(name) in ORDER else ""
    return name not in ON_THE_SERVICE, ORDER.index(place), name.endswith("test_deploy.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Return a scheduler that gives out single tests and the groups of `ON_THE_SERVICE`.

    xdist's own `loadgroup` adds the group's name to the test's id, and pytest 9.2 ignores such an id (pytest-xdist
    #1386).
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
