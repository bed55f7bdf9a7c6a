"""Rows 11 and 12 of docs/faults.md: power cuts and damaged append-only files.

A SIGKILL of Redis cannot stand for a power cut. The kernel's page cache survives the process, so no write would be
lost.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.local.redis_server import RedisServer
from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_calls import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.errors import ConfigError, UnavailableError
from dispatcher.ports import STORED
from tests.chaos.bench.disk import PowerCut, can_tell
from tests.chaos.bench.installation import Bench, append_only_file, paid
from tests.chaos.policies import policies
from tests.contract.worlds import trigger
from tests.leftovers import short_folder

pytestmark = pytest.mark.chaos

LOAD_S = 0.6
CUTS = 8
RATE = 60.0
IN_FLIGHT = 30


@pytest.fixture
def server() -> Iterator[RedisServer]:
    folder = short_folder("ndd")
    found = RedisServer(folder / "redis", folder / "s")
    found.start()
    yield found
    found.stop()
    shutil.rmtree(folder)


def accept_for(server: RedisServer, seconds: float) -> list[str]:
    """Accept one trigger after another, until the time is over or the server is gone. Return the acknowledged ids."""
    acknowledged: list[str] = []

    async def run() -> None:
        store = RedisStore(client(server.url, timeout_s=0.5))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            one = trigger()
            try:
                if await store.accept([one]) == [STORED]:
                    acknowledged.append(one.id)
            except UnavailableError:
                return

    asyncio.run(run())
    return acknowledged


def stored(server: RedisServer) -> set[str]:
    prefix = Keys().record_prefix
    return {key.removeprefix(prefix) for key in server.client().scan_iter(match=prefix + "*", count=1000)}


def cut_the_power_under_load(server: RedisServer, file: Path) -> tuple[list[str], int]:
    """Simulate a power cut while triggers are accepted, and start Redis again.

    Return the acknowledged ids and the number of lost bytes.
    """
    pid = server.pid()
    assert pid is not None
    power = PowerCut(file, pid)
    power.look()
    acknowledged: list[str] = []
    load = threading.Thread(target=lambda: acknowledged.extend(accept_for(server, 30.0)))
    load.start()
    time.sleep(LOAD_S)
    lost_bytes = power.cut()
    load.join(10)
    server.start()
    return acknowledged, lost_bytes


def test_a_power_cut_loses_nothing_that_was_acknowledged(server: RedisServer) -> None:
    """Fault row 11 (docs/faults.md): a power cut leaves only what was on disk. Every acknowledged trigger is still
    there.
    """
    if not can_tell(server.folder):
        pytest.skip("this kernel or file system does not say which pages are on disk")
    acknowledged, _ = cut_the_power_under_load(server, append_only_file(server.folder))
    assert len(acknowledged) > 20
    assert set(acknowledged) <= stored(server)


@policies
@pytest.mark.long
def test_a_power_cut_amid_deliveries_leaves_what_was_sent_marked(bench: Bench, policy: str) -> None:
    """Row 11 of docs/faults.md: the power is cut during deliveries. Redis keeps only what was on disk, and all
    processes are killed.

    After the restart only messages that were in flight are repeated, or under `hold` held.
    """
    pid, file = bench.redis_pid(), bench.append_only_file()
    if not can_tell(bench.folder):
        pytest.skip("this kernel or file system does not say which pages are on disk")
    power = PowerCut(file, pid)

    def cut() -> None:
        power.look()
        power.cut()
        for worker in list(bench.workers.values()):
            worker.kill()
        bench.server.start()

    posted = bench.post(paid(180, on_unknown=policy), RATE, (1.0, cut))
    found = bench.judge(posted)
    assert found.verdict.accepted == 180
    assert found.kept(policy, IN_FLIGHT), found
    assert bench.deaths == 4


def test_the_power_cut_is_one(server: RedisServer) -> None:
    """With `appendfsync everysec` a power cut loses acknowledged triggers, which shows that the other tests can
    fail.

    A cut just after a sync loses nothing. So the test makes several cuts, and one of them must lose triggers.
    """
    if not can_tell(server.folder):
        pytest.skip("this kernel or file system does not say which pages are on disk")
    assert any(loses_under_everysec(server) for _ in range(CUTS))


def loses_under_everysec(server: RedisServer) -> bool:
    server.client().config_set("appendfsync", "everysec")  # until the next start, which reads the settings' file
    acknowledged, lost_bytes = cut_the_power_under_load(server, append_only_file(server.folder))
    return lost_bytes > 0 and not set(acknowledged) <= stored(server)


@pytest.mark.parametrize("torn", [1, 20, 200])
def test_a_torn_tail_costs_the_last_commands_only(server: RedisServer, torn: int) -> None:
    """Row 12 of docs/faults.md: bytes are missing at the end of the file. Redis loads it, and only the last trigger may
    be lost.
    """
    acknowledged = accept_for(server, 0.3)
    file = append_only_file(server.folder)
    kill(server)
    os.truncate(file, file.stat().st_size - torn)
    server.start()
    there = stored(server)
    assert set(acknowledged[:-1]) <= there


def test_damage_in_the_middle_is_refused_loudly(server: RedisServer) -> None:
    """Fault row 12 (docs/faults.md): the append-only file has a hole in the middle.

    Redis refuses to start, so it never runs with only a part of its data. The error names Redis's log file.

    The hole is longer than any value, because the file has no checksums: a hole inside of a value would not be seen.
    Which error Redis finds depends on where the hole begins: a command without a name, or bytes that are no command.
    """
    accept_for(server, 0.3)
    file = append_only_file(server.folder)
    kill(server)
    with file.open("r+b") as found:
        found.seek(file.stat().st_size // 2)
        found.write(b"\0" * 8192)
    with pytest.raises(ConfigError, match=r"redis\.log"):
        server.start()
    assert re.search("Bad file format|Error reading the append only file", (server.folder / "redis.log").read_text())
    file.unlink()  # the damaged file is not needed any more


def kill(server: RedisServer) -> None:
    pid = server.pid()
    assert pid is not None
    os.kill(pid, 9)
    deadline = time.monotonic() + 5
    while server.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
