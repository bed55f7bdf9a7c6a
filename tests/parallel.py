"""`make test` runs in several pytest workers: which tests share one, and in which order tests are given out.

Tests whose assertions hold times come first. Those that only compute come last, at a low priority, in what
the others leave of the cores. A worker that has come to them never returns to the first kind: all of it is given out.
"""

from __future__ import annotations

import os

import pytest

KILLS, LIVES = "service, parts of it killed", "service, whole lives of it"
"""Each group runs in one worker, on one running service: starting Ray takes longer than most tests on it."""
ORDER = ("chaos", "contract", "processes", "simulation", "serve", "unit")
COMPUTE = ("simulation", "unit")
NICENESS = 10


def folder(item: pytest.Item) -> str:
    return item.path.relative_to(item.config.rootpath / "tests").parts[0]


def group(item: pytest.Item) -> str | None:
    if "service" not in getattr(item, "fixturenames", ()):
        return None
    return KILLS if item.path.name == "test_kills.py" else LIVES


def rank(item: pytest.Item) -> tuple[bool, int, bool]:
    """The service first, since its groups take longest; the other installation of Ray when these have started."""
    return group(item) is None, ORDER.index(folder(item)), item.path.name == "test_deploy.py"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return
    items.sort(key=rank)
    for item in items:
        name = group(item)
        if name is not None:
            item.add_marker(pytest.mark.xdist_group(name))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if hasattr(item.config, "workerinput") and folder(item) in COMPUTE and os.nice(0) < NICENESS:
        os.nice(NICENESS)
