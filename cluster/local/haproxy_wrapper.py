"""Runs haproxy with settings that Ray's template does not offer, and restarts haproxy when it dies.

It imports the standard library only.

    haproxy_wrapper.py REAL_BINARY ARGUMENTS…

Serve starts this program in place of haproxy and believes that it is haproxy. The wrapper edits a copy of the generated
configuration beside the original file. `cluster.local.haproxy_edits` has the edits. The edits in `VITAL` protect the
service from others: if the wrapper cannot make one of them, it refuses to start. If the environment names a
certificate, `cluster.local.haproxy_tls` takes care of it.

Then the wrapper stays as the parent of haproxy. No request passes through the wrapper.

- If haproxy dies and nobody asked it to end, the wrapper starts it again with the same copy, at most `DEATHS_MAX` times
  in `DEATHS_S` seconds. After that, or if haproxy never served, the wrapper ends with haproxy's exit code. So Serve
  sees that haproxy has failed.
- The wrapper passes signals on to haproxy. After a signal of `ENDING`, haproxy is expected to end, and the wrapper does
  not start it again. At a reload, the new haproxy sends such a signal to the old haproxy, because of its option `-sf`.
- Serve accepts a haproxy only if `show info` on the admin socket names the pid that Serve started. This is the
  wrapper's pid. So the wrapper itself listens on the admin socket, and haproxy gets another socket beside it. The
  wrapper passes each question on to haproxy, and replaces haproxy's pid in the answer by its own.
- haproxy dies with the wrapper, and the wrapper dies with its parent. An orphan would keep the port and stop the next
  start.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":  # run isolated, by the file's path: our package is not on the path yet
    sys.path.append(str(Path(__file__).resolve().parents[2]))
from cluster.local.haproxy_edits import VITAL, edited, fitting, keeping
from cluster.local.haproxy_tls import CERTIFICATE, LOOK_S, Edge

ADMIN = re.compile(r"^( *stats socket )(\S+)", re.MULTILINE)
PID = re.compile(rb"^Pid: \d+$", re.MULTILINE)

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PASSED_ON = (*ENDING, signal.SIGTTOU, signal.SIGTTIN, signal.SIGHUP, signal.SIGQUIT)

DEATHS_MAX = 5
DEATHS_S = 10.0
PAUSE_S = 0.1
"""The pause before a restart grows by this many seconds for each death within DEATHS_S. The first restart has no pause.

The cause of a death may pass by itself, for example a port that is still in use.
"""
ANSWER_S = 1.0
"""The most seconds for an exchange on the admin socket. It usually takes milliseconds.

The wrapper does nothing else during an exchange.
"""


def tell(text: str) -> None:
    """Write one line to stderr. If that fails, the line is lost and HAProxy continues."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def beside(path: str, pid: int | str | None = None) -> str:
    """Return the path of a wrapper's own file for Serve's file `path`, such as its edited copy of the configuration.

    `pid` is the process id of the wrapper. By default it is this process.
    """
    return f"{path}.{pid or os.getpid()}"


def stop_file(path: str) -> str:
    """Return the path of the stop file that belongs to Serve's configuration file `path`.

    The lines of the stop file, called signs, tell HAProxy how far the stop of the service has come
    (`cluster.local.door`).
    """
    return f"{path}.stop"


def answering(path: str) -> bool:
    """Return True if a process accepts connections on this Unix socket."""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
        except OSError:
            return False
        return True


def remove_stale(path: str) -> None:
    """Remove the files that killed wrappers have left beside `path`."""
    folder, name = os.path.split(path)
    for entry in os.listdir(folder or "."):
        stem, _, pid = entry.rpartition(".")
        if stem == name and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, entry))


def die_with_parent(number: signal.Signals) -> None:
    ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG


