"""A cluster of machines with everything around it, on which tests deploy the service and break it.

    head     10.77.0.1    Ray's head, 0 CPUs
    w1, w2   10.77.0.2-3  workers
    store    10.77.0.4    Redis of the notifications, 6379, and of Ray's GCS, 6380
    outside  10.77.0.5    callers, vendors; a laptop that is no Ray node

`dispatcher node prepare` prepares every node. Each node has Ray's token, and its secrets are in its environment.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import redis
import yaml

from cluster.local import redis_binary
from cluster.rehearsal.drills.play import fresh_checkouts
from cluster.rehearsal.load import Posted
from tests.chaos.bench.checker import Findings, examine, waiting
from tests.chaos.running import intake_servers
from tests.cluster.client import Row
from tests.cluster.machines import Machine, machines

NODES = ("head", "w1", "w2")
WORKERS = ("w1", "w2")
PYTHON = sys.executable
PORT = 8000
SCOPES = ("--scope", "send", "--scope", "read", "--scope", "operate")
PASSWORD = "correct-horse"
VENDORS = {"sms-a": "sms", "sms-b": "sms", "email-a": "email", "email-b": "email"}
LIST_NODES = """
import ray
ray.init("auto", logging_level="ERROR")
print([node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]])
"""
ASK = """
import sys, urllib.request, urllib.error
method, url, data, key, idempotency_key = sys.argv[1:6]
request = urllib.request.Request(url, data.encode() or None, {"Content-Type": "application/json"}, method=method)
if key:
    request.add_header("Authorization", "Bearer " + key)
if idempotency_key:
    request.add_header("Idempotency-Key", idempotency_key)
try:
    with urllib.request.urlopen(request, timeout=5) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print(0, error)
