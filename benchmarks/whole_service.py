"""Runs the whole service under load for the benchmarks: checkouts to post, the CPU of each part, and what arrived."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
import yaml

import cluster
from benchmarks.cpu_meter import CpuMeter
from benchmarks.processes import until, workspace
from cluster.local.service import Service
from cluster.rehearsal.checkouts import Checkout
from cluster.rehearsal.demo import CHANNELS
from cluster.rehearsal.load import Posted, first_try, percentile, post_steadily, waited_ms
from cluster.rehearsal.sandbox.ledger import Delivery
from cluster.rehearsal.verdict import ORDER, Verdict, judge
from dispatcher.config.settings import parse_settings
from dispatcher.errors import DispatcherError

DRAIN_S = 70.0
"""How long to wait for the next delivery, in seconds.

The longest wait of a retry is 2**6 s. A message that has not arrived a little later is not on its way.
"""

QUIET_S = 0.3
"""The seconds without a delivery after which the received messages are judged."""

WARM, FIRST_WARM = 100, 900_000
PROBES, FIRST_PROBE = 10, 910_000
_probed = itertools.count()
NUMBERS_EACH = 1_000_000
"""How many order numbers each user of a shared installation gets. The installation remembers idempotency keys."""

FIXED = {"vendors": {name: {"replicas_max": 1} for name in CHANNELS}, "intake": {"replicas_max": 2}}
"""Changes that keep the pools at their smallest sizes.

A new actor needs 3 s of a core to start, and pools grow at times when no core is free.
"""

INTAKE_REPLICAS, VENDOR_ACTORS, MESSAGES = 2, len(CHANNELS), 2
"""The pool sizes of a service with `FIXED`, and the number of notifications of each trigger of `bodies`."""

VENDOR_MS = 50.0
LATE_S, GROWTH_S, P99_SANE_MS = 2.0, 0.25, 500.0
"""The limits of `Run.sustained`: the delay of the last delivery, the growth of the delay, and the accept p99.

