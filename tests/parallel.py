"""Decides which pytest workers of `make test` run which tests, and in which order.

Tests that check durations come first. Tests that only compute use the cores that are left. The last worker runs the
computing tests from the beginning. The other workers run them when no other test is left. A worker that has begun with
computing tests runs no other tests any more, because it stays at a low priority.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
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
"""The group of each file. A group runs in one worker on one service, because starting Ray takes long."""
COMPUTE = ("unit", "simulation")
"""The folders whose tests only compute. The last worker begins with the simulation, whose tests are the longest."""
ORDER = ("contract", "processes", "chaos", "", *COMPUTE)
"""The order of the folders. Chaos tests come late, because Ray's start uses both cores. "" is every other folder."""
NICENESS = 10
SESSION_NICENESS = 5
"""A computing worker has a third of a session's ordinary weight. So it still gets CPU time on a busy machine."""

MIXED = pytest.StashKey[bool]()
"""True in the workers of a run that has both kinds of tests. Only there a computing test lowers its priority."""


def file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def folder(nodeid: str) -> str:
    return nodeid.split("/")[1]


def computes(name: str) -> bool:
    """Return True if `name` is the id of a test that only computes. The name of a group is not such an id."""
    return "/" in name and folder(name) in COMPUTE


def rank(item: pytest.Item) -> tuple[bool, int, bool]:
    """Return the sort key of a test.

    Tests on the shared service come first, since they take longest, and test_deploy.py comes last in its
    folder.
    """
    name = file(item.nodeid)
    place = folder(name) if folder(name) in ORDER else ""
    return name not in ON_THE_SERVICE, ORDER.index(place), name.endswith("test_deploy.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Return a scheduler that gives out single tests and the groups of `ON_THE_SERVICE`.

    xdist's own `loadgroup` puts a group's name into the test's id, which pytest 9.2 ignores (pytest-xdist #1386).
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def __init__(self, config: pytest.Config, log: Any) -> None:
            super().__init__(config, log)
            self._low: set[Any] = set()  # the workers that have begun with the computing tests

        def _split_scope(self, nodeid: str) -> str:
            return ON_THE_SERVICE.get(file(nodeid), nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            first, last = next(iter(self.workqueue)), next(reversed(self.workqueue))
            if computes(first) or (computes(last) and len(self.nodes) > 1 and node is self.nodes[-1]):
                self._low.add(node)
            if node in self._low:
                self.workqueue.move_to_end(last, last=False)
            super()._assign_work_unit(node)

        def _reschedule(self, node: Any) -> None:
            if node in self._low and self.workqueue and not computes(next(reversed(self.workqueue))):
                if not node.shutting_down:
                    node.shutdown()
                return
            super()._reschedule(node)

        def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
            """Note that a test is done, and forget a group whose tests are all done.

            Without this, xdist would count through all earlier tests after each test.
            """
            nodeid = self.registered_collections[node][item_index]
            scope, given = self._split_scope(nodeid), self.assigned_work[node]
            given[scope][nodeid] = True
            if all(given[scope].values()):
                del given[scope]
            self._reschedule(node)

    return Groups(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "service" in getattr(item, "fixturenames", ()) and file(item.nodeid) not in ON_THE_SERVICE:
            raise pytest.UsageError(f"{file(item.nodeid)}: uses the service; give it a group in {__name__}")
    if hasattr(config, "workerinput"):
        items.sort(key=rank)
        config.stash[MIXED] = not all(computes(item.nodeid) for item in items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if computes(item.nodeid) and item.config.stash.get(MIXED, False) and os.nice(0) < NICENESS:
        give_way()


def give_way() -> None:
    """Lower the priority of this process for good.

    Linux may divide the cores among sessions first, and then among the processes of a session. So the process gets a
    session of its own.
    """
    with contextlib.suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(SESSION_NICENESS))
    os.nice(NICENESS)
