"""`dispatcher deploy` and `undeploy` on a Ray cluster that was started without us."""

from __future__ import annotations

import json
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from tests.chaos.bench.foreign import ForeignCluster
from tests.chaos.running import wait_for
from tests.leftovers import short_folder

pytestmark = pytest.mark.chaos


@pytest.fixture
def cluster() -> Iterator[ForeignCluster]:
    found = ForeignCluster(short_folder("ndc-"))
    try:
        found.start()
        yield found
    finally:
        found.close()
        shutil.rmtree(found.folder, ignore_errors=True)


def test_deploy_applies_differences_and_undeploy_removes(cluster: ForeignCluster, tmp_path: Path) -> None:
    """A first deploy starts every application, and a second one restarts none.

    After a change of one vendor, only that vendor's pool is replaced.

    `undeploy` ends all replicas and frees the port.
    """
    config = tmp_path / "config.yaml"
    config.write_text((resources.files("cluster") / "sandbox.yaml").read_text())
    words = ("deploy", "--config", str(config), "--port", str(cluster.port))
    first = cluster.dispatcher(*words)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "vendor-sms-a runs" in first.stdout
    assert _ready(cluster.port)
    before = cluster.replicas()
    assert cluster.dispatcher(*words).returncode == 0
    assert cluster.replicas() == before
    config.write_text(config.read_text().replace("sender: Shop}", "sender: Store}"))
    changed = cluster.dispatcher(*words)
    assert changed.returncode == 0, changed.stderr
    gone = {application for pid, application in before.items() if pid not in cluster.replicas()}
    assert "vendor-sms-b" in gone
    assert not gone & {"vendor-sms-a", "vendor-email-a", "vendor-email-b"}
    ended = cluster.dispatcher("undeploy")
    assert "vendor-sms-a removed" in ended.stdout, ended.stdout + ended.stderr
    assert "Serve removed, its port is free" in ended.stdout
    wait_for(lambda: cluster.replicas() == {}, 30)
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", cluster.port))


def _ready(port: int) -> bool:
    def asked() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                return bool(json.load(answer)["status"] == "ready")
        except OSError:
            return False

    return wait_for(asked, 30) < 30
