"""Runs the process from which Ray's workers are forked. This process has already imported what the workers need.

    python fork_server.py NAME WORKER PATHS FIRST THEN

NAME is the abstract Unix socket on which this process listens. An abstract socket has no file that somebody could
remove, and no port that somebody else could use. WORKER is the script that Ray runs in a worker. PATHS are the folders
for imports, separated by colons. FIRST and THEN are names of modules, separated by commas. The modules FIRST are
imported at once. The modules THEN are imported when the first worker is asked for: they import Ray, and Ray reads its
environment at import, so the first worker's environment must be known.

For each worker, Ray starts a launcher (`cluster.local.worker_launcher`), and the launcher asks this process for a fork.
A forked worker does not import anything again, and shares the imported pages with its siblings. The worker is like one
that Ray started itself: it has the launcher's command line, environment, open files, limits and signals. If something
cannot be made alike, this process refuses, and the launcher then becomes an ordinary worker.

While a worker is born, that is, until it has registered with Ray:

| what ends | what follows |
|---|---|
| the launcher | the worker is killed |
| the worker | the launcher ends |
| this process | the worker lives on, the launcher ends |

Afterwards Ray knows the worker itself. This process ends when its standard input is closed, which `up` holds open.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.local.worker_launcher import Inherited

CHANGED = (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""The signals that this process ignores. A worker gets back what its launcher had."""

REQUEST_S_MAX = 5.0
"""How long a launcher may take to send its request, in seconds."""


@dataclass(frozen=True, slots=True)
class Request:
    """A launcher's request. `command` begins with the worker's script."""

    command: list[str]
    inherited: Inherited
    environment: dict[str, str]
    files: list[int]

    @property
    def read_at_import(self) -> dict[str, str]:
        """Return the part of the environment that a module may read while it is imported."""
        return {name: value for name, value in self.environment.items() if name.startswith(("RAY_", "PYTHON", "LD_"))}


@dataclass(frozen=True, slots=True)
class Birth:
    """A worker that was forked and has not registered with Ray yet.

    `born` is the reading end of a pipe. Reading it gives end of file when the worker has registered or has ended.
    """

    pid: int
    launcher: socket.socket
    born: int


class RefusedError(Exception):
    """Raised if this server must not, or cannot, fork a worker for the request."""


def receive(launcher: socket.socket) -> Request:
    """Read a request. Raises OSError or RefusedError if it is not complete in time, or comes from another user."""
    launcher.settimeout(REQUEST_S_MAX)
    uid = struct.unpack("3i", launcher.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    if uid != os.getuid():
        raise RefusedError("another user asks")
    head, files, _, _ = socket.recv_fds(launcher, 4, 3)
    body = b""
    size = struct.unpack("!I", head)[0]
    while len(body) < size:
        part = launcher.recv(size - len(body))
        if not part:
            raise RefusedError("the request is not whole")
        body += part
    found = json.loads(body)
    return Request(found["command"], found["inherited"], found["environment"], files)


def preload(modules: Iterable[str]) -> list[str]:
    """Import `modules`, and return the names of those that cannot be imported."""
    missing = []
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            say(f"{name} is not preloaded: {error}")
            missing.append(name)
    return missing


@contextlib.contextmanager
def ids_from_the_kernel() -> Iterator[None]:
    """Inside the `with` block, make Ray draw each `ActorClassID` from the kernel instead of its own generator.

    Ray makes the ids of tasks from such an id. Ray's generator takes its seed when it is first used, and a fork copies
    the generator's state. So workers that were forked later would all draw the same ids. Ray would then end these
    workers, or mix up their answers.
    """
    actor: Any = importlib.import_module("ray.actor")
    real = actor.ActorClassID

    class Drawn:
        @staticmethod
        def from_random() -> object:
            return real(os.urandom(real.size()))

    actor.ActorClassID = Drawn
    try:
        yield
    finally:
        actor.ActorClassID = real


def draw() -> bytes:
    """Fork a child that draws one random Ray id, and return this id.

    If two children draw the same id, forked workers would do so too.
    """
    theirs, ours = os.pipe()
    if not os.fork():
        try:
            import ray

            os.write(ours, ray.ObjectID.from_random().binary())
        finally:
            os._exit(0)
    os.close(ours)
    with open(theirs, "rb") as file:
        return file.read()


def say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"fork server: {text}\n".encode())


def alone() -> bool:
    """Return True if this process has only one thread. A fork copies only the thread that calls it."""
    return len(os.listdir("/proc/self/task")) == 1


