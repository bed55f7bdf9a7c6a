"""Tells HAProxy that the service is about to stop, so that callers go elsewhere before anything is refused.

Callers reach a machine only through its HAProxy. The class `Door` stands for this HAProxy.

The wrapper gives HAProxy a file beside its configuration (`haproxy_wrapper.stop_file`). Each line of the file is a sign
that HAProxy's rules look for:

- `unready`: `/readyz` answers 503, and every answer closes its connection. Triggers are still accepted.
- `unhealthy`: `/-/healthz` answers 503 too. Serve itself has this path, and some load balancers ask it.
- `closed`: every call under `/v1/` that is no GET answers 503 with `Retry-After`.

`Door` writes the signs to the file first, and then sends them to the running HAProxy by its admin socket. A HAProxy
that starts later, for example at a reload, reads the file. So a sign is never lost, whenever HAProxy is started again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.local.haproxy_wrapper import ANSWER_S, PID, stop_file

LEAVING = ("unready", "unhealthy")
CLOSED = (*LEAVING, "closed")
DEFAULTS = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "/tmp/haproxy-serve/haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "/tmp/haproxy-serve/admin.sock",
}
"""Where Ray 2.60 keeps HAProxy's files if the environment does not say it."""


@dataclass(frozen=True, slots=True)
class Door:
    """The HAProxy of one machine.

    `signs` is the path of the stop file. The lines of this file are the signs: each tells HAProxy how far the stop of
    the service has come. `admin` is the path of HAProxy's admin socket.
    """

    signs: Path
    admin: Path

    @classmethod
    def of(cls, environment: Mapping[str, str], node: str) -> Door:
        """Return the `Door` of the Ray node `node`. `environment` is the environment of the processes of that node.

        Variables in `environment` name the paths of HAProxy's files. Serve does not use these paths as they are: it
        puts the files into a folder that is named after the node's id, beside each path.
        """
        config, admin = (Path({**DEFAULTS, **environment}[name]) for name in DEFAULTS)
        return cls(Path(stop_file(str(config.parent / node / config.name))), admin.parent / node / admin.name)

    def tell(self, signs: tuple[str, ...]) -> bool:
        """Give `signs` to HAProxy. Return True if the running HAProxy has them.

        A sign is a word that HAProxy's rules look for, such as `unready`. The running HAProxy also keeps earlier signs.
        A HAProxy that starts later reads `signs` from the file. The result False means that no HAProxy with our wrapper
        runs here.
        """
        if not self.signs.parent.is_dir():
            return False
        draft = self.signs.with_name(f"{self.signs.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk must not keep the service from stopping
            draft.write_text("".join(f"{sign}\n" for sign in signs))
            draft.rename(self.signs)
        told = [self._done(f"add acl {self.signs} {sign}") for sign in signs]
        return all(told)

    def open(self) -> None:
        """Remove all signs from the stop file and from HAProxy, so that callers are served again."""
        if self.signs.exists():
            self.signs.write_text("")
            self._ask(f"clear acl {self.signs}")

    def shut(self) -> None:
        """End HAProxy, and thus close the port. Call this last, when HAProxy answers every request with a 503.

        There are two other ways to end HAProxy, and both are worse. If Ray ended HAProxy while Ray itself stops,
        HAProxy would hang for a moment and then reset the waiting connections. With SIGUSR1, HAProxy would finish its
        requests first, but keep the port open for a successor. New connections would then wait without an answer.
        """
        found = PID.search(self._ask("show info"))
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(found[0].removeprefix(b"Pid: ")), signal.SIGTERM)

    def _done(self, command: str) -> bool:
        """Send one command. Return True if HAProxy answered with an empty line, which means that the command
        succeeded.
        """
        return self._ask(command) == b"\n"

    def _ask(self, command: str) -> bytes:
        """Send one command to the admin socket. Return the answer, or no bytes if no HAProxy answers."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(ANSWER_S)
            try:
                admin.connect(str(self.admin))
                admin.sendall(command.encode() + b"\n")
                return b"".join(iter(lambda: admin.recv(4096), b""))
            except OSError:
                return b""


def doors_here(environment: Mapping[str, str]) -> list[Door]:
    """Return a `Door` for each HAProxy configuration on this machine, without asking Ray.

    There is usually one for the present node, and a few that earlier runs left.
    """
    config = Path({**DEFAULTS, **environment}["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"])
    return [Door.of(environment, path.parent.name) for path in sorted(config.parent.glob(f"*/{config.name}"))]


def leave_here(notice_s: float) -> bool:
    """Make HAProxy on this machine tell balancers for `notice_s` seconds that the machine stops.

    Return True if a HAProxy runs here and has the signs. The signs stay in the stop file, because the node is stopped
    next. A node that starts again has a new id, and thus another stop file.
    """
    until_s = time.monotonic() + notice_s
    while True:
        told = [door.tell(LEAVING) for door in doors_here(os.environ)]
        left_s = until_s - time.monotonic()
        if not any(told) or left_s <= 0:
            return any(told)
        time.sleep(min(1.0, left_s))


def own_door() -> Door:
    """Return the `Door` of the Ray node that this process belongs to."""
    import ray

    return Door.of(os.environ, ray.get_runtime_context().get_node_id())


def tell_here(signs: list[str]) -> bool:
    """Give `signs`, such as `unready`, to the HAProxy of this machine. If `signs` is empty, take all earlier signs
    back.

    `undeploy` and `deploy` run this on every node, as a Ray task. Return True if HAProxy has the signs, or if `signs`
    is empty.
    """
    door = own_door()
    if not signs:
        door.open()
        return True
    return door.tell(tuple(signs))
