"""A whole installation without Ray that a test can break: private Redis, sandbox vendors, forked actors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import redis
import yaml

from cluster.local.redis_server import RedisServer
from cluster.local.state_directory import free_port
from cluster.rehearsal.drills.play import fresh_checkouts
from cluster.rehearsal.load import Posted, post_steadily
from cluster.rehearsal.sandbox.process import start_sandbox
from tests.chaos.bench.checker import Findings, examine, waiting
from tests.chaos.bench.link import Link
from tests.leftovers import short_folder

VENDORS = ("sms-a", "sms-b")
CHANNELS = dict.fromkeys(VENDORS, "sms")
READY_S = 20.0
DRAIN_S = 30.0

Body = tuple[str, dict[str, Any]]


class Nursery:
    """A process that forks every process of the tests. The tests of a run share it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def fork(self, order: dict[str, Any]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


class Sandbox:
    """The sandbox vendors, in a process that no test kills. The tests compare with what these vendors received."""

    def __init__(self) -> None:
        self._process, self.url, _ = start_sandbox()

    def fault(self, vendor: str, mode: str = "none", **more: Any) -> None:
        """Make a vendor misbehave from now on. The mode "none" ends the fault."""
        _ask("PUT", f"{self.url}/_sandbox/{vendor}/fault", {"mode": mode, **more})

    def received(self, vendor: str) -> dict[str, Any]:
        found: dict[str, Any] = _ask("GET", f"{self.url}/_sandbox/{vendor}/received?full=1")
        return found

    def reset(self) -> None:
        _ask("DELETE", f"{self.url}/_sandbox")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@dataclass
class Worker:
    """One process of the installation.

    `order` is the order from which it was forked, so that it can be forked again.
    """

    name: str
    pid: int
    order: dict[str, Any] = field(repr=False)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def freeze(self) -> None:
        self.kill(signal.SIGSTOP)

    def wake(self) -> None:
        self.kill(signal.SIGCONT)

    def alive(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
        except OSError:
            return False

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    """One installation that a test can break.

    With `keep`, `start` also begins to watch the processes: each process that ends is replaced, as under Serve. Without
    `keep`, a process that ends is not replaced.
    """

    def __init__(self, nursery: Nursery, sandbox: Sandbox, changes: dict[str, Any] | None = None) -> None:
        self._nursery, self.sandbox = nursery, sandbox
        self.folder = short_folder("ndb")  # short: a unix socket's path holds 107 bytes
        self.server = RedisServer(self.folder / "redis", self.folder / "s")
        self.server.start()
        self.settings = settings(sandbox.url, changes or {})
        self.workers: dict[str, Worker] = {}
        self.deaths = 0
        self.ports = [free_port()]
        self.log_to = ""  # where every process logs; empty: to files in `folder`
        self._links: list[Link] = []
        self._keeping: threading.Thread | None = None
        self._over = threading.Event()
        sandbox.reset()

    # ---- life

    def start(
        self,
        links: dict[str, Link] | None = None,
        crashes: dict[str, dict[str, Any]] | None = None,
        skewed: bool = False,
        keep: bool = True,
    ) -> Bench:
        """Start every process and wait until triggers are accepted and a plan exists.

        `links` puts a link, which can be cut, between a process and Redis. `crashes` tells a process at which step it
        ends itself. Both are given by the process's name. With `skewed` the processes see the store's clock wrong, by
        the skew that is kept in Redis (`tests.skew`). With `keep`, an ended process is started again, as under Serve.
        """
        for name in ("intake", "supervisor", *VENDORS):
            self.begin(name, (links or {}).get(name), (crashes or {}).get(name), skewed)
        self.until(lambda: self.ask("/readyz")[0] == 200 and len(self.plan()) == len(VENDORS), READY_S)
        self.until(lambda: all(len(v["breaker"]) == 1 for v in self.vendors()), READY_S)
        if keep:
            self._keeping = threading.Thread(target=self._keep, daemon=True)
            self._keeping.start()
        return self

    def begin(
        self, name: str, link: Link | None = None, crash: dict[str, Any] | None = None, skewed: bool = False
    ) -> Worker:
        role = "vendor" if name in VENDORS else name
        order = {
            "role": role,
            "vendor": name,
            "settings": self.settings,
            "runtime": {"redis_url": link.url if link else self.server.url, "warnings": ""},
            "log": self.log_to or str(self.folder / f"{name}.log"),
            "port": self.ports[0],
            "crash": crash,
            "skewed": skewed,
        }
        return self._fork(name, order)

    def second(self, name: str) -> Worker:
        """Start a second actor of the vendor `name`. When /v1/vendors shows both actors, return the new one's
        process.
        """
        worker = self._fork(f"{name} 2", {**self.workers[name].order, "log": str(self.folder / f"{name}-2.log")})
        self.until(lambda: any(v["name"] == name and len(v["breaker"]) == 2 for v in self.vendors()), READY_S)
        return worker

    def _fork(self, name: str, order: dict[str, Any]) -> Worker:
        self.workers[name] = Worker(name, self._nursery.fork(order), order)
        return self.workers[name]

    def _keep(self) -> None:
        while not self._over.wait(0.1):
            for name, worker in list(self.workers.items()):
                if not worker.alive():
                    self.deaths += 1
                    again = dict(worker.order)
                    if (again["crash"] or {}).get("nth"):
                        again["crash"] = None  # this process died as ordered; its successor must live
                    self._fork(name, again)

    def link(self) -> Link:
        """Return a connection to Redis that a test can break."""
        self._links.append(Link(self.folder / "s"))
        return self._links[-1]

    def restart_redis(self, after_s: float = 0.0) -> None:
        """Kill Redis. Start it again on the same directory after `after_s` seconds."""
        os.kill(self.redis_pid(), signal.SIGKILL)
        time.sleep(after_s)
        self.server.start()

    def redis_pid(self) -> int:
        pid = self.server.pid()
        assert pid is not None
        return pid

    def append_only_file(self) -> Path:
        return append_only_file(self.folder / "redis")

    def store(self) -> redis.Redis:
        return self.server.client()

    def close(self) -> None:
        """End all processes with SIGKILL, which also ends frozen processes."""
        self._over.set()
        if self._keeping is not None:
            self._keeping.join(5)
        for worker in self.workers.values():
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
        for link in self._links:
            link.close()
        pid = self.server.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- ask

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def ask(self, path: str) -> tuple[int, Any]:
        """Return the status and the body of a GET, or (0, None) if nothing answers."""
        try:
            with urllib.request.urlopen(f"{self.api}{path}", timeout=3) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if path != "/metrics" else text.decode()
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")
        except OSError:
            return 0, None

    def tell(self, path: str, body: dict[str, Any]) -> Any:
        """Send an operator's POST and return its answer."""
        return _ask("POST", f"{self.api}{path}", body)

    def plan(self) -> dict[str, Any]:
        text = self.store().hget("{nd:0}:plan", "plan")
        return dict(json.loads(text)["vendors"]) if text else {}

    def vendors(self) -> list[dict[str, Any]]:
        status, body = self.ask("/v1/vendors")
        return list(body["vendors"]) if status == 200 else []

    def metric(self, name: str) -> float:
        """Return the sum of a counter or gauge over all its label values.

        Intake adds up the totals once a second, so the sum may be a second old.
        """
        status, text = self.ask("/metrics")
        assert status == 200, status
        values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)]
        return sum(float(value) for value in values)

    def actors(self) -> dict[str, str]:
        """Return the state of each incarnation: live, stopped or dead."""
        return dict(self.store().hgetall("{nd:0}:actors"))

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    # ---- act

    def post(
        self, bodies: Sequence[Body], rate: float, *steps: tuple[float, Callable[[], Any]], **more: Any
    ) -> list[Posted]:
        """Post `bodies` at a steady rate and return them as the client saw them.

        Each of `steps` is a time in seconds from the start, and a function that is called at that time. The steps are
        given in the order of their times. `more` goes to the load client.
        """

        def act() -> None:
            began_s = time.monotonic()
            for at_s, step in steps:
                time.sleep(max(0.0, began_s + at_s - time.monotonic()))
                step()

        async def run() -> list[Posted]:
            acting = asyncio.ensure_future(asyncio.to_thread(act))
            posted = await post_steadily(self.api, bodies, rate, **more)
            await acting
            return posted

        return asyncio.run(run())

    def judge(self, posted: Sequence[Posted], drain_s: float = DRAIN_S, settled: bool = True) -> Findings:
        """Wait until nothing is left to do in the store, then judge the run. With `settled=False`, judge at once."""
        if settled:
            with contextlib.suppress(AssertionError):
                self.until(lambda: waiting(self.store()) == 0, drain_s)
        received = {vendor: self.sandbox.received(vendor)["received"] for vendor in VENDORS}
        return examine(posted, received, CHANNELS, self.store())

    def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Wait until `condition` holds and return the seconds that it took.

        If `condition` does not hold within `seconds`, AssertionError is raised, with the end of the logs.
        """
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            with contextlib.suppress(redis.RedisError, OSError):
                if condition():
                    return time.monotonic() - began
            time.sleep(0.05)
        raise AssertionError(f"did not hold within {seconds} s\n{self.logs()[-4000:]}")


MakeBench = Callable[..., Bench]
"""The fixture `make_bench` makes a bench with changed settings. The bench is not started yet."""


def append_only_file(folder: Path) -> Path:
    """Return the file to which Redis appends now.

    Up to Redis 6.2 there is a single append-only file. From Redis 7 on there are several, and Redis appends to the
    newest one.
    """
    found = sorted(folder.glob("**/appendonly.aof*"), key=lambda path: path.stat().st_mtime)
    return [path for path in found if path.suffix == ".aof" and ".base." not in path.name][-1]


def settings(sandbox_url: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the sandbox's configuration, reduced to the channel SMS.

    `changes` replace whole sections or, one level below, single fields.
    """
    found = yaml.safe_load((resources.files("cluster") / "sandbox.yaml").read_text())
    vendors = {name: found["vendors"][name] for name in VENDORS}
    for name, vendor in vendors.items():
        vendor["options"]["base_url"] = f"{sandbox_url}/{name}"
        vendor["timeout_s"] = 3.0
        vendor["breaker"] = {"open_wait_s": 1, "open_wait_s_max": 2, "slow_duration_s": 1}
    base: dict[str, Any] = {
        "vendors": vendors,
        "routes": [{"channel": "sms", "chain": list(VENDORS)}],
        "events": {"paid": {"notifications": [{"channel": "sms", "template": "paid-sms"}]}},
        "templates": {"paid-sms": found["templates"]["paid-sms"]},
    }
    for section, value in changes.items():
        base[section] = {**base.get(section, {}), **value}
    return base


def paid(count: int, **fields: Any) -> list[Body]:
    """Return `count` checkouts with one SMS each and order numbers that were never used before.

    `fields` are added to each body.
    """
    return [
        (key, {"event": "paid", "recipient": body["recipient"], "data": body["data"], **fields})
        for key, body in fresh_checkouts(count)
    ]


def _ask(method: str, url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
