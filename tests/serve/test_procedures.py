"""Runs the commands of docs/operating.md exactly as the page shows them: stop, backup, restore, upgrade, removal."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cluster.local.service import Service
from tests.installation import Installation
from tests.serve.test_http import GOOD, ask, post

pytestmark = pytest.mark.serve

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
PROCEDURES = ("variables", "stop", "backup", "restore", "check", "upgrade", "removal")
READY_S_MAX = 120.0


def blocks() -> dict[str, str]:
    """Return the commands of each block of the documented procedures that is tagged `console test=NAME`, by that name.
    The prompts are removed.
    """
    found = re.findall(r"^```console test=(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return {name: "".join(f"{line.removeprefix('$ ')}\n" for line in text.splitlines()) for name, text in found}


class Operator:
    """Runs the commands of docs/operating.md in a shell.

    There, `dispatcher` is the program of this checkout, on the service's port.
    """

    def __init__(self, service: Service, folder: Path) -> None:
        self.service, self.folder = service, folder
        program = folder / "bin" / "dispatcher"
        program.parent.mkdir()
        # The page's commands use the default port, which another process may have here.
        words = f'"{sys.executable}" -m cluster.cli.main "$@" $([ "$1" = up ] && echo --port {service.port})'
        program.write_text(f"#!/bin/sh\nexec {words}\n")
        program.chmod(0o700)
        self._environment = {
            **os.environ,
            **service.sandbox_variables,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(PAGE.parents[1]),
            "STATE": str(service.state.path),
            "CONFIG": str(service.config),
        }
        self._shells: list[subprocess.Popen[bytes]] = []

    def type(self, *names: str) -> int:
        """Run the commands of the page's blocks with these tags in one shell. Return the exit code of the shell."""
        return self._shell(*names).wait(READY_S_MAX)

    def type_until_ready(self, *names: str) -> None:
        """Run the named command blocks of the page in a shell, and wait until the service is ready.

        The last command of the blocks runs the service in the foreground, so the shell does not end.
        """
        shell = self._shell(*names)
        until = time.monotonic() + READY_S_MAX
        while not self._ready():
            assert shell.poll() is None and time.monotonic() < until, self.service.tail()
            time.sleep(0.1)
        # The shell may have become its last command. Without a wait, `kill -0` would find its zombie forever.
        threading.Thread(target=shell.wait, daemon=True).start()

    def _ready(self) -> bool:
        """Return True if the service answers /readyz, and the process named in its URL file runs.

        The file may be from an earlier run.
        """
        try:
            os.kill(json.loads(self.service.state.urls.read_text())["pid"], 0)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return bool(self.service.get("/readyz"))

    def _shell(self, *names: str) -> subprocess.Popen[bytes]:
        script = "set -eu\n" + "".join(blocks()[name] for name in names)
        with self.service.log.open("ab") as log:
            shell = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._shells.append(shell)
        return shell

    def leave(self) -> None:
        """Kill what a failed procedure left running."""
        for shell in self._shells:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()


def test_no_tagged_block_is_left_out() -> None:
    """`PROCEDURES` names every tagged block of the page, so that no procedure is left untested."""
    assert tuple(blocks()) == PROCEDURES


def test_backup_restore_upgrade_and_removal(service: Service, installation: Installation, tmp_path: Path) -> None:
    """A waiting trigger survives a restore from the backup and an upgrade. After the removal nothing is left."""
    later = time.time() + 3600
    waits = {**GOOD, "send_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(later))}
    accepted = post(service, waits, idempotency_key="operated")
    assert accepted.status == 202, accepted.body
    operator = Operator(service, tmp_path)
    reaper = threading.Thread(target=service.wait, daemon=True)  # `up` is our child: without a wait it stays a zombie
    reaper.start()
    try:
        assert operator.type("stop", "backup") == 0, service.tail()
        shutil.rmtree(service.state.path)
        operator.type_until_ready("restore")
        assert states(service) == {"delayed"}
        assert operator.type("check") == 0, service.tail()
        operator.type_until_ready("stop", "upgrade")
        assert states(service) == {"delayed"}
        assert post(service, waits, idempotency_key="operated").body == {**accepted.body, "replayed": True}
        assert operator.type("stop", "removal") == 0, service.tail()
        assert not service.state.path.exists()
    finally:
        operator.leave()
        installation.end()  # asserts that no process is left


def states(service: Service) -> set[str]:
    found = ask(service, "GET", "/v1/triggers?idempotency_key=operated")
    return {notification["state"] for notification in found.body["notifications"]}
