"""A fork server with a small replacement for Ray's worker, so that a worker starts in milliseconds."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.local import fork_server, worker_launcher

WORKER = """
import json, os, signal, sys, time
from ray._private import worker
base = sys.argv[1]
def tell(what, text):
    with open(f"{base}.new", "w") as file: file.write(text)
    os.rename(f"{base}.new", f"{base}.{what}")
def wait(what):
    while not os.path.exists(f"{base}.{what}"): time.sleep(0.005)
print("said by the worker", flush=True)
mask = os.umask(0)
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
tell("began", json.dumps({
    "pid": os.getpid(), "preloaded": "first_module" in sys.modules,
    "argv": sys.argv, "path": sys.path, "main": sys.modules["__main__"].__file__, "name": __name__,
    "environment": dict(os.environ), "cwd": os.getcwd(), "umask": mask, "nice": os.nice(0),
    "leader": os.getpgrp() == os.getpid(), "session": os.getsid(0),
    "oom": open("/proc/self/oom_score_adj").read(), "limits": open("/proc/self/limits").read(),
    "signals": [status[name] for name in ("SigIgn", "SigBlk", "SigCgt")],
    "files": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
}))
wait("register")
worker.connect()
tell("registered", "")
wait("end")
sys.exit(3)
"""


IDS = """
import os
class ObjectID:
    state = None
    def __init__(self, binary): self._binary = binary
    def binary(self): return self._binary
    @staticmethod
    def size(): return 8
    @classmethod
    def from_random(cls):
        cls.state = (cls.state or int.from_bytes(os.urandom(7), "big")) + 1
        return cls(cls.state.to_bytes(8, "big"))
"""
"""A stand-in for Ray's ids. Like Ray's generator, it takes its seed at the first use."""


def until(condition: Callable[[], object], seconds: float = 60.0) -> Any:
    """Wait until `condition` is true and return its value. Raises AssertionError after `seconds`."""
    end_s = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end_s, "the condition never held"
        time.sleep(0.005)
    return found


def alive(pid: int) -> bool:
    """Return True if the process runs and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Worker:
    """A requested worker, with the launcher process that asked the fork server for it."""

    def __init__(self, base: Path, launcher: subprocess.Popen[str]) -> None:
        self.base, self.launcher = base, launcher

    def began(self) -> dict[str, Any]:
        """Wait until the forked worker runs its script. Return the facts about itself that the worker has written into
        a file.
        """
        path = Path(f"{self.base}.began")
        until(path.exists)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def tell(self, word: str) -> None:
        Path(f"{self.base}.{word}").touch()

    def register(self) -> None:
        self.tell("register")
        until(Path(f"{self.base}.registered").exists)


class Stand:
    """A fork server in `folder`. `end` ends everything that it started."""

    def __init__(self, folder: Path, first: str = "", then: str = "ray._private.worker") -> None:
        package = folder / "ray" / "_private"
        package.mkdir(parents=True)
        (folder / "ray" / "__init__.py").write_text(IDS)
        (folder / "ray" / "actor.py").write_text("from ray import ObjectID as ActorClassID\n")
        (package / "__init__.py").touch()
        (package / "worker.py").write_text("def connect():\n    pass\n")
        (folder / "first_module.py").write_text(first)
        self.folder, self.script = folder, folder / "default_worker.py"
        self.script.write_text(WORKER)
        self.name = f"nd-test-{os.getpid()}-{folder.name}"
        self.workers: list[Worker] = []
        self.environment = {**os.environ, "PYTHONPATH": str(folder)}
        paths = os.pathsep.join([str(folder), *sys.path])
        words = [self.name, str(self.script), paths, "first_module", then]
        self.server = subprocess.Popen(
            [sys.executable, fork_server.__file__, *words],
            stdin=subprocess.PIPE,
            env=self.environment,
        )
        until(lambda: f"@{self.name}" in Path("/proc/net/unix").read_text())

    def launch(self, **options: Any) -> Worker:
        """Start a launcher of workers, as the raylet does, and return its worker. `options` are options of Popen.

        The variables in the option `env` are added to those of the stand.
        """
        base = self.folder / f"worker-{len(self.workers)}"
        command = [sys.executable, "-I", "-S", worker_launcher.__file__, self.name]
        command += [sys.executable, "/ray/setup_worker.py", str(self.script), str(base), "--language=PYTHON"]
        environment = {**self.environment, **options.pop("env", {})}
        launcher = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
        )
        self.workers.append(Worker(base, launcher))
        return self.workers[-1]

    def end(self) -> None:
        self.server.kill()
        self.server.wait()
        assert self.server.stdin is not None
        self.server.stdin.close()
        for worker in self.workers:
            worker.launcher.kill()
            path = Path(f"{worker.base}.began")
            with contextlib.suppress(ProcessLookupError):
                if path.exists() and alive(pid := json.loads(path.read_text())["pid"]):
                    os.kill(pid, signal.SIGKILL)
            worker.launcher.communicate()  # reads to the end of the pipes, which the worker had too
