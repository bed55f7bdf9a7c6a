"""`dispatcher deploy` on a Ray cluster that somebody else started."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import pytest

from cluster.redis_server import RedisServer
from cluster.state import MARKER, free_port, processes_of, reap
from tests.chaos.running import wait_for

pytestmark = pytest.mark.chaos


@dataclass
class ForeignCluster:
    """A cluster made by `ray start`, and a Redis of its own; every process carries the marker."""

    folder: Path
    marker: str = field(default_factory=lambda: secrets.token_hex(8))
    gcs: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.redis = RedisServer(self.folder / "redis", self.folder / "r.sock")
        ports = {
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        }
        self.environment = {
            **os.environ,
            **ports,
            MARKER: self.marker,
            "HOME": str(self.folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "SANDBOX_URL": "http://127.0.0.1:1",
            "SANDBOX_SMTP_PORT": "1",
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=150, check=False)

    def dispatcher(self, *words: str) -> subprocess.CompletedProcess[str]:
        target = ("--ray-address", f"127.0.0.1:{self.gcs}", "--redis-url", self.redis.url)
        return self.run("cluster.cli", *words, *target)


@pytest.fixture
def cluster() -> Iterator[ForeignCluster]:
    found = ForeignCluster(Path(tempfile.mkdtemp(prefix="ndc-")))
    try:
        found.redis.start()
        words = ["ray.scripts.scripts", "start", "--head", f"--port={found.gcs}", "--num-cpus=2"]
        words += ["--include-dashboard=false", "--temp-dir", str(found.folder / "ray"), "--disable-usage-stats"]
        words += ["--node-ip-address=127.0.0.1", "--object-store-memory=78643200"]
        started = found.run(*words)
        assert started.returncode == 0, started.stdout + started.stderr
        yield found
    finally:
        reap(found.marker)
        found.redis.stop()
        shutil.rmtree(found.folder, ignore_errors=True)


def test_deploy_applies_differences_and_undeploy_removes(cluster: ForeignCluster, tmp_path: Path) -> None:
    """Deploy runs every application; again: restarts none; a changed vendor: that pool only; undeploy ends all."""
    config = tmp_path / "config.yaml"
    config.write_text((resources.files("cluster") / "sandbox.yaml").read_text())
    words = ("deploy", "--config", str(config), "--port", str(cluster.port))
    first = cluster.dispatcher(*words)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "vendor-sms-a runs" in first.stdout
    assert _ready(cluster.port)
    before = _replicas(cluster.marker)
    assert cluster.dispatcher(*words).returncode == 0
    assert _replicas(cluster.marker) == before
    config.write_text(config.read_text().replace("sender: Shop}", "sender: Store}"))
    changed = cluster.dispatcher(*words)
    assert changed.returncode == 0, changed.stderr
    gone = {application for pid, application in before.items() if pid not in _replicas(cluster.marker)}
    assert "vendor-sms-b" in gone
    assert not gone & {"vendor-sms-a", "vendor-email-a", "vendor-email-b"}
    ended = cluster.dispatcher("undeploy")
    assert "vendor-sms-a removed" in ended.stdout, ended.stdout + ended.stderr
    wait_for(lambda: _replicas(cluster.marker) == {}, 30)


def _ready(port: int) -> bool:
    def asked() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                return bool(json.load(answer)["status"] == "ready")
        except OSError:
            return False

    return wait_for(asked, 30) < 30


def _replicas(marker: str) -> dict[int, str]:
    """Serve replicas of ours: pid → application."""
    commands = processes_of(marker)
    return {pid: command.split(":")[3] for pid, command in commands.items() if "ServeReplica:" in command}
