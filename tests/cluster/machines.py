"""Machines made of Linux namespaces. Each has its own network, processes, host name, /tmp and /dev/shm. Needs root.

The bridge between them is in a namespace of its own, so that the host's network is not changed. A namespace lives as
long as the process that anchors it. When the anchors are dead, nothing is left to clean up. SIGKILL of an anchor is a
power cut. When a cable is pulled, new connections time out and open connections become half-open.

    network ── bridge ── port of each machine ── eth0 of the machine, 10.77.0.N
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUBNET = "10.77.0"
TOOLS = ("ip", "unshare", "nsenter", "setpriv", "mount")
WITH_ME = ("setpriv", "--pdeathsig", "KILL")
"""A prefix for commands. The kernel kills such a process when the *thread* that started it ends.

So a killed test run leaves no machine behind.
"""
ANCHOR = """
import signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("up", flush=True)
while True:
    time.sleep(3600)
"""
"""The program of a machine's first process. It ignores SIGCHLD, so that orphans leave no zombies."""

LIST_PROCESSES = r"""for p in /proc/[0-9]*; do printf "%s " ${p#/proc/}; tr "\0\n" "  " <$p/cmdline; echo; done"""


def missing() -> str | None:
    """Return why no machine can be made here, or None if machines can be made.

    The tests skip without root. With root they fail, because root could install a missing tool.
    """
    if os.geteuid() != 0:
        return "machines of namespaces need root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"missing: {', '.join(absent)} (Debian: iproute2, util-linux, mount)" if absent else None


class Network:
    """A network switch for the machines, without a connection to anything else."""

    def __init__(self) -> None:
        words = [*WITH_ME, "unshare", "-n", "--kill-child", sys.executable, "-I", "-S", "-c", ANCHOR]
        self._outer = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._outer.stdout is not None and self._outer.stdout.readline(), "no network namespace could be made"
        self.pid = self._outer.pid
        self.ip("link", "add", "br0", "type", "bridge", "forward_delay", "0")
        self.ip("link", "set", "br0", "up")

    def ip(self, *words: str) -> None:
        _checked(["nsenter", "-t", str(self.pid), "-n", "ip", *words])

    def attach(self, port: str, machine_pid: int) -> None:
        """Connect the switch's `port` with the machine. On the machine, the connection is called eth0."""
        self.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(machine_pid))
        self.ip("link", "set", port, "master", "br0")
        self.ip("link", "set", port, "up")

    def close(self) -> None:
        _end(self._outer)


