"""Fixtures for an installation without Ray. Each test gets its own in about a second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.bench.installation import Bench, MakeBench, Nursery, Sandbox


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    found = Nursery()
    yield found
    found.close()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    found = Sandbox()
    yield found
    found.close()


@pytest.fixture
def make_bench(nursery: Nursery, sandbox: Sandbox) -> Iterator[MakeBench]:
    """Yield a function that makes an installation and returns it before it is started. After the test the installation
    is ended.
    """
    made: list[Bench] = []

    def make(changes: dict[str, Any] | None = None) -> Bench:
        made.append(Bench(nursery, sandbox, changes))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    """Return a running installation with the default settings."""
    return make_bench().start()
