"""The network between the processes and the one store. Requests are lost, late, answered late, or done in part.

A request that was sent is carried out even if its sender has died. A script is atomic, so the store never does half
of it. But a script may itself fail between any two of its steps.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any

from dispatcher.adapters.memory.cell import Cell, Note, Record
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.life.decide import Decision
from dispatcher.core.life.notification import Claim
from dispatcher.core.plan.messages import Message
from dispatcher.errors import DispatcherError, UnavailableError
from dispatcher.ports import Applied, Claims
from tests.simulation.process import Process, SimulatedLoop

TIMEOUT_S = 2.0
"""The seconds after which a client of the store gives up, as the real client does."""

SLOW_S = 0.7
"""A reply that takes longer than this, in seconds, explains a repeat.

An actor gives up its incarnation after a second without an answer.
"""

AUDIT_S = 6.5
"""How many seconds a claim may go unnoticed if it was made after its client had given up. The periodic audit
finds it.
"""

FATES = ("before", "after", "late", "slow", "half")
"""The faults of a request, in this order:

- the request is not sent;
- it is done, but the answer is lost;
- it is done after the client gave up;
- it is answered late;
- only some of a pipeline is done.
"""

PIPELINED = frozenset(("accept", "apply", "promote"))
"""The methods that send many scripts in one round trip. If the connection breaks, only some of them may be done."""


class ScriptError(Exception):
    """Raised to make a script fail between two of its steps."""


class SimulatedStore(MemoryStore):
    """The memory store, with scripts that may fail between two steps.

    Each decision is passed to the checker, with its incarnation, the entry's owner, the claim and the reply.
    """

    def __init__(self, cell: Cell, network: Network) -> None:
        super().__init__(cell)
        self._network = network

    def _decide(self, me: str, claim: Claim, decision: Decision, now_ms: int) -> Applied:
        owner = self._cell.lane(claim.lane).pending.get(claim.entry_id)
        try:
            reply = super()._decide(me, claim, decision, now_ms)
        except ScriptError:
            reply = Applied.ERROR
        self._network.on_decided(me, owner, claim, decision, reply=reply)
        return reply

    def _place(self, nid: str, record: Record, note: Note, decision: Decision, *, now_ms: int) -> None:
        if self._network.dice.random() < self._network.script_errors:
            raise ScriptError
        super()._place(nid, record, note, decision, now_ms=now_ms)


class Network:
    """Carries every request, and decides at random what happens to it. `loss` is the share of requests with a fault."""

    def __init__(self, loop: SimulatedLoop, cell: Cell, dice: random.Random, note: Callable[..., None]) -> None:
        self.loop, self.cell, self.dice, self._note = loop, cell, dice, note
        self.loss = 0.0
        self.losses: dict[str, float] = {}  # method → its share, in place of `loss`
        self.script_errors = 0.0
        self.delay_s = 0.002
        self.down_until_s = 0.0
        self.stalled_until_s = 0.0
        self.armed: dict[Process, Callable[[], None]] = {}  # is called when the process gets its next claim
        self.troubles: list[tuple[float, float]] = []  # times of faults that concern all processes
        self.hidden_until_s = 0.0  # like `Process.hidden_until_s`, for all processes
        self.quiet_s = 0.0  # after this, no late request can arrive
        self.on_decided: Callable[..., None] = lambda *_, **__: None
        self.on_change: Callable[[], None] = lambda: None

    def outage(self, seconds: float) -> None:
        """Let no request reach the store for `seconds`."""
        now_s = self.loop.time()
        self.down_until_s = now_s + seconds
        self.hidden_until_s = now_s + seconds + TIMEOUT_S
        self.troubles.append((now_s, now_s + seconds + 1.0))

    def stall(self, seconds: float) -> None:
        """Stop the store for `seconds`. Then it carries out all requests that came meanwhile."""
        now_s = self.loop.time()
        self.stalled_until_s = self.quiet_s = now_s + seconds + 0.1
        self.hidden_until_s = now_s + seconds + AUDIT_S
        self.troubles.append((now_s, now_s + seconds + TIMEOUT_S))

    async def call(self, process: Process, method: Callable[..., Any], args: Sequence[Any]) -> Any:
        loop, dice, now_s = self.loop, self.dice, self.loop.time()
        reply: asyncio.Future[Any] = loop.create_future()
        if now_s < self.down_until_s:
            loop.later_outside(dice.choice((0.001, 0.05, TIMEOUT_S)), self._fail, reply, "away")
            return await reply
        name = method.__name__
        delay_s = 0.0002 + self.delay_s * dice.random()
        if now_s < self.stalled_until_s:
            delay_s += self.stalled_until_s - now_s
            loop.later_outside(TIMEOUT_S, self._fail, reply, "timeout")
        fate = dice.choice(FATES) if dice.random() < self.losses.get(name, self.loss) else ""
        if fate:
            self._note(process.name, "request", name, fate)
        slow_s = dice.choice((0.1, 0.5, 1.8)) * dice.random() if fate == "slow" else 0.0
        if fate and (fate != "slow" or slow_s > SLOW_S):
            process.trouble(now_s + 2 * TIMEOUT_S)
        patience_s = dice.choice((0.01, 0.5, TIMEOUT_S)) if fate else 0.0
        process.hide(now_s + max(patience_s, slow_s))
        match fate:
            case "before":
                loop.later_outside(patience_s, self._fail, reply, "not sent")
            case "after" | "late":
                if fate == "late":
                    delay_s += patience_s * (0.8 + 0.6 * dice.random())
                    process.hide(now_s + delay_s + AUDIT_S)
                self.quiet_s = max(self.quiet_s, now_s + delay_s)
                loop.later_outside(delay_s, partial(self._serve, process, method, args, None, delay_s=0.0))
                loop.later_outside(max(patience_s, 0.01), self._fail, reply, "lost")
            case "slow":
                loop.later_outside(delay_s, partial(self._serve, process, method, args, reply, delay_s=slow_s))
            case "half" if name in PIPELINED:
                first = [args[0], args[1][: dice.randrange(len(args[1]) + 1)], *args[2:]] if name == "apply" else None
                half = first or [args[0][: dice.randrange(len(args[0]) + 1)], *args[1:]]
                loop.later_outside(delay_s, partial(self._serve, process, method, half, None, delay_s=0.0))
                loop.later_outside(max(patience_s, 0.01), self._fail, reply, "broken")
            case _:
                self.quiet_s = max(self.quiet_s, now_s + delay_s) if name == "accept" else self.quiet_s
                again_s = self.delay_s * dice.random() if dice.random() < 0.3 else 0.0
                loop.later_outside(delay_s, partial(self._serve, process, method, args, reply, delay_s=again_s))
        try:
            return await reply
        finally:
            if name == "wait" and not process.dead:
                reply.cancel()  # the connection is closed: the store ends the blocked read

    def _serve(
        self,
        process: Process,
        method: Callable[..., Any],
        args: Sequence[Any],
        reply: asyncio.Future[Any] | None,
        *,
        delay_s: float,
    ) -> None:
        if method.__name__ == "wait":
            self._serve_wait(process, method, args, reply, delay_s=delay_s)
            return
        work = method(*args)
        try:
            work.send(None)
            raise AssertionError(f"{method.__name__} is not atomic")
        except StopIteration as stop:
            self._tell(process, method, stop.value)
            self._answer(reply, delay_s, stop.value, None)
        except DispatcherError as error:
            self._answer(reply, delay_s, None, error)
        if not isinstance(getattr(method, "__self__", None), MemoryControl):  # which never moves a notification
            self.on_change()

    def _serve_wait(
        self,
        process: Process,
        method: Callable[..., Any],
        args: Sequence[Any],
        reply: asyncio.Future[Any] | None,
        *,
        delay_s: float,
    ) -> None:
        task = self.loop.start_outside(method(*args))

        def ended(_: Any) -> None:
            if not task.cancelled():
                self._tell(process, method, task.result())
                self._answer(reply, delay_s, task.result(), None)
                self.on_change()

        task.add_done_callback(ended)
        if reply is None:
            self.loop.later_outside(0.0, task.cancel)  # it reads what is there, and then finds the client gone
        else:
            reply.add_done_callback(lambda _: task.cancel())
        process.on_end.append(lambda: self.loop.later_outside(0.02 * self.dice.random(), task.cancel))

    def _tell(self, process: Process, method: Callable[..., Any], value: Any) -> None:
        if isinstance(value, Claims) and value.claims:
            self._note(process.name, method.__name__, *(claim.notification.id for claim in value.claims))
            act = self.armed.pop(process, None)
            if act is not None:
                act()

    def _answer(
        self, reply: asyncio.Future[Any] | None, delay_s: float, value: Any, error: DispatcherError | None
    ) -> None:
        if reply is None:
            return
        if delay_s:
            self.loop.later_outside(delay_s, self._answer, reply, 0.0, value, error)
        elif not reply.done():
            if error is None:
                reply.set_result(value)
            else:
                reply.set_exception(error)
                reply.exception()

    def _fail(self, reply: asyncio.Future[Any], why: str) -> None:
        if not reply.done():
            reply.set_exception(UnavailableError(why))
            reply.exception()  # nobody may wait for it any more


class Link:
    """The connection of one process to the store, or to one of the views. Each method call is a request over the
    network.
    """

    def __init__(self, network: Network, process: Process, target: Any) -> None:
        self._network, self._process, self._target = network, process, target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        network, process = self._network, self._process

        async def call(*args: Any, **how: Any) -> Any:
            def asked(*args: Any) -> Any:
                return method(*args, **how)

            asked.__name__, asked.__self__ = name, getattr(method, "__self__", None)  # type: ignore[attr-defined]
            return await network.call(process, asked if how else method, args)

        call.__name__ = name
        setattr(self, name, call)
        return call


class ControlLink(Link):
    """One process's connection to the control channel, over which the process also receives pushed messages."""

    async def listen(self, kinds: Sequence[str]) -> AsyncGenerator[Message | None, None]:
        network, cell, since_s = self._network, self._network.cell, self._network.loop.time()
        messages = MemoryControl(cell).listen(kinds)
        begun = await anext(messages)
        mine = cell.listeners[-1]  # taken before the reader runs, which may wait while another process subscribes
        yield begun

        def forget() -> None:
            if mine in cell.listeners:
                cell.listeners.remove(mine)

        self._process.on_end.append(forget)
        try:
            async for heard in messages:
                if network.down_until_s > since_s:
                    raise UnavailableError("the link broke")
                yield heard
        finally:
            await messages.aclose()  # type: ignore[attr-defined]
