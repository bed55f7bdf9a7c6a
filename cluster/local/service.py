"""Runs `dispatcher up` and the sandbox vendors as two processes, for the demo, benchmarks and chaos tests.

The sandbox is not a child of `up` here. It records what the vendors received, so it must survive when `up` is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from importlib import resources
from pathlib import Path
from typing import Any

from cluster.direct import open_directly, read_directly
from cluster.local.redis_binary import NAMES
from cluster.local.state_directory import MARKER, StateDirectory, free_port, processes_of, reap
from cluster.rehearsal.sandbox.ledger import Received
from cluster.rehearsal.sandbox.process import start_sandbox
from dispatcher.errors import DispatcherError

START_S = 240.0
STOP_S = 60.0


class Service:
    """One installation in `state_dir`. It can be started and stopped many times."""

    def __init__(
        self,
        state_dir: Path,
        config: Path | None = None,
        extra: tuple[str, ...] = (),
        *,
        code: Path | None = None,
        beside: Service | None = None,
    ) -> None:
        """Prepare an installation of `dispatcher up` on `state_dir`, with a sandbox of vendors. Nothing is started.

        `config` is the configuration file, by default the sandbox's. `extra` are further arguments of `up`. `code` is
        the folder of another version of this repository, whose code then runs. If `beside` is given, this installation
        uses the sandbox of that `Service`.
        """
        self._code, self._beside = code, beside
        self.state = StateDirectory(state_dir)
        self.config = config or Path(str(resources.files("cluster") / "sandbox.yaml"))
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        self._sandbox: subprocess.Popen[str] | None = None
        self.sandbox_variables: dict[str, str] = {}
        self.port = free_port()
        self.api = self.sandbox = ""
        self.log = state_dir.with_suffix(".log")

    def start(self) -> float:
        """Start `up`, and the sandbox if it does not run. Return the seconds until the service was ready.

        Raises DispatcherError with the end of the output if the service does not get ready.
        """
        began = time.monotonic()
        self._start_sandbox()
        command = [sys.executable, "-m", "cluster.cli.main", "up", "--state-dir", str(self.state.path)]
        command += ["--port", str(self.port), "--config", str(self.config), *self._extra]
        environment = {name: value for name, value in os.environ.items() if name != MARKER}
        environment.update(self.sandbox_variables)
        if self._code is not None:
            environment["PYTHONPATH"] = str(self._code)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._code,
                start_new_session=True,
                env=environment,
            )
        while time.monotonic() - began < START_S:
            if self._process.poll() is not None:
                break
            if self.state.urls.exists():
                urls = json.loads(self.state.urls.read_text())
                if urls["pid"] == self._process.pid:
                    self.api = urls["api"]
                    return time.monotonic() - began
            time.sleep(0.05)
        raise DispatcherError(f"`dispatcher up` did not become ready:\n{self.tail()}")

    def _start_sandbox(self) -> None:
        if self._sandbox is not None:
            return
        if self._beside is not None:
            self.sandbox, self.sandbox_variables = self._beside.sandbox, self._beside.sandbox_variables
            return
        started = start_sandbox()
        self._sandbox, self.sandbox = started.process, started.url
        self.sandbox_variables = {"SANDBOX_URL": started.url, "SANDBOX_SMTP_PORT": str(started.smtp_port)}

    def stop(self) -> int:
        """Send SIGTERM to `up` and wait for the drain. Return its exit code.

        Return -9 if it had to be killed after `STOP_S` seconds, and 0 if it was never started.
        """
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            return self.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9

    def wait(self, most_s: float | None = None) -> int:
        """Wait until `up` ends and return its exit code. Raises TimeoutExpired after `most_s` seconds."""
        assert self._process is not None
        return self._process.wait(most_s)

    def reload(self) -> None:
        """Send SIGHUP to `up`, which then applies the changes in its configuration file."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    @property
    def sandbox_pid(self) -> int:
        """The process id of the sandbox vendors. They run from the first start until `clean_up`."""
        assert self._sandbox is not None
        return self._sandbox.pid

    def kill(self) -> None:
        """Send SIGKILL to `up` alone, and wait until it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def kill_everything(self) -> None:
        """Send SIGKILL to every process of the installation, including `up` and Redis. The sandbox vendors continue to
        run.
        """
        for pid in self.all_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self._process is not None:
            self._process.wait()

    def all_pids(self) -> list[int]:
        """Return the ids of all processes of the installation except the sandbox.

        These are `up`, Ray and its workers, HAProxy and Redis.
        """
        own = [] if self._process is None or self._process.poll() is not None else [self._process.pid]
        return [*own, *(pid for pid in processes_of(self.state.marker) if pid not in own), *self.redis_pids()]

    def clean_up(self) -> list[str]:
        """End all remaining processes and remove Ray's folder. Return the command lines of the processes that
        `up` had left.
        """
        if self._sandbox is not None:
            self._sandbox.terminate()
            try:
                self._sandbox.wait(10)
            except subprocess.TimeoutExpired:  # on an overloaded machine; what is left must be reaped all the same
                self._sandbox.kill()
                self._sandbox.wait()
            self._sandbox = None
        left = list(processes_of(self.state.marker).values())
        reap(self.state.marker)
        for pid in self.redis_pids():
            left.append(f"redis {pid}")
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.state.runtime_dir(), ignore_errors=True)
        return left

    def redis_pids(self) -> list[int]:
        wanted = str(self.state.path / "redis")
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().split(b"\0")
                    # Its title holds the socket behind the name.
                    if Path(command[0].split(b" ")[0].decode()).name in NAMES and os.readlink(entry / "cwd") == wanted:
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def pids(self, text: str) -> list[int]:
        """Return the ids of this installation's processes whose command line contains `text`.

        An example of a text is `ServeReplica:vendor-sms-a`.
        """
        return [pid for pid, command in processes_of(self.state.marker).items() if text in command]

    def haproxy_pids(self) -> list[int]:
        """Return the ids of the HAProxy processes. Their wrappers, whose command lines name HAProxy too, are left
        out.
        """
        commands = processes_of(self.state.marker).items()
        return [pid for pid, command in commands if command.split(" ", 1)[0].endswith("bin/haproxy")]

    def get(self, path: str) -> Any:
        return read_directly(f"{self.api}{path}", 5)

    def received(self, vendor: str) -> Received:
        """Return everything that the sandbox recorded for one vendor: its deliveries, its call log and its faults."""
        found: Received = read_directly(f"{self.sandbox}/_sandbox/{vendor}/received?full=1", 30)
        return found

    def fault(self, vendor: str, **fault: Any) -> None:
        request = urllib.request.Request(
            f"{self.sandbox}/_sandbox/{vendor}/fault", json.dumps(fault).encode(), method="PUT"
        )
        open_directly(request, 5).close()

    def tail(self, lines: int = 25) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
