"""A Ray cluster that was started without us, as `dispatcher deploy` needs it. All its nodes are on this machine."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cluster.local.redis_server import RedisServer
from cluster.local.state_directory import MARKER, free_port, processes_of, reap
from cluster.nodes import prepare

FEW_BYTES = "--object-store-memory=78643200"  # the least that Ray allows: we put nothing into it


def _prepared(folder: Path) -> dict[str, str]:
    lines = prepare(folder / "node").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


@dataclass
class ForeignCluster:
    """A cluster made by `ray start`, with a Redis of its own.

    The environment of every process carries its node's marker.
    """

    folder: Path
    marker: str = field(default_factory=lambda: secrets.token_hex(8))
    gcs: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.redis = RedisServer(self.folder / "redis", self.folder / "r.sock")
        self._nodes: list[str] = []
        ports = {
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        }
        self.environment = {
            **os.environ,
            **_prepared(self.folder),
            **ports,
            MARKER: self.marker,
            "HOME": str(self.folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "SANDBOX_URL": "http://127.0.0.1:1",
            "SANDBOX_SMTP_PORT": "1",
            **self.variables,
        }

    def start(self) -> None:
        """Start the Redis server for the notifications, and the head of a Ray cluster."""
        self.redis.start()
        self._ray("--head", f"--port={self.gcs}", "--include-dashboard=false", "--temp-dir", str(self.folder / "ray"))

    def add_node(self) -> str:
        """Start one more raylet on this machine. Return the marker that its processes carry, workers included."""
        self._nodes.append(secrets.token_hex(8))
        apart = [f"--dashboard-agent-listen-port={free_port()}", "--min-worker-port=0", "--max-worker-port=0"]
        self._ray(f"--address=127.0.0.1:{self.gcs}", *apart, marker=self._nodes[-1])
        return self._nodes[-1]

    def _ray(self, *words: str, marker: str = "") -> None:
        usual = ["--num-cpus=4", "--disable-usage-stats", "--node-ip-address=127.0.0.1", FEW_BYTES]
        started = self.run("ray.scripts.scripts", "start", *words, *usual, marker=marker)
        assert started.returncode == 0, started.stdout + started.stderr

    def run(self, *words: str, marker: str = "") -> subprocess.CompletedProcess[str]:
        return self._python("-m", *words, marker=marker)

    def python(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self._python("-c", program, *words)

    def _python(self, *words: str, marker: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, MARKER: marker or self.marker}
        command = [sys.executable, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)

    def dispatcher(self, *words: str) -> subprocess.CompletedProcess[str]:
        target = ("--ray-address", f"127.0.0.1:{self.gcs}", "--redis-url", self.redis.url)
        return self.run("cluster.cli.main", *words, *target)

    def replicas(self, marker: str = "") -> dict[int, str]:
        """Return our Serve replicas as a dict from process id to application.

        A node's processes have a marker in their environment. With `marker`, only the replicas of that node are
        returned.
        """
        nodes = [marker] if marker else [self.marker, *self._nodes]
        commands = [pair for node in nodes for pair in processes_of(node).items()]
        return {pid: command.split(":")[3] for pid, command in commands if "ServeReplica:" in command}

    def close(self) -> None:
        for marker in (*self._nodes, self.marker):
            reap(marker)
        self.redis.stop()