"""


@dataclass
class Run:
    """The result of a load with a fault. Times are epoch seconds."""

    rows: list[Row]
    findings: Findings
    marks: dict[str, float] = field(default_factory=dict)
    received_s: dict[str, list[float]] = field(default_factory=dict)  # vendor → when each message arrived

    def first_try_failures(self, host: str) -> list[Row]:
        """Return the triggers that were first sent to this host and not accepted there."""
        return [row for row in self.rows if row.first_host == host and row.first_status != 202]

    def last_failure_s(self, hosts: Sequence[str], since_s: float) -> float:
        """Return the seconds from `since_s` to the last trigger whose first try failed at one of these hosts.

        Return 0 if no first try failed.
        """
        late = [row.due_s - since_s for host in hosts for row in self.first_try_failures(host)]
        return max([0.0, *late])

    def accepted_at_first_try(self) -> float:
        return sum(row.first_status == 202 for row in self.rows) / len(self.rows)

    def gap_s(self, channel: str, from_s: float, to_s: float) -> float:
        """Return the longest time between `from_s` and `to_s` in which no vendor of the channel received anything."""
        times = sorted(
            t for v, ts in self.received_s.items() if VENDORS[v] == channel for t in ts if from_s <= t <= to_s
        )
        edges = [from_s, *times, to_s]
        return max(later - earlier for earlier, later in itertools.pairwise(edges))


class Rig:
    """The machines of one cluster, with the Redis servers, vendors and Ray processes that run on them."""

    def __init__(self, found: Mapping[str, Machine], folder: Path) -> None:
        self.machines, self.folder = found, folder
        self.token = secrets.token_hex(32)
        self.head, self.w1, self.w2 = (found[name] for name in NODES)
        self.store_machine, self.outside = found["store"], found["outside"]
        self.api_key = ""
        self.config = folder / "config.yaml"
        self.stores = ["redis"]  # the names of the Redis servers of all cells
        self.redis_url = f"redis://:{PASSWORD}@{self.store_machine.address}:6379/0"

    # ---- start

    def start(self) -> Rig:
        """Start the stores, the vendors, and Ray on every node."""
        self.start_redis("redis", 6379, "always")
        self.start_redis("gcs", 6380, "everysec")
        self.outside.begin(
            *(PYTHON, "-m", "cluster.rehearsal.sandbox", "--host", self.outside.address),
            *("--port", "8090", "--smtp-port", "8025"),
            log="sandbox.log",
        )
        for name in NODES:
            self.prepare(self.machines[name])
        self.start_ray(self.head)
        starting = [threading.Thread(target=self.start_ray, args=(self.machines[name],)) for name in WORKERS]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()
        self.until(lambda: len(self.nodes()) == len(NODES), 60, "every node has joined")
        return self

    def start_redis(self, name: str, port: int, fsync: str) -> None:
        folder = self.store_machine.disk / name
        folder.mkdir(exist_ok=True)
        options = {
            "bind": "0.0.0.0",
            "port": str(port),
            "requirepass": PASSWORD,
            "dir": f"/tmp/{name}",
            "unixsocket": f"/tmp/{name}/s",
            "appendonly": "yes",
            "appendfsync": fsync,
            "save": "",
            "maxmemory": "512mb",
            "maxmemory-policy": "noeviction",
        }
        words = [word for option, value in options.items() for word in (f"--{option}", value)]
        self.store_machine.begin(redis_binary.binary().path, *words, log=f"{name}.log")
        self.until(lambda: bool(self.client(name).ping()), 20, f"{name} answers")

    def client(self, name: str = "redis") -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self.store_machine.disk / name / "s"), password=PASSWORD, decode_responses=True
        )

    def prepare(self, machine: Machine, **changes: str | None) -> None:
        """Prepare a node as the documents say. `changes` replace variables, and None removes a variable."""
        (machine.disk / "home").mkdir(exist_ok=True)
        machine.environment = {}
        machine.checked(PYTHON, "-m", "cluster.cli.main", "node", "prepare", "/tmp/node")
        lines = (machine.disk / "node" / "node.env").read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        own: dict[str, str | None] = {
            **settings,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "DISPATCHER_REDIS_URL": self.redis_url,
            "SANDBOX_URL": f"http://{self.outside.address}:8090",
            "SANDBOX_SMTP_HOST": self.outside.address,
            "SMS_SECRET": "sandbox",
            **changes,
        }
        machine.environment = {name: value for name, value in own.items() if value is not None}

    def start_ray(self, machine: Machine) -> None:
        """Run `ray start` on the machine as the documents say.

        The head gets no CPUs. It keeps the state of Ray's GCS in Redis, on the machine `store`.
        """
        same = ["--object-store-memory=78643200", "--disable-usage-stats", f"--node-ip-address={machine.address}"]
        ray = [PYTHON, "-m", "ray.scripts.scripts", "start"]
        if machine is self.head:
            store = {"RAY_REDIS_ADDRESS": f"{self.store_machine.address}:6380", "RAY_REDIS_PASSWORD": PASSWORD}
            words = ["--head", "--port=6379", "--num-cpus=0", "--dashboard-host=127.0.0.1"]
            machine.checked(*ray, *words, f"--redis-password={PASSWORD}", *same, env=store)
        else:
            machine.checked(*ray, f"--address={self.head.address}:6379", "--num-cpus=4", *same)

    # ---- the program

    def dispatcher(
        self, *words: str, on: Machine | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return (on or self.head).run(PYTHON, "-m", "cluster.cli.main", *words, env=env, timeout_s=240)

    def write_config(
        self, changes: Mapping[str, Any] | None = None, edit: Callable[[dict[str, Any]], None] = lambda found: None
    ) -> None:
        """Write the sandbox's configuration for these machines to /tmp/config.yaml on every machine.

        `changes` replace sections. Then `edit` is called with the configuration and changes it in place.
        """
        found = yaml.safe_load((resources.files("cluster") / "sandbox.yaml").read_text())
        found["vendors"]["sms-a"]["options"]["auth_token"] = "${SMS_SECRET}"
        found["vendors"]["email-b"]["options"]["host"] = "${SANDBOX_SMTP_HOST}"
        found["vendors"]["email-b"]["options"]["port"] = 8025
        for vendor in found["vendors"].values():
            vendor["timeout_s"] = 3.0
        found.update(changes or {})
        edit(found)
        for machine in self.machines.values():
            (machine.disk / "config.yaml").write_text(yaml.safe_dump(found))

    def make_key(self) -> None:
        """Make one API key, in the same file on every node."""
        done = self.dispatcher("key", "new", "shop", *SCOPES, "--state-dir", "/tmp/keys")
        assert done.returncode == 0, done.stderr
        self.api_key = done.stdout.strip()
        text = (self.head.disk / "keys" / "api_keys.json").read_text()
        for name in (*WORKERS, "outside"):
            folder = self.machines[name].disk / "keys"
            folder.mkdir(exist_ok=True)
            (folder / "api_keys.json").write_text(text)

    DEPLOY = (
        *("deploy", "--ray-address", "auto", "--redis-url", "${DISPATCHER_REDIS_URL}"),
        *("--config", "/tmp/config.yaml", "--host", "0.0.0.0", "--api-keys", "/tmp/keys/api_keys.json"),
    )

    def deploy(self, *more: str) -> str:
        """Deploy as the documents say, and wait until every vendor has an actor. Return what `deploy` printed."""
        self.write_config()
        self.make_key()
        done = self.dispatcher(*self.DEPLOY, *more)
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        self.until(self.ready, 60, "every vendor has an actor at work")
        return done.stdout + done.stderr

    # ---- look

    def ask(
        self,
        path: str,
        host: Machine | None = None,
        *,
        method: str = "GET",
        body: Any = None,
        idempotency_key: str = "",
    ) -> tuple[int, str]:
        """Send a request to the service from outside, by default to w1. Return the status and the body.

        Status 0 means no answer.
        """
        url = f"http://{(host or self.w1).address}:{PORT}{path}"
        return self._ask(method, url, "" if body is None else json.dumps(body), self.api_key, idempotency_key)

    def _ask(self, method: str, url: str, data: str = "", key: str = "", idempotency_key: str = "") -> tuple[int, str]:
        told = self.outside.checked(PYTHON, "-I", "-S", "-c", ASK, method, url, data, key, idempotency_key)
        status, _, text = told.partition(" ")
        return int(status), text

    def ready(self, host: Machine | None = None) -> bool:
        status, text = self.ask("/v1/vendors", host)
        return status == 200 and all(len(vendor["breaker"]) >= 1 for vendor in json.loads(text)["vendors"])

    def nodes(self) -> list[str]:
        """Return the addresses of Ray's live nodes."""
        done = self.head.run(PYTHON, "-c", LIST_NODES)
        return list(yaml.safe_load(done.stdout)) if done.returncode == 0 else []

    def replicas(self) -> dict[str, list[str]]:
        """Return for each application the machines on which its replicas run.

        The machines' process lists are read for that.
        """
        found: dict[str, list[str]] = {}
        for name in NODES:
            if self.machines[name].on:
                for command in self.machines[name].processes().values():
                    if "ServeReplica:" in command:
                        found.setdefault(command.split(":")[3], []).append(name)
        return found

    def place(self, *applications: str) -> dict[str, set[str]]:
        found = self.replicas()
        return {name: set(found.get(name, ())) for name in applications}

    def pids(self, machine: Machine, word: str) -> list[int]:
        return [pid for pid, command in machine.processes().items() if word in command]

    def fault(self, vendor: str, mode: str = "none", **more: Any) -> None:
        url = f"http://{self.outside.address}:8090/_sandbox/{vendor}/fault"
        assert self._ask("PUT", url, json.dumps({"mode": mode, **more}))[0] == 200

    def received(self, vendor: str) -> list[dict[str, Any]]:
        status, text = self._ask("GET", f"http://{self.outside.address}:8090/_sandbox/{vendor}/received?full=1")
        assert status == 200, text
        return list(json.loads(text)["received"])

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> float:
        """Wait until `condition` holds and return the seconds that it took.

        Raises AssertionError after `seconds`, with `what`, the replicas and the controller's log in its message.
        """
        began_s = time.monotonic()
        while time.monotonic() - began_s < seconds:
            with contextlib.suppress(redis.RedisError, OSError, AssertionError, ValueError):
                if condition():
                    return time.monotonic() - began_s
            time.sleep(0.2)
        raise AssertionError(f"not within {seconds} s: {what}; replicas {self.replicas()}\n{self.logs()}")

    def logs(self) -> str:
        """Return the last lines of the log of Serve's controller."""
        found = sorted(self.head.disk.glob("ray/session_2*/logs/serve/controller_*.log"))
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in found[-1:])

    def accepts(self, host: Machine) -> bool:
        """Return True if a new trigger, posted to this host, is accepted."""
        ((_, body),) = fresh_checkouts(1)
        return self.ask("/v1/triggers", host, method="POST", body=body)[0] == 202

    def known_to_haproxy(self, machine: Machine) -> set[str]:
        """Return the names of the intake replicas that the machine's HAProxy knows. While it is reloaded, return
        none.
        """
        found = [words for words in map(str.split, machine.processes().values()) if words[0].endswith("/haproxy")]
        if len(found) != 1:
            return set()
        (words,) = found
        return intake_servers(machine.checked("cat", words[words.index("-f") + 1]))

    # ---- load

    def load(
        self,
        bodies: Sequence[tuple[str, dict[str, Any]]],
        rate: float,
        *steps: tuple[float, str, Callable[[], Any]],
        hosts: Sequence[Machine] = (),
        drain_s: float = 60.0,
    ) -> Run:
        """Post from outside at a steady rate and return the run.

        Each of `steps` has the seconds from the start, the name of its mark, and a function to call then.
        """
        order = {
            "hosts": [f"http://{host.address}:{PORT}" for host in hosts or (self.w1, self.w2)],
            "rate_per_s": rate,
            "bodies": list(bodies),
            "api_key": self.api_key,
        }
        (self.outside.disk / "order.json").write_text(json.dumps(order))
        with (self.outside.disk / "rows.jsonl").open("w") as sink:
            client = subprocess.Popen(
                self.outside.words([PYTHON, "-m", "tests.cluster.client", "/tmp/order.json"]),
                env=self.outside._environment(None),
                stdout=sink,
            )
            marks, began_s = {}, time.monotonic()
            for at_s, name, step in steps:
                time.sleep(max(0.0, began_s + at_s - time.monotonic()))
                marks[name] = time.time()
                step()
            assert client.wait(len(bodies) / rate + 120) == 0
        rows = [Row(**json.loads(line)) for line in (self.outside.disk / "rows.jsonl").read_text().splitlines()]
        stores = [self.client(name) for name in self.stores]
        with contextlib.suppress(AssertionError):
            self.until(lambda: waiting(*stores) == 0, drain_s, "the stores are drained")
        received = {vendor: self.received(vendor) for vendor in VENDORS}
        posted = [_posted(row) for row in rows]
        times = {vendor: [float(r["t"]) for r in found] for vendor, found in received.items()}
        return Run(rows, examine(posted, received, VENDORS, *stores), marks, times)


def _posted(row: Row) -> Posted:
    return Posted(
        row.key,
        row.due_s,
        sent_s=row.due_s,
        accepted_s=row.accepted_s,
        trigger_id=row.trigger_id,
        status=row.statuses[-1],
        tries=row.tries,
        first_status=row.first_status,
        recipient=row.recipient,
    )


@contextlib.contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    """Yield a started cluster. Nothing of it is left after the `with` block."""
    with machines(folder, *NODES, "store", "outside") as found:
        yield Rig(found, folder).start()
