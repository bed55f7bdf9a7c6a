"""Delivers one test message per channel inside this process, before the service reports that it is ready.

No vendor is called and nothing is stored: the store is in memory, and the vendor is a fake that accepts everything. The
test finds a process in which couriers cannot run, for example because a Python module is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

from actors.assembly import breaker_config, courier_limits, retry_policy
from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.config.settings import Settings
from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.life.notification import NewNotification, NewTrigger
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message
from dispatcher.core.plan.values import CLOSED, Plan, VendorPlan
from dispatcher.deliver.attempt import Terms
from dispatcher.deliver.courier import Courier
from dispatcher.deliver.surroundings import Surroundings
from dispatcher.errors import SelfTestError
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.store import MemoryTemplateStore
from dispatcher.waiting import ended

PATIENCE_S = 30.0
"""The limit for one delivery, in seconds. A delivery takes milliseconds, but a busy machine must not fail the test."""
ADDRESSES = {"email": "self-test@dispatcher.invalid"}
OTHER_ADDRESS = "+4915112345678"


class _Yes:
    """A fake vendor that sends nothing and accepts everything."""

    def __init__(self, name: str, channel: str) -> None:
        self.name, self.channel = name, channel

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        return Outcome.accepted("self-test")

    async def close(self) -> None:
        return None


async def prove_channels(settings: Settings) -> None:
    """Deliver one test message on each configured channel. The courier of the first vendor of each channel delivers it.

    Raises `SelfTestError`.
    """
    first = {vendor.channel: name for name, vendor in reversed(settings.vendors.items())}
    for name in first.values():
        await prove_courier(settings, name)


async def prove_courier(settings: Settings, name: str, patience_s: float = PATIENCE_S) -> None:
    """Deliver a test message through the courier of the vendor `name`. Raises `SelfTestError` with the reason.

    `patience_s` is how many seconds the delivery may take.
    """
    config, clock = settings.vendors[name], SystemClock()
    cell = Cell(clock)
    around = Surroundings(MemoryStore(cell), TemplateCache(MemoryTemplateStore()), clock, Metrics(), random.random)
    courier = Courier(
        _Yes(name, config.channel),
        Breaker(breaker_config(config.breaker, config.timeout_s), int(clock.now_s() * 1e9), random.random),
        around,
        Terms(retry_policy(settings)),
        limits=courier_limits(config, settings.courier),
    )
    courier.adopt_plan(Plan(1, 0, {name: VendorPlan(name, CLOSED, True, (name,))}))
    courier.begin(await MemoryControl(cell).register(name))
    await MemoryStore(cell).accept([_trigger(name, config.channel, clock.wall_ms())])
    loops = [asyncio.ensure_future(loop) for loop in (courier.run(), courier.outbox.run())]
    try:
        await asyncio.wait_for(_delivered(cell, loops), patience_s)
    except Exception as error:
        why = f"{type(error).__name__}: {error}" if str(error) else f"nothing came within {patience_s:g} s"
        states = [note.state for record in cell.records.values() for note in record.notes]
        tried = [line.reason for record in cell.records.values() for note in record.notes for line in note.history]
        raise SelfTestError(
            f"no message can be delivered by {config.channel} here: the courier of {name} left its message"
            f" {', '.join([*states, *tried])} ({why})"
        ) from error
    finally:
        courier.stopping = True
        await ended(loops)


async def _delivered(cell: Cell, loops: list[asyncio.Task[None]]) -> None:
    while any(note.state != "settled" for record in cell.records.values() for note in record.notes):
        for loop in loops:
            if loop.done():
                with contextlib.suppress(asyncio.CancelledError):
                    loop.result()
                raise RuntimeError("a loop of the courier has ended")
        await asyncio.sleep(0.005)


def _trigger(vendor: str, channel: str, now_ms: int) -> NewTrigger:
    content = {"subject": "self-test", "text": "self-test"}
    note = NewNotification(channel, ADDRESSES.get(channel, OTHER_ADDRESS), (vendor,), vendor, content=content)
    return NewTrigger("0-self", "self-test", "self-test", "", now_ms, now_ms + 60_000, "normal", "resend", {}, (note,))
