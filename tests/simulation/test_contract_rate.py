"""A vendor's contract rate under ten times its load, while actors come and go: never above, hardly below."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar
from unittest import mock

import pytest

from dispatcher.core import plan
from dispatcher.core.sharing import Share
from dispatcher.templates.source import TemplateSource
from tests.simulation.cast import Desk, Office, Order, Slot, buy
from tests.simulation.scene import SETTINGS, World, run, stage

RATE = 40.0
BURST = 4 + 1
"""A tenth of a second's worth over all actors, and one for a share that is less than a whole permit."""

ORDERS, EACH = 40, 10
SECONDS_MAX = 60.0
SEEDS = 6


class Overload(World):
    """One vendor of 40 calls/s, 400 messages within a second; actors come and go for 8 s."""

    SETTINGS: ClassVar[dict[str, Any]] = {
        **SETTINGS,
        "vendors": {"a": {**SETTINGS["vendors"]["a"], "rate_per_s": RATE}},
        "routes": [{"channel": "sms", "chain": ["a"]}],
        "limits": {},
    }

    async def play(self) -> None:
        self.peers = {"a": self.peers["a"]}
        self.office, self.desks = Office(self), [Desk(self, 0)]
        self.slots = [Slot(self, "a", n) for n in range(2)]
        await self.template_store.put(TemplateSource("receipt", "Hi"))
        await asyncio.sleep(0.5)
        body = {
            "event": "paid",
            "recipient": {"phone": "+4915112345678"},
            "notifications": [{"channel": "sms", "content": {"text": "Hi"}}] * EACH,
        }
        self.orders = [Order(n, body, f"order-{n}", 3) for n in range(ORDERS)]
        clients = [self.loop.start_outside(buy(self, order, self.dice.random())) for order in self.orders]
        for act in self.dice.sample([self._add, self._kill, self._replace, self._freeze, self._office], 3):
            await asyncio.sleep(2.5)
            act()
        await asyncio.wait(clients)
        end_s = self.loop.time() + SECONDS_MAX
        while not self.checker.at_rest() and self.loop.time() < end_s:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        self._judge()

    def _add(self) -> None:
        self.slots.append(Slot(self, "a", len(self.slots)))

    def _judge(self) -> None:
        times = sorted(sent.at_s for sent in self.sent)
        for n, first_s in enumerate(times):
            for seconds in (1.0, 10.0):
                count = sum(first_s <= at_s < first_s + seconds for at_s in times[n : n + int(RATE * seconds * 3)])
                if count > RATE * seconds * 1.02 + BURST:
                    self.checker.violate(f"{count} calls within {seconds} s from {first_s - 1000:.2f}")
        delivered = {sent.nid for sent in self.sent if sent.delivered}
        if len(delivered) != ORDERS * EACH:
            self.checker.violate(f"{len(delivered)} delivered")
        if times[-1] - times[0] > 1.5 * ORDERS * EACH / RATE:
            self.checker.violate(f"took {times[-1] - times[0]:.1f} s: the contract was not used")


@pytest.fixture(autouse=True)
def staged() -> Iterator[None]:
    with stage():
        yield


def test_the_contract_is_kept_and_used() -> None:
    """In every second and in every ten seconds."""
    failed = {
        seed: found.violations[:2] for seed in range(SEEDS) if (found := run(seed, world_type=Overload)).violations
    }
    assert failed == {}


def test_careless_sharing_is_found() -> None:
    """Each actor may use the whole contract: the vendor sees more. (Finer mistakes: `tests/unit/test_sharing.py`.)"""

    def careless(rate_per_s: float, live: Any, before: Any, confirmed: Any) -> dict[str, Share]:
        return {name: Share(rate_per_s, rate_per_s) for name in live}

    with mock.patch.object(plan, "divide", careless):
        assert any(run(seed, world_type=Overload).violations for seed in range(3))