class Machine:
    """A machine made of namespaces. Its folder `disk` survives its power cuts, and its processes see this folder as
    /tmp.
    """

    def __init__(self, network: Network, name: str, number: int, folder: Path) -> None:
        self.network, self.name, self.number = network, name, number
        self.address = f"{SUBNET}.{number}"
        self.disk = folder / name
        self.disk.mkdir(parents=True)
        self.environment: dict[str, str] = {}
        self._outer: subprocess.Popen[str] | None = None
        self._pid = 0
        self._children: list[subprocess.Popen[str]] = []

    @property
    def on(self) -> bool:
        return self._outer is not None

    def start(self) -> None:
        """Switch the machine on and connect its cable. Nothing runs on it yet."""
        assert self._outer is None, f"{self.name} runs"
        apart = ["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        words = [*WITH_ME, "unshare", *apart, "sh", "-c", self._boot()]
        self._outer = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._outer.stdout is not None and self._outer.stdout.readline(), f"{self.name} did not start"
        self._pid = _only_child(self._outer.pid)
        self.network.attach(self.name, self._pid)
        self.checked("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.checked("ip", "link", "set", "eth0", "up")

    def _boot(self) -> str:
        disk, lines = shlex.quote(str(self.disk)), ["mount --make-rprivate /", f"hostname {self.name}"]
        for kept in _below_tmp():  # the code may lie under the /tmp that is about to be covered
            inside = f"{disk}/{kept.relative_to('/tmp')}"
            lines += [f"mkdir -p {inside}", f"mount --bind {shlex.quote(str(kept))} {inside}"]
        lines += [f"mount --rbind {disk} /tmp", "mount -t tmpfs tmpfs /dev/shm", "ip link set lo up"]
        python = shlex.join([sys.executable, "-I", "-S", "-c", ANCHOR])
        return " && ".join([*lines, f"exec {python}"])

    # ---- run

    def words(self, command: Sequence[str]) -> list[str]:
        assert self._pid, f"{self.name} is off"
        return ["nsenter", "-t", str(self._pid), "-n", "-m", "-p", "-u", "-i", f"--wd={ROOT}", "--", *command]

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, timeout_s: float = 150.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine and wait for its end. `env` is added to the machine's environment."""
        return subprocess.run(
            self.words(command),
            env=self._environment(env),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def checked(self, *command: str, env: Mapping[str, str] | None = None, timeout_s: float = 150.0) -> str:
        """Run a command that must succeed, and return what it printed."""
        done = self.run(*command, env=env, timeout_s=timeout_s)
        assert done.returncode == 0, f"{self.name}: {shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def begin(self, *command: str, log: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a process that keeps running. Its output goes to the file `log` on the machine's disk."""
        with (self.disk / log).open("a") as sink:
            process = subprocess.Popen(
                self.words(command), env=self._environment(env), stdout=sink, stderr=sink, text=True
            )
        self._children.append(process)
        return process

    def _environment(self, more: Mapping[str, str] | None) -> dict[str, str]:
        own = {"PATH": os.environ["PATH"], "HOME": "/tmp/home", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        passed = {name: value for name, value in os.environ.items() if name.startswith("DISPATCHER_TEST")}
        return {**own, **passed, **self.environment, **(more or {})}

    def processes(self) -> dict[int, str]:
        """Return every process of the machine, as pid on the machine → command line."""
        lines = self.checked("sh", "-c", LIST_PROCESSES)
        pairs = (line.partition(" ") for line in lines.splitlines())
        return {int(pid): command.strip() for pid, _, command in pairs if command.strip()}

    # ---- break

    def power_off(self) -> None:
        """End every process of the machine at once. Its disk stays. Its cable is removed until the next `start`."""
        assert self._outer is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        _end(self._outer)
        self._outer, self._pid = None, 0
        for child in self._children:
            _end(child)
        self._children.clear()
        with contextlib.suppress(AssertionError):  # the kernel may have removed the cable before
            self.network.ip("link", "delete", self.name)

    def pull_cable(self) -> None:
        self.network.ip("link", "set", self.name, "down")

    def plug_in(self) -> None:
        self.network.ip("link", "set", self.name, "up")

    def cut_from(self, other: Machine) -> None:
        """Drop everything that this machine sends to the other one."""
        self.checked("ip", "route", "add", "blackhole", f"{other.address}/32")

    def mend_to(self, other: Machine) -> None:
        self.checked("ip", "route", "delete", "blackhole", f"{other.address}/32")


@contextlib.contextmanager
def machines(folder: Path, *names: str) -> Iterator[dict[str, Machine]]:
    """Yield running machines on one network, by name, numbered from 1. All of them end with the `with` block."""
    network = Network()
    made = {name: Machine(network, name, number, folder) for number, name in enumerate(names, 1)}
    try:
        for machine in made.values():
            machine.start()
        yield made
    finally:
        for machine in made.values():
            if machine.on:
                machine.power_off()
        network.close()


def _below_tmp() -> list[Path]:
    places = {
        ROOT.resolve(),
        Path(sys.executable).absolute().parent.parent,
        Path(sys.executable).resolve().parent.parent,
    }
    below = sorted(place for place in places if place.is_relative_to("/tmp"))
    return [place for place in below if not any(place != other and place.is_relative_to(other) for other in below)]


def _only_child(pid: int) -> int:
    until_s = time.monotonic() + 5.0
    path = Path(f"/proc/{pid}/task/{pid}/children")
    while time.monotonic() < until_s:
        children = path.read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError("the machine has no first process")


def _checked(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait(10)
    if process.stdout is not None:
        process.stdout.close()