class ForkServer:
    """The fork server: its listening socket, and the workers that have not registered with Ray yet."""

    def __init__(self, name: str, worker: str, then: Iterable[str]) -> None:
        self._worker, self._then = worker, then
        self._environment: dict[str, str] | None = None
        self._fault = ""
        self._births: dict[int, Birth] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(f"\0{name}")
        self._listener.listen(64)

    def serve(self) -> tuple[Request, int] | None:
        """Fork a worker for each request. Return only in a worker, or when standard input is closed.

        In a worker, return the request and the writing end of the pipe `Birth.born`. Otherwise return None.
        """
        while True:
            poll = select.poll()
            poll.register(0, select.POLLIN)
            poll.register(self._listener, select.POLLIN)
            for birth in self._births.values():
                poll.register(birth.born, select.POLLIN)
                poll.register(birth.launcher, select.POLLRDHUP)
            ready = {descriptor for descriptor, _ in poll.poll()}
            if 0 in ready and not os.read(0, 1_000):
                return None
            self._end_births(ready)
            if self._listener.fileno() in ready:
                worker = self._answer(self._listener.accept()[0])
                if worker is not None:
                    return worker

    def _end_births(self, ready: set[int]) -> None:
        for birth in list(self._births.values()):
            over = birth.born in ready
            if not over and birth.launcher.fileno() not in ready:
                continue
            if not over:  # it holds `born` open, so its id is still its own
                with contextlib.suppress(ProcessLookupError):
                    os.kill(birth.pid, signal.SIGKILL)
            del self._births[birth.born]
            birth.launcher.close()
            os.close(birth.born)

    def _answer(self, launcher: socket.socket) -> tuple[Request, int] | None:
        try:
            request = receive(launcher)
        except (OSError, RefusedError, ValueError, struct.error) as error:
            say(f"a request is refused: {error}")
            launcher.close()
            return None
        try:
            return self._fork(request, launcher)
        except (OSError, RefusedError) as error:
            with contextlib.suppress(OSError):
                launcher.sendall(str(error).encode())
            launcher.close()
            return None
        finally:
            for descriptor in request.files:
                os.close(descriptor)

    def _fork(self, request: Request, launcher: socket.socket) -> tuple[Request, int] | None:
        """Fork a worker. In this process, remember the worker and its launcher as a `Birth`, and return None.

        In the worker, wait until the launcher has said "go". Then return the request, and the writing end of the pipe
        that tells this process when the worker has registered or ended. If the launcher says anything else or ends, the
        worker exits.
        """
        self._check(request)
        born, unborn = os.pipe()
        pid = os.fork()
        if pid:
            os.close(unborn)
            self._births[born] = Birth(pid, launcher, born)
            with contextlib.suppress(OSError):  # it has ended, which ends this birth
                launcher.sendall(f"pid {pid}".encode())
            return None
        os.close(born)
        self._leave()
        launcher.settimeout(None)
        if launcher.recv(2) != b"go":
            os._exit(0)  # the launcher is an ordinary worker now, or has ended
        launcher.close()
        for number, descriptor in enumerate(request.files):
            os.dup2(descriptor, number)
        return request, unborn

    def _check(self, request: Request) -> None:
        """Raise RefusedError if a worker that is forked for `request` would differ from a worker that Ray starts
        itself.
        """
        if request.command[0] != self._worker:
            raise RefusedError(f"{request.command[0]} is not what was preloaded")
        if self._environment is None:
            self._environment = request.read_at_import
            self._fault = self._prepare(self._environment)
        if self._fault:
            raise RefusedError(self._fault)
        other = set(self._environment.items()) ^ set(request.read_at_import.items())
        if other:
            raise RefusedError(f"{min(other)[0]} is not what it was at the import")
        if not alone():
            raise RefusedError("it has threads")

    def _prepare(self, environment: dict[str, str]) -> str:
        """Import Ray. Return the reason why workers must not be forked after the import, or an empty text."""
        os.environ.update(environment)
        try:
            with ids_from_the_kernel():
                missing = preload(self._then)
        except ImportError as error:
            return str(error)
        if missing:
            return f"{missing[0]} cannot be imported"
        gc.collect()
        gc.freeze()
        if alone() and draw() == draw():
            return "all workers would draw the same ids"
        return ""

    def _leave(self) -> None:
        """Close the server's socket and pipes. A worker calls this after the fork."""
        self._listener.close()
        for birth in self._births.values():
            birth.launcher.close()
            os.close(birth.born)


def become(inherited: Inherited, environment: dict[str, str]) -> None:
    """Take over the properties in `inherited` and the environment. A limit or priority that cannot be set stays as it
    is.
    """
    if inherited["leads_group"]:
        os.setpgid(0, 0)
    os.chdir(inherited["cwd"])
    os.umask(inherited["umask"])
    for number, (soft, hard) in enumerate(inherited["limits"]):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(number, (soft, hard))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(inherited["oom_score_adj"])
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, inherited["niceness"])
    for number in CHANGED:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for number in inherited["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, inherited["blocked"])
    os.environ.clear()
    os.environ.update(environment)


def run_worker(request: Request, unborn: int, path: list[str]) -> None:
    """Run the worker's script as `__main__`.

    `unborn` is the writing end of the pipe through which the fork server watches the start of this worker. It is closed
    when the worker has connected to Ray.
    """
    from ray._private import worker

    connect = worker.connect

    def connect_once(*args: object, **options: object) -> object:
        worker.connect = connect
        try:
            return connect(*args, **options)
        finally:
            os.close(unborn)

    worker.connect = connect_once
    script = request.command[0]
    sys.argv = request.command
    sys.path[:] = [os.path.dirname(script), *path]
    main = types.ModuleType("__main__")
    main.__file__ = script
    sys.modules["__main__"] = main
    with open(script) as file:
        code = compile(file.read(), script, "exec")
    exec(code, main.__dict__)


def main() -> None:
    name, script, paths, first, then = sys.argv[1:]
    os.setpgid(0, 0)  # Ctrl-C at a terminal is for `up` alone
    for number in CHANGED:
        signal.signal(number, signal.SIG_IGN)  # ended workers are forgotten at once
    path = sys.path[1:]
    sys.path[:] = paths.split(os.pathsep)
    server = ForkServer(name, script, then.split(","))
    preload(first.split(","))
    worker = server.serve()
    if worker is not None:
        request, unborn = worker
        become(request.inherited, request.environment)
        run_worker(request, unborn, path)


if __name__ == "__main__":
    main()
