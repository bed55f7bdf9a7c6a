"""Compares a checkout that sends SMS and e-mail itself with one that posts a trigger to the dispatcher.

    python -m benchmarks.checkout_before_after [--rate 50] [--seconds 10] [--rounds 2]

Both use the same checkout server (`benchmarks/checkout_server.py`), the same open-loop client and the same vendors. The
first vendor of each channel (sms-a, email-a) answers after 50 ms, after 2 s, or not at all while checkouts come. The
server that sends by itself knows only these vendors. The dispatcher may fail over to sms-b and email-b, which are
healthy. Measured for each condition:

* latency, from the time when a checkout was due. A checkout that gets no answer within 10 s counts as 10 s;
* answered: the share of checkouts that got an answer. The shop sells even if it cannot notify, so this says nothing
  about the messages;
* notified: the share of checkouts for which the server says that their messages were handed over;
* delivered: the share of messages (two for each checkout) that the vendors received until the last answer, and the
  share that they received in the end, after the sick vendors were repaired.

Figures are medians of rounds. The JSON file also has the least and the greatest. The command fails if a notification
that the dispatcher acknowledged was lost or repeated. A hanging vendor delivers nothing, so it is no excuse for a
repeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import click

from benchmarks import results
from benchmarks.processes import Sandbox, Worker, until, workspace
from cluster.local.service import Service
from cluster.local.state_directory import free_port
from cluster.rehearsal import provenance
from cluster.rehearsal.checkouts import checkouts
from cluster.rehearsal.demo import CHANNELS
from cluster.rehearsal.load import percentile
from cluster.rehearsal.verdict import ORDER
from dispatcher.core.json_object import JsonObject

CLIENT_S = 10.0
DRAIN_S = 60.0
SICK = ("sms-a", "email-a")
CONDITIONS: dict[str, JsonObject] = {
    "50 ms": {"mode": "none", "latency_ms": 50},
    "2 s": {"mode": "slow", "latency_ms": 2000},
    "hanging": {"mode": "hang"},
}
Round = dict[str, float]

Deliveries = Sequence[Mapping[str, Any]]


def orders(count: int, start: int) -> list[dict[str, str]]:
    return [{**body["data"], **body["recipient"]} for _, body in checkouts(count, seed=start, start=start)]


class Answer(NamedTuple):
    """The answer that the shop's customer got, and whether the shop says that the messages were handed over."""

    order: str
    ms: float
    paid: bool
    notified: bool


