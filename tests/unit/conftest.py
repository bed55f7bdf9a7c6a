"""Makes it an error if a unit test starts Ray, a process or a server, or opens Redis."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis.asyncio.connection
import redis.connection

WORDS = "a unit test may not {}; see tests/README.md for where it may"


@pytest.fixture(autouse=True)
def no_outside_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make it an error to open Redis, a process, a server or Ray."""

    def refused(what: str) -> Callable[..., None]:
        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError(WORDS.format(what))

        return refuse

    monkeypatch.setattr(redis.connection.AbstractConnection, "connect", refused("open Redis"))
    monkeypatch.setattr(redis.asyncio.connection.AbstractConnection, "connect", refused("open Redis"))
    monkeypatch.setattr(subprocess.Popen, "__init__", refused("start a process"))
    monkeypatch.setattr(os, "fork", refused("start a process"))
    monkeypatch.setattr(socket.socket, "listen", refused("start a server"))
    ray = sys.modules.get("ray")
    if ray is not None:  # pragma: no cover - only in a run that also holds Serve tests
        monkeypatch.setattr(ray, "init", refused("start Ray"))
    yield