One stall of the disk is no overload, but deliveries that become later and later are.
"""


@contextlib.contextmanager
def running(changes: Mapping[str, Any] | None = None) -> Iterator[tuple[Service, float]]:
    """Yield a warm installation with the sandbox vendors, and the seconds until it was ready.

    `changes` are merged into the sandbox's configuration, mapping by mapping. Inside a `sharing` block, the shared
    installation is used, and `changes` are validated but have no other effect. Raises ConfigError if the validation
    fails.
    """
    if _shared is not None:
        with _shared.lent(changes) as service:
            yield service, _shared.ready_s
        return
    with workspace() as folder:
        config = None
        if changes:
            config = folder / "config.yaml"
            config.write_text(yaml.safe_dump(merged(sandbox_config(), changes)))
        service = Service(folder / "state", config)
        try:
            ready_s = service.start()
            asyncio.run(post_steadily(service.api, bodies(WARM, start=FIRST_WARM), 50))
            yield service, ready_s
        finally:
            service.stop()
            service.clean_up()


@dataclass(slots=True)
class Shared:
    """One installation that the benchmarks of a smoke run use one after another.

    When a benchmark begins, nothing is queued and every vendor works.
    """

    service: Service
    ready_s: float
    first_order: int = 0

    @contextlib.contextmanager
    def lent(self, changes: Mapping[str, Any] | None) -> Iterator[Service]:
        """Yield the shared installation to one benchmark. At the end, repair the vendors and wait until nothing is
        queued.

        `changes` are the changes of the configuration that the benchmark wants. They are only checked for faults here.

        Raises DispatcherError if something is still queued, or a breaker is not closed, after `REST_S` seconds.
        """
        parse_settings(merged(sandbox_config(), changes or {}))
        self.first_order += NUMBERS_EACH
        forget(self.service)
        try:
            yield self.service
        finally:
            forget(self.service)
            release_all(self.service)
            if not recovered(self.service, REST_S):
                states = {name: (v["state"], v["queued"]) for name, v in vendors(self.service).items()}
                raise DispatcherError(f"after {REST_S:.0f} s the shared installation is not at rest: {states}")


REST_S = 120.0
_shared: Shared | None = None


@contextlib.contextmanager
def sharing(changes: Mapping[str, Any]) -> Iterator[None]:
    """Start one installation, which every `running` of this process uses inside the `with` block."""
    global _shared
    with running(changes) as (service, ready_s):
        os.environ.update(service.sandbox_variables)  # the configuration names them
        _shared = Shared(service, ready_s)
        try:
            yield
        finally:
            _shared = None


def sandbox_config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((Path(cluster.__file__).parent / "sandbox.yaml").read_text())
    return found


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for name, value in changes.items():
        below = found.get(name)
        found[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return found


def bodies(count: int, start: int = 0) -> list[tuple[str, Checkout]]:
    """Return `count` checkouts with distinct recipients and order numbers. The order number is the idempotency key."""
    start += _shared.first_order if _shared else 0
    return [
        (
            f"N{n:06d}",
            {
                "event": "checkout.completed",
                "recipient": {"id": f"c{n}", "email": f"c{n}@example.com", "phone": f"+49151{10000000 + n}"},
                "data": {"order": f"N{n:06d}", "total": f"{n % 90 + 9}.90", "currency": "EUR", "name": f"Ada {n}"},
            },
        )
        for n in range(start, start + count)
    ]


def collect(service: Service) -> dict[str, list[Delivery]]:
    return {vendor: service.received(vendor)["received"] for vendor in CHANNELS}


def vendors(service: Service) -> dict[str, dict[str, Any]]:
    """Return the answer of `/v1/vendors`, by vendor name."""
    return {entry["name"]: entry for entry in service.get("/v1/vendors")["vendors"]}


def vendor_actors(service: Service) -> int:
    """Return how many vendor actors run, in all pools together. Their processes are counted, because an overloaded
    service may not answer.
    """
    return len(service.pids("ServeReplica:vendor-"))


def fault_all(service: Service, **fault: Any) -> None:
    for vendor in CHANNELS:
        service.fault(vendor, **fault)


def override(service: Service, vendor: str, state: str) -> None:
    """Set an operator's override for a vendor. With `open` nothing is sent to the vendor. With `auto` the override
    ends.
    """
    request = urllib.request.Request(
        f"{service.api}/v1/vendors/{vendor}/override",
        json.dumps({"state": state, "why": "benchmark"}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=5).close()


def hold_all(service: Service) -> None:
    """Stop all dispatch with overrides, and wait until no vendor gets messages. New notifications are queued."""
    for vendor in CHANNELS:
        override(service, vendor, "open")
    until(lambda: all(v["state"] == "forced_open" for v in vendors(service).values()), 20.0)


def release_all(service: Service) -> None:
    for vendor in CHANNELS:
        override(service, vendor, "auto")


def recovered(service: Service, seconds: float = 60.0) -> bool:
    """Wait until nothing is queued and every breaker is closed. Return False if that takes longer than `seconds`.

    A half-open breaker closes when messages succeed. So some more messages are posted while nothing is queued.
    """
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        found = vendors(service).values()
        if all(v["state"] == "closed" and not v["queued"] for v in found):
            return True
        if any(v["state"] == "half_open" for v in found) and not any(v["queued"] for v in found):
            probes = bodies(PROBES, FIRST_PROBE + PROBES * next(_probed))
            asyncio.run(post_steadily(service.api, probes, 50))
        time.sleep(0.2)
    return False


def forget(service: Service) -> None:
    """Make the sandbox vendors forget what they received, and end their faults."""
    request = urllib.request.Request(f"{service.sandbox}/_sandbox", method="DELETE")
    urllib.request.urlopen(request, timeout=5).close()


def arrived(service: Service) -> int:
    """Return how many deliveries all vendors have recorded together."""
    with urllib.request.urlopen(f"{service.sandbox}/_sandbox", timeout=5) as answer:
        return sum(int(vendor["accepted"]) for vendor in json.load(answer)["vendors"])


def drained(service: Service, posted: Sequence[Posted]) -> Verdict:
    """Wait until all notifications of `posted` have arrived, and return the verdict.

    The wait also ends when no further notification has arrived for `DRAIN_S` seconds. Deliveries of other rounds are
    ignored.
    """
    keys = {p.key for p in posted}
    seen, judged, most = -1, -1, -1
    changed_s = time.monotonic()
    next_s, until_s = changed_s + 1.0, changed_s + DRAIN_S
    verdict = Verdict()
    while True:
        count, now_s = arrived(service), time.monotonic()
        if count != seen:
            seen, changed_s = count, now_s
        # Judging reads every delivery, so not each look judges. Deliveries of other rounds may go on forever.
        if count != judged and (now_s - changed_s >= QUIET_S or now_s >= next_s):
            verdict, judged = _judge(service, posted, keys), count
            next_s = now_s + max(1.0, 5 * (time.monotonic() - now_s))
            if not verdict.lost:
                return verdict
            if verdict.delivered > most:
                most, until_s = verdict.delivered, time.monotonic() + DRAIN_S
        if now_s > until_s:
            return verdict
        time.sleep(0.1)


def _judge(service: Service, posted: Sequence[Posted], keys: set[str]) -> Verdict:
    received = {
        vendor: [d for d in found if (m := ORDER.search(str(d["text"]))) and m.group(1) in keys]
        for vendor, found in collect(service).items()
    }
    return judge(posted, received, CHANNELS)


def losses(service: Service, verdict: Verdict) -> dict[str, int]:
    """Count the acknowledged notifications that were lost, repeated, and repeated without an explanation.

    An attempt with an unknown outcome explains a repeat. Its vendor may have the message, and under `resend` the next
    vendor gets it too.
    """
    unexplained = [name for name in verdict.duplicated if not _has_unknown(service, *name.split("/"))]
    return {"lost": len(verdict.lost), "duplicated": verdict.repeats, "unexplained": len(unexplained)}


def _has_unknown(service: Service, key: str, channel: str) -> bool:
    found = service.get(f"/v1/triggers?idempotency_key={urllib.parse.quote(key)}")
    attempts = [a for n in found["notifications"] if n["channel"] == channel for a in n["attempts"]]
    return any(attempt["outcome"] == "unknown" for attempt in attempts)


@dataclass(frozen=True, slots=True)
class Run:
    """One steady load and the verdict on it, after everything had arrived.

    `cpu_s` maps each part of the service to the CPU seconds that it used during `seconds`.
    """

    posted: Sequence[Posted]
    verdict: Verdict
    cpu_s: Mapping[str, float]
    seconds: float
    losses: Mapping[str, int]

    @property
    def accept_ms(self) -> list[float]:
        return waited_ms(self.posted)

    @property
    def first_try(self) -> float:
        """The share of the triggers that were acknowledged at their first try."""
        return first_try(self.posted)

    @property
    def late_s(self) -> float:
        """Return the seconds from the last trigger's due time to the last delivery."""
        return max(self.verdict.delivered_at.values(), default=0.0) - self.posted[-1].due_s

    @property
    def growth_s(self) -> float:
        """The growth of the delay during the run, in seconds.

        This is the median delay of the last quarter of the triggers minus the median delay of the second quarter. A
        trigger's delay is the time until its messages were delivered.
        """
        quarter = max(1, len(self.posted) // 4)
        second, last = (self._delay_s(part) for part in (self.posted[quarter : 2 * quarter], self.posted[-quarter:]))
        return last - second if second and last else 0.0

    def _delay_s(self, posted: Sequence[Posted]) -> float:
        at = self.verdict.delivered_at
        delays = [at[name] - p.due_s for p in posted for name in (f"{p.key}/sms", f"{p.key}/email") if name in at]
        return statistics.median(delays) if delays else 0.0

    @property
    def sustained(self) -> bool:
        """True if the service could have continued under this load.

        All triggers were accepted at the first try, the accept p99 is not above `P99_SANE_MS`, and nothing was lost or
        repeated. The last delivery came soon after the last post, and deliveries did not become later and later.
        """
        return (
            self.first_try == 1.0
            and not self.verdict.lost
            and not self.verdict.repeats
            and self.late_s <= LATE_S
            and self.growth_s <= GROWTH_S
            and percentile(self.accept_ms, 0.99) <= P99_SANE_MS
        )

    def cpu_ms_per_trigger(self) -> dict[str, float]:
        return {part: cpu * 1000 / len(self.posted) for part, cpu in self.cpu_s.items()}


def load(
    service: Service,
    rate: float,
    count: int,
    start: int,
    *,
    after: Callable[[], None] = lambda: None,
    beside: contextlib.AbstractContextManager[Any] | None = None,
) -> Run:
    """Post `count` triggers at `rate` a second, each once. Return the run when what was accepted has arrived.

    `start` is the number of the first trigger. `beside` is a context manager that is entered for the time of the
    posting. `after` is called when the posting has ended.
    """
    meter, began_s = CpuMeter(service), time.process_time()
    with beside or contextlib.nullcontext():
        posted = uvloop.run(post_steadily(service.api, bodies(count, start), rate, give_up_s=0.0))
    client_s = time.process_time() - began_s
    after()
    verdict = drained(service, posted)
    seconds, used = meter.seconds(), meter.read() | {"client": client_s}
    return Run(posted, verdict, used, seconds, losses(service, verdict))
