"""Starts one of Ray's workers as a child of the fork server. Ray runs this file in place of a worker's own command.

    python -I -S worker_launcher.py NAME PYTHON [SETUP] WORKER OPTION...

NAME is the fork server's socket (`cluster.local.fork_server`). The rest is what Ray would have run. Only the standard
library is imported, so this process starts in some 20 ms.

Ray watches the process that it started until the worker has registered, and from then on the worker itself. So this
process lives until the worker has registered or has ended. If it is killed before that, the fork server kills the
worker.

If there is no fork server, or the fork server refuses, this process becomes an ordinary worker. It says why in one
line.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
import sys
from typing import TypedDict

ANSWER_S_MAX = 60.0
"""How long to wait for the fork server's answer, in seconds. On a full machine it imports for half a minute.

An ordinary start after that must still be in time: Ray ends a worker that has not registered after
`RAY_worker_register_timeout_seconds`.
"""

SETUP = "setup_worker.py"
"""The script that Ray runs before a worker with a runtime environment. Ray leaves it out for all other workers."""

ENVIRONMENT_OPTION = "--serialized-runtime-env-context="
LANGUAGE_OPTION = "--language="
"""An option for SETUP alone. The worker's script does not know it."""
LIMITS = range(16)
"""The numbers of all limits of a process (`RLIMIT_CPU` is 0) on Linux."""


class Inherited(TypedDict):
    """The properties that a process inherits from its parent, apart from open files and environment."""

    cwd: str
    umask: int
    niceness: int
    leads_group: bool
    ignored: list[int]
    blocked: list[int]
    limits: list[tuple[int, int]]
    oom_score_adj: str


class RefusedError(Exception):
    """Raised if the fork server does not start this worker."""


def ordinary(command: list[str]) -> list[str]:
    """Return the command of a worker as the raylet would have run it without this launcher.

    The raylet puts Ray's script `setup_worker.py` (`SETUP`) into the command. For a worker without an environment of
    its own the raylet removes this script, but it looks for the script only at the second place of the command. The
    launcher moves the script to another place, so the raylet does not find it. So this function removes the script for
    such a worker.
    """
    if any(argument.startswith(ENVIRONMENT_OPTION) for argument in command):
        return command
    return [
        argument
        for argument in command
        if os.path.basename(argument) != SETUP and not argument.startswith(LANGUAGE_OPTION)
    ]


def inherited() -> Inherited:
    """Return what this process has inherited from its parent, such as its folder and its priority.

    Open files and environment variables are not included.
    """
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
    mask = os.umask(0)
    os.umask(mask)
    with open("/proc/self/oom_score_adj") as file:
        oom = file.read()
    return {
        "cwd": os.getcwd(),
        "umask": mask,
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "leads_group": os.getpgrp() == os.getpid(),
        "ignored": [int(number) for number in ignored],
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        "limits": [resource.getrlimit(number) for number in LIMITS],
        "oom_score_adj": oom,
    }


def ask(name: str, command: list[str]) -> socket.socket:
    """Ask the fork server `name` to start the worker. Return the connection to the server.

    The server closes this connection when the worker has registered or has ended. Raises RefusedError or OSError if no
    worker was started.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.settimeout(ANSWER_S_MAX)
    server.connect(f"\0{name}")
    uid = struct.unpack("3i", server.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    if uid != os.getuid():
        raise RefusedError("another user's process answers")
    body = json.dumps({"command": command, "inherited": inherited(), "environment": dict(os.environ)}).encode()
    socket.send_fds(server, [struct.pack("!I", len(body))], [0, 1, 2])
    server.sendall(body)
    answer = server.recv(1_000)
    if not answer.startswith(b"pid "):
        raise RefusedError(answer.decode(errors="replace") or "it ended")
    server.settimeout(None)
    server.sendall(b"go")  # the child waits for this: otherwise this process is the worker, and no other
    return server


def main(argv: list[str]) -> None:
    name, command = argv[0], ordinary(argv[1:])
    try:
        server = ask(name, command[1:])
    except (OSError, RefusedError) as error:
        print(f"a worker starts without the fork server: {error}", file=sys.stderr, flush=True)
        os.execv(command[0], command)
    while server.recv(1_000):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