async def shop(url: str, wanted: list[dict[str, str]], rate: float) -> list[Answer]:
    """Post each order when it is due, at `rate` orders a second. Return the answers in the order of `wanted`."""

    async def one(session: aiohttp.ClientSession, order: dict[str, str], due_s: float) -> Answer:
        paid = notified = False
        try:
            async with session.post(f"{url}/checkout", json=order) as answer:
                found = await answer.json()
                paid, notified = answer.status == 200, bool(found["notified"])
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
            paid = False
        ms = (time.perf_counter() - due_s) * 1000 if paid else CLIENT_S * 1000
        return Answer(order["order"], ms, paid, notified)

    timeout = aiohttp.ClientTimeout(total=CLIENT_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        began, tasks = time.perf_counter() + 0.05, []
        for n, order in enumerate(wanted):
            due_s = began + n / rate
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            tasks.append(asyncio.ensure_future(one(session, order, due_s)))
        return list(await asyncio.gather(*tasks))


class Subject:
    """A running checkout server, with the vendors behind it and the record of what these vendors received.

    `fault` sets the fault of a vendor, and `received` returns a vendor's deliveries. `drain_s` is how long to wait for
    deliveries.
    """

    def __init__(
        self,
        url: str,
        fault: Callable[..., None],
        received: Callable[[str], Sequence[Mapping[str, Any]]],
        drain_s: float,
    ) -> None:
        self.url, self.fault, self._received, self._drain_s = url, fault, received, drain_s
        self.number = 1

    def arrived(self, numbers: set[str]) -> Counter[tuple[str, str]]:
        """Return how often the vendors received each message, by (order number, channel).

        Only the orders whose numbers are in `numbers` are counted.
        """
        found: Counter[tuple[str, str]] = Counter()
        for vendor, channel in CHANNELS.items():
            for delivery in self._received(vendor):
                match = ORDER.search(delivery["text"])
                if match and match.group(1) in numbers:
                    found[match.group(1), channel] += 1
        return found

    def delivered(self, numbers: set[str]) -> int:
        return len(self.arrived(numbers))

    def condition(self, fault: JsonObject, rate: float, seconds: float) -> Round:
        """Run one round under one fault and return its figures. At the end the vendors are healthy and nothing
        waits.
        """
        wanted = orders(int(rate * seconds), self.number)
        self.number += len(wanted)
        for vendor in SICK:
            self.fault(vendor, **fault)
        answers = asyncio.run(shop(self.url, wanted, rate))
        numbers = {order["order"] for order in wanted}
        in_time = self.delivered(numbers)
        if fault["mode"] != "hang":
            # A slow vendor drains slowly too. A hanging vendor is repaired first, because it never answers open calls.
            until(lambda: self.delivered(numbers) == 2 * len(wanted), self._drain_s, 0.5)
        for vendor in SICK:
            self.fault(vendor, mode="none", latency_ms=50)
        until(lambda: self.delivered(numbers) == 2 * len(wanted), self._drain_s, 0.5)
        latency, arrived = [answer.ms for answer in answers], self.arrived(numbers)
        promised = {(answer.order, channel) for answer in answers if answer.notified for channel in CHANNELS.values()}
        return {
            "p50_ms": percentile(latency, 0.5),
            "p99_ms": percentile(latency, 0.99),
            "answered": sum(answer.paid for answer in answers) / len(answers),
            "notified": sum(answer.notified for answer in answers) / len(answers),
            "delivered_at_last_answer": in_time / (2 * len(wanted)),
            "delivered": len(arrived) / (2 * len(wanted)),
            "lost": len(promised - set(arrived)),
            "unexplained": arrived.total() - len(arrived),
        }


@contextlib.contextmanager
def before(folder: Path, threads: int, timeout_s: float) -> Iterator[Subject]:
    """Yield the checkout server that calls the vendors itself."""
    sandbox = Sandbox()
    try:
        with _server(folder, "direct", sandbox.url, "--threads", str(threads), "--timeout-s", str(timeout_s)) as url:
            yield Subject(url, sandbox.fault, sandbox.received, timeout_s + 1.0)
    finally:
        sandbox.stop()


@contextlib.contextmanager
def after(folder: Path, threads: int) -> Iterator[Subject]:
    """Yield the checkout server that posts its messages to the dispatcher. `before` yields the one that calls the
    vendors itself.
    """
    service = Service(folder / "state")
    try:
        service.start()
        with _server(folder, "dispatcher", service.api, "--threads", str(threads)) as url:
            yield Subject(url, service.fault, lambda vendor: service.received(vendor)["received"], DRAIN_S)
    finally:
        service.stop()
        service.clean_up()


@contextlib.contextmanager
def _server(folder: Path, mode: str, url: str, *extra: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.checkout_server", mode, "--url", url, "--port", str(port), *extra]
    worker = Worker(command, {}, folder / f"{mode}.log", provenance.ROOT)

    def answers() -> bool:
        return asyncio.run(shop(f"http://127.0.0.1:{port}", orders(1, 900_000), 10.0))[0].paid

    try:
        if not until(answers, 20.0, 0.2):
            raise click.ClickException(f"the checkout server did not start:\n{worker.tail()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        worker.stop()


def measure(subject: Subject, rate: float, seconds: float, rounds: int) -> dict[str, dict[str, Any]]:
    asyncio.run(shop(subject.url, orders(int(2 * rate), 800_000), rate))  # warm: connections, imports, code paths
    found: dict[str, list[Round]] = {name: [] for name in CONDITIONS}
    for _ in range(rounds):
        for name, fault in CONDITIONS.items():
            found[name].append(subject.condition(fault, rate, seconds))
    return {name: results.spreads(runs) for name, runs in found.items()}


@click.command(help=__doc__)
@click.option("--rate", default=50.0, show_default=True, help="checkouts a second")
@click.option("--seconds", default=10.0, show_default=True, help="of each condition in each round")
@click.option("--rounds", default=2, show_default=True)
@click.option("--threads", default=200, show_default=True, help="of the checkout server; Tomcat's default")
@click.option("--timeout-s", default=5.0, show_default=True, help="of a vendor call inside the checkout")
@results.options
def main(
    *,
    rate: float,
    seconds: float,
    rounds: int,
    threads: int,
    timeout_s: float,
    quick: bool,
    results_: Path | None,
) -> None:
    if quick:
        rate, seconds, rounds, timeout_s = 10.0, 1.0, 1, 2.5
    with workspace() as folder:
        with before(folder, threads, timeout_s) as subject:
            figures_before = measure(subject, rate, seconds, rounds)
        with after(folder, threads) as subject:
            figures_after = measure(subject, rate, seconds, rounds)
    figures = {
        "rate_per_s": rate,
        "seconds": seconds,
        "rounds": rounds,
        "threads": threads,
        "vendor_timeout_s": timeout_s,
        "client_timeout_s": CLIENT_S,
        "sick_vendors": list(SICK),
        "before": figures_before,
        "after": figures_after,
        "change_percent": {
            name: {p: _change(figures_before[name][p], figures_after[name][p]) for p in ("p50_ms", "p99_ms")}
            for name in CONDITIONS
        },
    }
    show(figures)
    packages = (*provenance.PACKAGES, "starlette", "urllib3")
    results.report("checkout_before_after", figures, results_, quick, packages=packages)
    results.convict(figures_after.values())


def _change(was: dict[str, Any], now: dict[str, Any]) -> float:
    return round((float(now["median"]) / float(was["median"]) - 1) * 100, 1)


def show(figures: dict[str, Any]) -> None:
    shares = ("answered", "notified", "delivered_at_last_answer", "delivered")
    heading = ["answered %", "notified %", "delivered by then %", "in the end %"]
    rows: list[list[Any]] = [[" and ".join(figures["sick_vendors"]), "", "p50 ms", "p99 ms", *heading]]
    for name in CONDITIONS:
        for side in ("before", "after"):
            f = {field: spread["median"] for field, spread in figures[side][name].items()}
            percents = [round(f[share] * 100, 2) for share in shares]
            rows.append([name, side, round(f["p50_ms"], 1), round(f["p99_ms"], 1), *percents])
        change = figures["change_percent"][name]
        rows.append([name, "change", f"{change['p50_ms']:+.1f} %", f"{change['p99_ms']:+.1f} %", *[""] * len(shares)])
    results.table(rows)


if __name__ == "__main__":
    main()
