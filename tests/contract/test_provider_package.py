"""Tests a provider from a package of its own: once it is installed, the program knows it without a change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "data" / "provider_package"
SCRIPT = """
import asyncio, json, pathlib, sys
from click.testing import CliRunner
from cluster.cli.main import main
from dispatcher.adapters.providers import build
from dispatcher.core.life.rendered_message import Message

def run(*words):
    done = CliRunner().invoke(main, ["config", *words], env={"RING": "r\\n"})
    return [done.exit_code, done.output]

def check(channel, **more):
    vendor = {"adapter": "pigeon", "channel": channel, "options": {"loft": "roof", "ring": "${RING}", **more}}
    path = pathlib.Path(sys.argv[1])
    path.write_text(json.dumps({"vendors": {"birds": vendor}}))
    return run("check", str(path))

print(json.dumps([check("push"), check("push", ringg="x"), check("sms"), run("schema")]))
vendor = build("pigeon", "birds", "push", {"loft": "roof", "ring": "r"})
print(asyncio.run(vendor.send(Message("0-a.0", "k", "push", "ada", "Paid."), 1.0)).vendor_message_id)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which the example package was installed.

    The package is built from a copy of its source, because a build writes into the source folder.
    """
    source, target = tmp_path_factory.mktemp("source") / "p", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source)
    words = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, *words, str(source)], check=True, capture_output=True, timeout=120)
    return target


def run(site: Path | None, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if site is None else {"PYTHONPATH": str(site)})}
    words = [sys.executable, "-c", SCRIPT, str(tmp_path / "c.yaml")]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_an_installed_provider_is_checked_built_and_used(installed: Path, tmp_path: Path) -> None:
    """The options of an installed provider are validated and in the schema, and its vendor sends a message."""
    done = run(installed, tmp_path)
    answers, sent = done.stdout.splitlines()
    right, unknown, channel, schema = json.loads(answers)
    assert right[0] == 0, right
    assert unknown[0] == 2
    assert "vendors.birds.options.ringg: is not an option of this adapter; allowed: loft, ring" in unknown[1]
    assert (channel[0], "vendors.birds.channel: 'sms' is not allowed: pigeon has push" in channel[1]) == (2, True)
    shape = json.loads(schema[1])["$defs"]["vendor_pigeon"]
    assert shape["properties"]["options"]["required"] == ["loft", "ring"]
    assert sent == "roof-0-a.0"


def test_without_its_package_the_provider_is_unknown(tmp_path: Path) -> None:
    """Without the package, `config check` says that the adapter `pigeon` is not allowed."""
    done = run(None, tmp_path)
    code, said = json.loads(done.stdout.splitlines()[0])[0]
    assert (code, "vendors.birds.adapter: 'pigeon' is not allowed" in said) == (2, True)
