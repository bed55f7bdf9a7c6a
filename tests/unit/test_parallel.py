"""Checks the workers of `make test`: which worker gets which test, and in which order."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import Any

from tests.parallel import pytest_xdist_make_scheduler

KILLS = [f"tests/chaos/test_kills.py::test_{n}" for n in range(3)]
LIVES = [f"tests/serve/test_http.py::test_{n}" for n in range(9)]
WAITS = [f"tests/contract/test_caps.py::test_{n}" for n in range(20)]
COMPUTES = [f"tests/unit/test_a.py::test_{n}" for n in range(20)]
SIMULATES = [f"tests/simulation/test_b.py::test_{n}" for n in range(4)]


class Worker:
    """A fake pytest worker that runs its tests one after the other."""

    def __init__(self, tests: list[str]) -> None:
        self.tests, self.given, self.ran = tests, list[int](), list[str]()
        self.shutting_down = False
        self.gateway = SimpleNamespace(id="a worker")

    def send_runtest_some(self, indices: list[int]) -> None:
        assert not self.shutting_down
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def play(workers: int, tests: list[str]) -> list[list[str]]:
    """Return the tests that each worker runs if every test takes the same time."""
    config: Any = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=True, debug=False), getvalue=lambda name: ["popen"] * workers
    )
    scheduler: Any = pytest_xdist_make_scheduler(config, None)
    nodes = [Worker(tests) for _ in range(workers)]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, tests)
    scheduler.schedule()
    while any(node.given for node in nodes):
        for node in nodes:
            if node.given:
                index = node.given.pop(0)
                node.ran.append(tests[index])
                scheduler.mark_test_complete(node, index)
    assert scheduler.tests_finished and all(node.shutting_down for node in nodes)
    return [node.ran for node in nodes]


def test_the_last_worker_computes_from_the_beginning() -> None:
    """The last process that runs tests runs only tests that compute. It begins with the simulation.

    The other processes run such tests only when nothing else is left.
    """
    ran = play(4, KILLS + LIVES + WAITS + COMPUTES + SIMULATES)
    assert sorted(chain.from_iterable(ran)) == sorted(KILLS + LIVES + WAITS + COMPUTES + SIMULATES)
    assert ran[3][:4] == SIMULATES[::-1]
    assert set(ran[3]) <= set(COMPUTES + SIMULATES)
    for one in ran[:3]:
        kinds = [test in COMPUTES for test in one]
        assert kinds == sorted(kinds), "who computes has a low priority for good"


def test_a_group_stays_in_one_worker() -> None:
    """All tests of a group run in one worker, because each worker that needs a service would start one."""
    ran = play(4, KILLS + LIVES + WAITS + COMPUTES)
    assert next(one for one in ran if set(one) & set(KILLS))[:3] == KILLS
    assert sum(bool(set(one) & set(LIVES)) for one in ran) == 1


def test_without_what_computes_the_last_worker_is_one_like_the_others() -> None:
    """The last pytest worker has a low priority and runs the tests that only compute. If there are no such tests, all
    workers share the tests evenly.

    If there are such tests, the last worker ends when it has run them.
    """
    assert all(len(one) == 5 for one in play(4, WAITS))
    ran = play(4, WAITS + SIMULATES)
    assert ran[3] == SIMULATES[::-1]
    assert sorted(chain.from_iterable(ran[:3])) == sorted(WAITS)


def test_one_worker_does_all() -> None:
    """A single worker runs the computing tests last."""
    assert play(1, WAITS + COMPUTES) == [WAITS + COMPUTES[::-1]]
