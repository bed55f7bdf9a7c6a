"""Runs an intake with its loop on a slow store, for the tests of the accept path."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from dispatcher.accept.intake import Intake
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.config.settings import parse_settings
from dispatcher.core.life.notification import NewTrigger
from dispatcher.errors import UnavailableError
from dispatcher.templates.cache import TemplateCache
from tests.unit.stage import Stage

SETTINGS = {
    "vendors": {
        "a": {"adapter": "twilio", "channel": "sms"},
        "b": {"adapter": "vonage", "channel": "sms"},
        "mail": {"adapter": "smtp", "channel": "email"},
    },
    "routes": [{"channel": "sms", "chain": ["a", "b"]}, {"channel": "email", "chain": ["mail"]}],
    "limits": {"accept_deadline_s": 1.0},
    "intake": {"group_commit_max": 64},
}


def body(n: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "event": "checkout.completed",
        "recipient": {"phone": f"+4915112345{n:03}"},
        "notifications": [{"channel": "sms", "content": {"text": "Hi"}}],
        **changes,
    }


class SlowStore(MemoryStore):
    """A memory store that takes `duration_s` for each accept.

    `trips` and `sizes` list how many triggers and notifications each round trip had. `stored` lists the triggers' ids
    in their order.
    """

    duration_s = 0.01
    away = False

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.cell, templates=stage.template_store)
        self.trips: list[int] = []
        self.sizes: list[int] = []
        self.stored: list[str] = []

    async def accept(self, triggers: Sequence[NewTrigger]) -> list[str]:
        self.trips.append(len(triggers))
        self.sizes.append(sum(len(trigger.notifications) for trigger in triggers))
        await asyncio.sleep(self.duration_s)
        if self.away:
            raise UnavailableError("away")
        self.stored += [trigger.id for trigger in triggers]
        return await super().accept(triggers)


class Desk:
    """An intake with its loop running on a SlowStore, and a way to post triggers to it."""

    def __init__(self, **settings: Any) -> None:
        self.stage = Stage()
        self.store = SlowStore(self.stage)
        self.intake = Intake(
            parse_settings({**SETTINGS, **settings}),
            *(self.store, self.stage.views, TemplateCache(self.stage.template_store)),
            clock=self.stage.clock,
            metrics=self.stage.metrics,
        )
        self.loop = self.stage.start(self.intake.run())

    def post(self, n: int = 0, key: str | None = None, **changes: Any) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.intake.accept("shop", body(n, **changes), key))
