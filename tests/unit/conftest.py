"""A unit test that starts Ray or opens Redis is no unit test: both raise here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis.asyncio.connection
import redis.connection

WORDS = "a unit test may not {}; move it to tests/contract, tests/serve or tests/chaos"


@pytest.fixture(autouse=True)
def no_outside_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Opening a Redis connection raises at once; a Ray that runs afterwards fails the test that started it."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError(WORDS.format("open Redis"))

    monkeypatch.setattr(redis.connection.AbstractConnection, "connect", refuse)
    monkeypatch.setattr(redis.asyncio.connection.AbstractConnection, "connect", refuse)
    ray = sys.modules.get("ray")
    if ray is not None:  # pragma: no cover - only in a run that also holds Serve tests
        monkeypatch.setattr(
            ray, "init", lambda *_, **__: (_ for _ in ()).throw(AssertionError(WORDS.format("start Ray")))
        )
    yield
