"""The control channel, in memory. `dispatcher.ports.control` is the contract."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace

from dispatcher.adapters.memory.cell import Cell, Listener, rang
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.backlog import Backlog, MailboxDepth
from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.notification import Lane
from dispatcher.core.plan.messages import Message, Statement, Sums
from dispatcher.core.plan.values import Beat, Override, Plan, Report
from dispatcher.errors import StaleTermError, UnavailableError
from dispatcher.ports import Incarnation, Remembered, Term

QUIET_S = 0.5


class MemoryControl:
    """The control channel of an installation in memory (`Cell`). Each process has a `MemoryControl` of its own.

    `tail` returns a random text. This text is added to the name of an incarnation, so that the name is unique.
    """

    def __init__(self, cell: Cell, tail: Callable[[], str] = lambda: secrets.token_hex(4)) -> None:
        self._cell, self._tail = cell, tail

    # ---- actors

    async def register(self, vendor: str, pid: int = 0, node: str = "") -> str:
        self._cell.incarnations += 1
        me = f"{vendor}/{self._cell.incarnations}-{self._tail()}"
        self._cell.actors[me] = "live"
        self._cell.processes[me] = Incarnation(0, pid, node)
        return me

    async def renew(self, incarnation: str) -> bool:
        if self._cell.actors.get(incarnation) != "live":
            return False
        before = self._cell.processes.get(incarnation, Incarnation())
        self._cell.processes[incarnation] = replace(before, renewed=before.renewed + 1)
        return True

    async def bury(self, verdicts: Mapping[str, int], term: int) -> list[str]:
        if term != self._cell.term:
            raise StaleTermError
        known = self._cell.processes
        dead = [name for name, renewed in verdicts.items() if known.get(name, Incarnation()).renewed == renewed]
        self._cell.actors.update(dict.fromkeys(dead, "dead"))
        return dead

    async def stopped(self, incarnation: str) -> None:
        self._cell.actors[incarnation] = "stopped"

    async def remember(self, vendor: str, breaker: JsonObject) -> None:
        self._cell.breakers[vendor] = self._cell.clock.wall_ms(), json.dumps(breaker)

    async def recall(self, vendor: str) -> Remembered | None:
        if vendor not in self._cell.breakers:
            return None
        at_ms, text = self._cell.breakers[vendor]
        return Remembered(json.loads(text), max(0, self._cell.clock.wall_ms() - at_ms))

    async def live(self) -> dict[str, Incarnation]:
        known = self._cell.processes
        return {name: known.get(name, Incarnation()) for name, state in self._cell.actors.items() if state == "live"}

    async def ended(self) -> list[str]:
        gone = {name for name, state in self._cell.actors.items() if state != "live"}
        return sorted(gone.difference(*(lane.consumers for lane in self._cell.lanes.values())))

    async def forget(self, incarnations: Sequence[str]) -> None:
        for name in incarnations:
            self._cell.actors.pop(name, None)
            self._cell.processes.pop(name, None)
            self._cell.singled.pop(name, None)

    # ---- messages

    async def beat(self, beat: Beat) -> None:
        self._cell.tell("beat", beat.to_dict())

    async def report(self, report: Report | Statement) -> None:
        self._cell.tell("report", report.to_dict())

    async def totals(self, sums: Sums) -> None:
        self._cell.tell("totals", sums.to_dict())

    async def listen(self, kinds: Sequence[str]) -> AsyncGenerator[Message | None, None]:
        listener = Listener(frozenset(kinds))
        self._cell.listeners.append(listener)
        try:
            yield None  # it listens from here on
            while True:
                if not listener.heard:
                    listener.bell = asyncio.get_running_loop().create_future()
                    await rang(listener.bell, QUIET_S)
                yield listener.heard.popleft() if listener.heard else None
        finally:
            self._cell.listeners.remove(listener)

    # ---- plan

    async def begin_term(self) -> Term:
        self._cell.term += 1
        return Term(self._cell.term, self._cell.plan or Plan())

    async def publish(self, plan: Plan, term: int) -> None:
        if term != self._cell.term:
            raise StaleTermError
        if self._cell.plan is not None and plan.epoch <= self._cell.plan.epoch:
            raise UnavailableError("a later plan is in force")
        self._cell.plan = plan
        self._cell.plans.append(plan.to_dict())
        self._cell.tell("plan", plan.to_dict())

    async def plan(self) -> Plan | None:
        return self._cell.plan

    async def plan_history(self, limit: int = 100) -> list[JsonObject]:
        return self._cell.plans[: -limit - 1 : -1]

    async def overrides(self) -> dict[str, Override]:
        return dict(self._cell.overrides)

    async def set_override(self, vendor: str, override: Override | None) -> None:
        if override is None:
            self._cell.overrides.pop(vendor, None)
        else:
            self._cell.overrides[vendor] = override

    async def weigh(self, weights: Mapping[str, int]) -> None:
        self._cell.weights = {tenant: weight for tenant, weight in weights.items() if weight != 1}

    # ---- mailboxes

    async def waiting(self, lane: Lane) -> dict[str, int]:
        return self._cell.lane(lane).waiting()

    async def depths(self) -> dict[str, MailboxDepth]:
        now_ms, result = self._cell.clock.wall_ms(), {}
        for name in sorted(self._cell.mailboxes):
            depth = result[name] = MailboxDepth(name)
            for priority in PRIORITIES:
                lane = self._cell.lane(Lane(name, priority))
                depth.queued[priority] = len(lane.entries)
                depth.claimed += len(lane.pending)
                for entry_id in list(lane.entries)[:1]:
                    depth.oldest_age_ms = max(depth.oldest_age_ms, now_ms - int(entry_id.split("-")[0]))
        return result

    async def backlog(self, depths: Mapping[str, MailboxDepth] | None = None) -> dict[str, Backlog]:
        c = self._cell
        found: dict[str, Backlog] = {}
        now_ms, delay_ms = c.clock.wall_ms(), c.delay_ms()
        for name, depth in (await self.depths() if depths is None else depths).items():
            box = found[name] = Backlog(name)
            box.counts["queued"] = depth.total
            for entries in (c.lane(Lane(name, priority)).entries for priority in PRIORITIES):
                for entry_id, nid in list(entries.items())[:1]:
                    came_ms = int(entry_id.split("-")[0])
                    box.saw("queued", now_ms - self._called_ms(nid, came_ms))
                    box.ready_ms = max(box.ready_ms, now_ms - came_ms)
        for place, waiting in (("due", c.due), ("held", c.held), ("delayed", c.delayed)):
            for nid, score in waiting.items():
                record, note = c.found(nid)
                box = found.setdefault(note.vendor, Backlog(note.vendor))
                box.counts[place] += 1
                box.saw(place, now_ms - self._called_ms(nid, record.trigger.accepted_ms))
                if place == "due":
                    box.wakes(score, now_ms, delay_ms)
        return found

    def _called_ms(self, nid: str, otherwise_ms: int) -> int:
        """Return when a notification was first sent to a vendor, or `otherwise_ms` if it was not sent yet.

        Both times are milliseconds since the epoch.
        """
        found = self._cell.find(nid)
        return found[1].history[0].at_ms if found and found[1].history else otherwise_ms

    async def counts(self) -> dict[str, int]:
        c = self._cell
        return {"due": len(c.due), "delayed": len(c.delayed), "held": len(c.held), "dead": len(c.dead)}