class Wrapper:
    """Runs one haproxy until it is told to end, or until it dies too often."""

    def __init__(self, binary: str, arguments: list[str], written: Written, admin: str) -> None:
        self._binary = binary
        self._first, self._again = takeover(arguments, admin)
        self._files, self._edge = written.files, written.edge
        self._public, self._private = admin, beside(admin)
        self._child = 0
        self._served = self._ending = False
        self._deaths: list[float] = []
        self._listener: socket.socket | None = None

    def run(self) -> int:
        """Run haproxy and return the exit code for Serve: haproxy's own code, or 128 + n after signal n."""
        signals = self._listen_to_signals()
        self._start(self._first)
        while True:
            ears: list[int | socket.socket] = [signals] if self._listener is None else [signals, self._listener]
            ready, _, _ = select.select(ears, [], [], self._patience_s())
            if self._listener is None and answering(self._private):
                self._answer_for_it()
            if self._listener in ready and self._listener is not None:
                self._pass_question(self._listener)
            if self._edge is not None and self._listener is not None and not self._ending:
                self._edge.look(self._ask, time.monotonic())
            for number in os.read(signals, 64) if signals in ready else b"":
                if number != signal.SIGCHLD:
                    self._pass_on(number)
                elif (code := self._died()) is not None:
                    return self._ended(code)

    def _patience_s(self) -> float | None:
        if self._listener is None:
            return 0.01
        return None if self._edge is None else LOOK_S

    def _listen_to_signals(self) -> int:
        """Return a pipe from which each signal can be read as one byte.

        A forked child that gets a signal before its exec writes the byte into the same pipe. So the wrapper passes the
        signal on again.
        """
        out, into = os.pipe()
        os.set_blocking(into, False)
        for number in (signal.SIGCHLD, *PASSED_ON):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(into)
        return out

    def _start(self, arguments: list[str]) -> None:
        wrapper = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            try:
                die_with_parent(signal.SIGKILL)
                if os.getppid() == wrapper:
                    os.execv(self._binary, [self._binary, *arguments])
            finally:
                os._exit(127)

    def _answer_for_it(self) -> None:
        """Begin to answer on the admin socket. Until now the previous wrapper has answered there.

        This is called only when the haproxy of this wrapper accepts connections.
        """
        self._served = True
        self._listener = socket.socket(socket.AF_UNIX)
        draft = f"{self._private}.w"
        self._listener.bind(draft)
        self._listener.listen(16)
        os.rename(draft, self._public)

    def _pass_question(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as caller:
            caller.settimeout(ANSWER_S)
            question = b""
            while not question.endswith(b"\n"):
                part = caller.recv(65536)
                if not part:
                    return
                question += part
            caller.sendall(PID.sub(b"Pid: %d" % os.getpid(), self._ask(question)))

    def _ask(self, question: bytes) -> bytes:
        """Send `question` to haproxy's admin socket and return the answer.

        Raises OSError while haproxy is being started again. Serve then repeats its question.
        """
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(ANSWER_S)
            admin.connect(self._private)
            admin.sendall(question)
            return b"".join(iter(lambda: admin.recv(65536), b""))

    def _pass_on(self, number: int) -> None:
        self._ending = self._ending or number in ENDING
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, number)

    def _died(self) -> int | None:
        """Start haproxy again if it has died and may be restarted. Return its exit code if it may not be restarted.

        Return None if haproxy lives or was started again.
        """
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code
        now_s = time.monotonic()
        recent = [at_s for at_s in self._deaths if now_s - at_s < DEATHS_S]
        if self._ending or not self._served or len(recent) >= DEATHS_MAX:
            return code
        tell(f"haproxy wrapper: haproxy ended unasked, code {code}; starting it again")
        time.sleep(PAUSE_S * len(recent))
        self._deaths = [*recent, now_s]
        self._start(self._again)
        return None

    def _ended(self, code: int) -> int:
        for path in (*self._files, self._private):
            with contextlib.suppress(OSError):
                os.unlink(path)
        return code


