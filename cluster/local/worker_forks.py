"""Makes Ray fork its workers from one process that has already imported what they need.

`WorkerForks` starts that process (`cluster.local.fork_server`) and changes the raylet's command for workers so that it
asks the process (`cluster.local.worker_launcher`). Without the process, each worker starts in the ordinary way. So the
process may end at any time, and `WorkerForks.mend` starts another.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.local import fork_server, worker_launcher
from cluster.local.foreground import say
from cluster.local.state_directory import MARKER

SWITCH = "DISPATCHER_FORK_WORKERS"
"""The environment variable that turns this off, with the value 0 (ADR 0039)."""

PYTHON_SETTINGS = {"PYTHONUTF8": "1"}
"""Serve writes HAProxy's configuration in the encoding of the locale, and Latin-1 has no sign for the arrows in it."""

FIRST = (
    "numpy",
    "grpc.aio",
    "fastapi",
    "uvicorn",
    "jsonschema",
    "requests",
    "actors.intake",
    "actors.supervisor",
    "actors.vendor",
    "serve_app.asgi",
    "serve_app.routes",
)
"""The modules that a replica imports, apart from Ray."""

THEN = (
    "ray._private.workers.default_worker",
    "ray.serve._private.controller",
    "ray.serve._private.haproxy",
    "ray.serve._private.proxy",
    "ray.serve._private.replica",
    "serve_app.autoscaling",
    "serve_app.shells",
)
"""The modules that import Ray. Ray reads variables during its import that only a worker has."""

WORKER_COMMAND = "--python_worker_command="
PRESTART = "RAY_prestart_worker_first_driver"
"""Ray's setting for workers that it starts before any is asked for."""

REGISTER = "RAY_worker_register_timeout_seconds"
"""Ray's limit for the start of a worker, 60 s by default. A worker may have waited for the server so long."""

MEND_S = 30.0
"""How long to wait, in seconds, before an ended server is started again."""


class WorkerForks:
    """The fork server of one installation. On a machine where workers cannot be forked, no server is started."""

    def __init__(self, marker: str) -> None:
        """`marker` is the marker of the installation's processes (`StateDirectory.marker`)."""
        self._marker = marker
        self._name = f"nd-{secrets.token_hex(16)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_s: float | None = None

    def start(self) -> None:
        """Start the server unless it runs, and return without waiting for its imports.

        The server ends when this process ends, because its standard input is then closed.
        """
        if self._process is not None and self._process.poll() is None:
            return
        script = worker_script()
        if script is None or os.environ.get(SWITCH) == "0" or not sys.platform.startswith("linux"):
            return
        os.environ[REGISTER] = "180"
        os.environ[PRESTART] = "0"  # early workers would have no job, because Ray reads the job at its import
        paths = os.pathsep.join(path for path in sys.path if path)
        arguments = [self._name, script, paths, ",".join(FIRST), ",".join(THEN)]
        self._process = subprocess.Popen(
            [sys.executable, fork_server.__file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            # A process with threads cannot be forked.
            env={**os.environ, **PYTHON_SETTINGS, MARKER: self._marker, "OPENBLAS_NUM_THREADS": "1"},
        )

    @property
    def pids(self) -> list[int]:
        """The process id of the server, or nothing if it was not started or has been stopped."""
        return [] if self._process is None else [self._process.pid]

    def command(self, raylet: Sequence[str]) -> list[str]:
        """Return the command that starts the raylet, changed so that its workers are forked.

        If no fork server runs, the command is returned unchanged.
        """
        if self._process is None:
            return list(raylet)
        ours = subprocess.list2cmdline([sys.executable, "-I", "-S", worker_launcher.__file__, self._name])
        return [
            f"{WORKER_COMMAND}{ours} {argument.removeprefix(WORKER_COMMAND)}"
            if argument.startswith(WORKER_COMMAND)
            else argument
            for argument in raylet
        ]

    def listens(self) -> bool:
        """Return True if the fork server listens. If its imports are not done yet, the first request for a worker waits
        for them.
        """
        return f"@{self._name}" in Path("/proc/net/unix").read_text()

    def mend(self, now_s: float) -> None:
        """Start the fork server again if it has ended. This happens `MEND_S` seconds after `mend` first saw that it had
        ended.
        """
        if self._process is None or self._process.poll() is None:
            return
        if self._ended_s is None:
            self._ended_s = now_s
            say(f"the fork server has ended ({self._process.returncode}): new processes start more slowly for a while")
        elif now_s - self._ended_s >= MEND_S:
            self._ended_s = None
            self.start()

    def stop(self) -> None:
        """End the server, and do not start another one. Workers that the server has forked continue."""
        self.kill()
        self._process = None

    def kill(self) -> None:
        """Kill the fork server at once, if it runs."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()


def worker_script() -> str | None:
    """Return the path of the script that Ray runs in each worker, or None if this version of Ray has no such file."""
    found = importlib.util.find_spec("ray")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "_private" / "workers" / "default_worker.py"
    return str(path) if path.is_file() else None
