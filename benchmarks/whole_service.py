"""The whole service under load, as the benchmarks use it: checkouts to post, who uses how much CPU, what arrived."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import cluster
from benchmarks.processes import cpu_s, until, workspace
from cluster.load import Posted, post_steadily
from cluster.service import Service
from cluster.witness import ORDER, Verdict, judge

CHANNELS = {"sms-a": "sms", "sms-b": "sms", "email-a": "email", "email-b": "email"}
DRAIN_S = 70.0
"""The longest wait of a retry (2**6 s) and some: whoever is not there then is not on the way."""
FIRST_WARM = 900_000


WARM = 100


@contextlib.contextmanager
def running(changes: Mapping[str, Any] | None = None) -> Iterator[tuple[Service, float]]:
    """An installation of its own with the sandbox vendors, warmed up, and the seconds until it was ready.

    `changes` are merged into the sandbox's configuration, mapping by mapping.
    """
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


def sandbox_config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((Path(cluster.__file__).parent / "sandbox.yaml").read_text())
    return found


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for name, value in changes.items():
        below = found.get(name)
        found[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return found


def bodies(count: int, start: int = 0) -> list[tuple[str, dict[str, object]]]:
    """`count` checkouts with distinct recipients and order numbers; the order number is the idempotency key."""
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


def collect(service: Service) -> dict[str, list[dict[str, object]]]:
    return {vendor: service.received(vendor)["received"] for vendor in CHANNELS}


PARTS = {
    "intake": "ServeReplica:intake",
    "haproxy": "haproxy",
    "vendors": "ServeReplica:vendor-",
    "supervisor": "ServeReplica:supervisor",
}
"""Which processes make up a part: a word of their command lines. The rest of Ray is "ray", and Redis is Redis."""


class CpuMeter:
    """CPU seconds of each part of a service, since the meter was made.

    What has ended in between counts as it was when last looked at, so a sum never falls.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._seen: dict[str, dict[int, float]] = {}
        self._began = self._total()

    def read(self) -> dict[str, float]:
        return {part: cpu - self._began.get(part, 0.0) for part, cpu in self._total().items()}

    def _total(self) -> dict[str, float]:
        for part, pids in self._pids().items():
            self._seen.setdefault(part, {}).update({pid: cpu_s([pid]) for pid in pids})
        return {part: sum(found.values()) for part, found in self._seen.items()}

    def _pids(self) -> dict[str, set[int]]:
        pids = {part: set(self._service.pids(word)) for part, word in PARTS.items()}
        pids["haproxy"] = {pid for pid in pids["haproxy"] if pid not in pids["intake"]}
        known = set().union(*pids.values())
        pids["ray"] = set(self._service.pids("")) - known
        pids["redis"] = set(self._service.redis_pids())
        return pids


def pss_mib(pids: Iterable[int]) -> float:
    """Memory of these processes, each shared page divided among those that share it."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def vendors(service: Service) -> dict[str, dict[str, Any]]:
    """What `/v1/vendors` says, by name."""
    return {entry["name"]: entry for entry in service.get("/v1/vendors")["vendors"]}


def fault_all(service: Service, **fault: Any) -> None:
    for vendor in CHANNELS:
        service.fault(vendor, **fault)


def override(service: Service, vendor: str, state: str) -> None:
    """An operator's word: `open` sends nothing there, `auto` takes it back."""
    request = urllib.request.Request(
        f"{service.api}/v1/vendors/{vendor}/override",
        json.dumps({"state": state, "why": "benchmark"}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=5).close()


def hold_all(service: Service) -> None:
    """From here on nothing is dispatched; what comes waits."""
    for vendor in CHANNELS:
        override(service, vendor, "open")
    until(lambda: all(v["state"] == "forced_open" for v in vendors(service).values()), 20.0)


def release_all(service: Service) -> None:
    for vendor in CHANNELS:
        override(service, vendor, "auto")


def drained(service: Service, posted: Sequence[Posted]) -> Verdict:
    """Judge when all has arrived, or nothing more for `DRAIN_S`; deliveries of other rounds are not looked at."""
    keys = {p.key for p in posted}
    most, until_s = -1, 0.0
    while True:
        received = {
            vendor: [d for d in found if (m := ORDER.search(str(d["text"]))) and m.group(1) in keys]
            for vendor, found in collect(service).items()
        }
        verdict = judge(posted, received, CHANNELS)
        if verdict.delivered > most:
            most, until_s = verdict.delivered, time.monotonic() + DRAIN_S
        if not verdict.lost or time.monotonic() > until_s:
            return verdict
        time.sleep(0.5)