def takeover(arguments: list[str], admin: str) -> tuple[list[str], list[str]]:
    """Return two lists of arguments for haproxy: for its first start, and for a restart after a death.

    At a reload Serve adds `-sf PID… -x SOCKET`. The pids belong to wrappers, which pass the signals on. The listening
    sockets come from the haproxy of the first of these wrappers. After a death no other haproxy exists to take over
    from.
    """
    again = list(arguments)
    for argument in ("-sf", "-st", "-x"):
        if argument in again:
            at = end = again.index(argument)
            while end + 1 < len(again) and not again[end + 1].startswith("-"):
                end += 1
            del again[at : end + 1]
    first = list(arguments)
    if "-x" in first:
        at = first.index("-x")
        old = first[first.index("-sf") + 1] if "-sf" in first else None
        behind = beside(admin, old)
        if old is not None and answering(behind):
            first[at + 1] = behind
        else:  # haproxy would not start without it; without -x it asks the old one to let go of the port
            del first[at : at + 2]
    return first, again


def moved_aside(text: str) -> tuple[str, str] | None:
    """Return two values: HAProxy's configuration with a private path for its admin socket, and the path that Serve
    uses.

    The wrapper itself answers at the path that Serve uses. Return None if the configuration has no admin socket.
    """
    found = ADMIN.search(text)
    return None if found is None else (ADMIN.sub(lambda m: m[1] + beside(m[2]), text), found[2])


@dataclass(slots=True)
class Written:
    """The files that a wrapper has written for its haproxy and has to remove at its end.

    `edge` keeps the certificate up to date, or is None if the wrapper serves plain HTTP.
    """

    files: list[str] = field(default_factory=list)
    edge: Edge | None = None


def before_reload(path: str, arguments: list[str]) -> str:
    """Return the configuration of the haproxy that the new haproxy will replace, or "" if there is none.

    `path` is Serve's configuration file. At a reload `arguments` has `-sf`, and then the pid of the wrapper that runs
    the haproxy to replace.
    """
    if "-sf" not in arguments[:-1]:
        return ""
    try:
        with open(beside(path, arguments[arguments.index("-sf") + 1])) as file:
            return file.read()
    except OSError:
        return ""


def rewritten(path: str, written: Written, before: str = "") -> str | None:
    """Write our version of Serve's configuration file, and our copy of the certificate. Add both files to `written`.

    `before` is the configuration that has been in force until now.

    Return the path of the admin socket, or None if the configuration has none. Exits with a message if an edit in
    `VITAL` could not be made, or if there is no certificate that haproxy could use.
    """
    if os.environ.get(CERTIFICATE):
        edge = written.edge = Edge(path)
        for shared in (edge.draft, edge.map):
            remove_stale(shared.rpartition(".")[0])
        written.files += [edge.draft, edge.map]
        if fault := edge.prepare():
            sys.exit(f"haproxy wrapper: refusing to start: {fault}")
    with open(path) as file:
        text, missed = edited(file.read(), edge=written.edge, signs=stop_file(path))
    with open(stop_file(path), "a"):
        pass  # HAProxy does not start without the file
    text = fitting(keeping(text, before), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    for name in missed:
        tell(f"haproxy wrapper: EDIT NOT MADE: {name}")
    if vital := [name for name in missed if name in VITAL]:
        sys.exit(f"haproxy wrapper: refusing to start without: {', '.join(vital)}")
    admin = None
    if moved := moved_aside(text):
        text, admin = moved
        remove_stale(admin)
    else:
        tell("haproxy wrapper: no admin socket: haproxy will not be started again if it dies")
    remove_stale(path)
    with open(beside(path), "w") as file:
        file.write(text)
    written.files.append(beside(path))
    return admin


def main(arguments: list[str]) -> int:
    """Run haproxy and return its exit code.

    Without a configuration file, or without an admin socket in it, this process becomes haproxy itself.
    """
    binary, arguments = arguments[0], arguments[1:]
    with contextlib.suppress(OSError):  # it inherited a start's low priority, and every accept needs haproxy
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    die_with_parent(signal.SIGTERM)
    admin, written = None, Written()
    for at, argument in enumerate(arguments[:-1]):
        if argument == "-f" and os.path.isfile(arguments[at + 1]):
            admin = rewritten(arguments[at + 1], written, before_reload(arguments[at + 1], arguments))
            arguments[at + 1] = beside(arguments[at + 1])
    if admin is None:
        os.execv(binary, [binary, *arguments])
    return Wrapper(binary, arguments, written, admin).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
