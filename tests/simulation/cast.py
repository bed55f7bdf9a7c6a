"""The simulated parts around the store: vendors that answer at random, clients that retry, and a host that replaces
dead processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actors.vendor import VendorActor
from dispatcher.accept.intake import Intake
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.core.life.look_up import Listing, Sighting
from dispatcher.core.life.outcome import Meaning, Outcome, Scope, outcome_of
from dispatcher.core.life.rendered_message import Message
from dispatcher.core.plan.values import Plan
from dispatcher.deliver.courier import Courier
from dispatcher.errors import CallerError, StaleTermError, UnavailableError
from dispatcher.supervise.supervisor import Supervisor
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache
from tests.simulation.network import ControlLink, Link, SimulatedStore
from tests.simulation.process import Process
from tests.virtual import VirtualClock

if TYPE_CHECKING:
    from tests.simulation.scene import World

NOT_SENT = frozenset(("failed", "throttled", "account", "refused", "deferred"))
"""Answers that prove that the vendor did not deliver. The message may then go to another vendor, even under `hold`."""

FLAKY = (
    *((0.3, "failed"), (0.5, "unknown"), (0.55, "rejected"), (0.6, "account"), (0.65, "raise")),
    *((0.7, "refused"), (0.73, "deferred")),
)
"""The answers of a flaky vendor, each up to its share of all calls. The rest of the calls are accepted."""


@dataclass(slots=True, eq=False)
class Sent:
    """One call that a vendor received. `delivered` is True if the vendor delivered the message, whatever it
    answered.
    """

    message: Message
    vendor: str
    process: Process
    at_s: float
    kind: str
    delivered: bool
    answered: bool = False

    @property
    def nid(self) -> str:
        return self.message.notification_id

    @property
    def message_id(self) -> str:
        return f"{self.vendor}-{self.nid}"


class Peer:
    """A vendor. `mode` decides how it answers.

    The log of its calls is kept in the world, where no fault can change it.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.mode = "ok"
        self.duration_s = 0.02
        self.ahead_ms = world.dice.choice((0, 0, 3_600_000, -90_000))  # how far its clock is ahead
        self.shows_s = world.dice.choice((0.0, 0.0, 2.0))  # seconds until a message is in its list

    async def answer(self, process: Process, message: Message, timeout_s: float) -> Outcome:
        world, dice, nid = self.world, self.world.dice, message.notification_id
        kind = self._kind(message.to)
        delivered = kind == "accepted" or (kind in ("unknown", "hang", "raise") and dice.random() < 0.5)
        sent = Sent(message, self.name, process, world.loop.time(), kind, delivered)
        world.sent.append(sent)
        world.note(process.name, "sends", nid, kind, "delivered" if delivered else "")
        world.checker.on_send(sent)
        wait_s = timeout_s if kind == "hang" else self.duration_s * (0.5 + dice.random())
        await asyncio.sleep(wait_s)
        sent.answered = True
        match kind:
            case "accepted":
                return Outcome.accepted(sent.message_id)
            case "failed":
                return Outcome.failed("http_503")
            case "account":
                return Outcome.failed("http_401", scope=Scope.ACCOUNT)
            case "refused":
                return outcome_of("x_1", Meaning.UNLISTED)
            case "deferred":
                return Outcome.deferred("x_2")
            case "throttled":
                return Outcome.throttled("http_429", dice.choice((None, 0.3, 1.0)))
            case "rejected":
                return Outcome.rejected("bad_number")
            case "raise":
                raise RuntimeError("a bug of the adapter")
        return Outcome.unknown("timeout_read" if kind == "hang" else "http_500")

    async def listing(self, to: str) -> Listing | None:
        """Return this vendor's messages to the recipient, whoever sent them, or None if the vendor does not answer."""
        world, now_s = self.world, self.world.loop.time()
        await asyncio.sleep(self.duration_s)
        if self.mode in ("down", "hang") or world.dice.random() < 0.1:
            return None
        now_ms = world.cell.clock.wall_ms() + self.ahead_ms
        rows = [
            Sighting(sent.message_id, sent.message.text, now_ms - int((world.loop.time() - sent.at_s) * 1000), True)
            for sent in world.sent
            if sent.vendor == self.name and sent.delivered and sent.message.to == to
            if now_s - sent.at_s > self.shows_s
        ]
        return Listing(rows, now_ms, False)

    def _kind(self, to: str) -> str:
        draw = self.world.dice.random()
        match self.mode:
            case "abroad":
                return "failed" if to.startswith("+33") else "accepted"
            case "down":
                return "failed"
            case "hang":
                return "hang"
            case "unsure":
                return "unknown" if draw < 0.7 else "accepted"
            case "throttle":
                return "throttled" if draw < 0.6 else "accepted"
            case "flaky":
                return next((kind for share, kind in FLAKY if draw < share), "accepted")
        return "accepted"


class VendorEnd:
    """The client of a simulated vendor in one process. A courier uses it like a real vendor's adapter."""

    channel = "sms"

    def __init__(self, peer: Peer, process: Process) -> None:
        self.name, self._peer, self._process = peer.name, peer, process

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        return await self._peer.answer(self._process, message, timeout_s)

    async def look_up(self, message: Message, since_ms: int, timeout_s: float) -> Listing | None:
        return await self._peer.listing(message.to)

    async def close(self) -> None:
        return None


class Noted(Metrics):
    """Metrics that are written into the trace instead of being reported."""

    def __init__(self, world: World, process: Process) -> None:
        super().__init__()
        self._world, self._process = world, process

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        self._world.note(self._process.name, name, *labels)
        self._world.counted[name] += 1

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        return None


class NamedControl(MemoryControl):
    """The control channel of one process of the simulation. It records the name of each incarnation that the process
    gets, and tells the judge of each incarnation that the process has stopped.
    """

    def __init__(self, world: World, names: set[str]) -> None:
        super().__init__(world.cell, world.tail)
        self._world, self._names = world, names

    async def register(self, vendor: str, pid: int = 0, node: str = "") -> str:
        me = await super().register(vendor, pid, node)
        self._names.add(me)
        return me

    async def stopped(self, incarnation: str) -> None:
        await super().stopped(incarnation)
        self._world.note(incarnation, "is stopped")
        self._world.checker.on_stopped(incarnation)


class SimulatedVendorActor(VendorActor):
    """The real vendor actor, with its connections, clock and vendor client replaced by simulated ones."""

    def __init__(self, world: World, process: Process, vendor: str) -> None:
        super().__init__(world.settings, vendor, {}, {"replica": process.name})
        self.world, self.process = world, process
        self.names: set[str] = set()

    def _open(self) -> None:
        world, process = self.world, self.process
        self._clock = VirtualClock()
        self._chance = world.dice.random
        self._store = Link(world.network, process, SimulatedStore(world.cell, world.network))
        control = NamedControl(world, self.names)
        self._control = ControlLink(world.network, process, control)
        self._templates = TemplateCache(Link(world.network, process, world.template_store))
        self._vendor = VendorEnd(world.peers[self._name], process)
        self._metrics = Noted(world, process)
        self._close = self._vendor.close

    @property
    def courier(self) -> Courier:
        return self._courier


class Slot:
    """One replica of a vendor's pool. When the replica has died or ended, this class starts another, as Serve does."""

    def __init__(self, world: World, vendor: str, number: int) -> None:
        self.world, self.vendor, self.number = world, vendor, number
        self.generation = 0
        self.process: Process
        self.actor: SimulatedVendorActor
        self.begin()

    def begin(self) -> None:
        world = self.world
        self.generation += 1
        process = self.process = Process(world.loop, f"{self.vendor}.{self.number}.{self.generation}")
        world.processes.append(process)
        world.note(process.name, "begins")
        actor = self.actor = SimulatedVendorActor(world, process, self.vendor)
        world.actors.append(actor)
        process.start(actor.start())
        process.on_end.append(lambda: world.loop.later_outside(0.2 + 1.5 * world.dice.random(), self.begin))

    def replace(self) -> None:
        """Replace the actor in this slot as a rolling update does: start a new actor, and give the old one 8 s
        to stop.
        """
        world, actor, process = self.world, self.actor, self.process
        world.note(process.name, "is told to stop")
        process.on_end.clear()
        self.begin()

        async def stop() -> None:
            await actor.stop(8.0)
            world.note(process.name, "has stopped")

        process.start(stop())


class Office:
    """The supervisor process. When it has died or ended, this class starts another, as Serve does."""

    def __init__(self, world: World) -> None:
        self.world, self.generation = world, 0
        self.process: Process
        self.begin()

    def begin(self) -> None:
        world = self.world
        self.generation += 1
        process = self.process = Process(world.loop, f"supervisor.{self.generation}")
        world.processes.append(process)
        control = ControlLink(world.network, process, world.control)
        s = world.settings["supervision"]
        supervisor = self.supervisor = Supervisor(
            control,
            VirtualClock(),
            world.plan_config,
            beat_s=s["beat_ms"] / 1000,
            silence_ms=s["silence_ms"],
        )
        process.start(self._serve(process, supervisor))
        process.on_end.append(lambda: world.loop.later_outside(0.3 + world.dice.random(), self.begin))

    async def _serve(self, process: Process, supervisor: Supervisor) -> None:
        try:
            await supervisor.run()
        except StaleTermError:
            self.world.note(process.name, "out of office")
            process.kill()  # and Serve begins another


class Desk:
    """An intake process together with its HTTP side. A request ends if the process dies or if the client closes its
    connection.
    """

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number, self.generation = world, number, 0
        self.process: Process
        self.begin()

    def begin(self) -> None:
        world = self.world
        self.generation += 1
        process = self.process = Process(world.loop, f"intake.{self.number}.{self.generation}")
        world.processes.append(process)
        views = Link(world.network, process, world.views)
        self.templates = TemplateCache(world.template_store)
        self.intake = Intake(
            world.parsed,
            Link(world.network, process, SimulatedStore(world.cell, world.network)),
            *(views, self.templates),
            clock=VirtualClock(),
            metrics=Noted(world, process),
        )
        self._open: set[asyncio.Future[Any]] = set()
        process.start(self.templates.refresh())
        process.start(self.intake.run())
        process.start(self._follow(process, self.intake))
        process.on_end.append(self._ended)

    def _ended(self) -> None:
        world, waiting = self.world, self._open
        for answer in waiting:
            world.loop.later_outside(0.01, _refuse, answer, "connection reset")
        world.loop.later_outside(0.2 + world.dice.random(), self.begin)

    async def _follow(self, process: Process, intake: Intake) -> None:
        control = ControlLink(self.world.network, process, self.world.control)
        while True:
            try:
                plan = await control.plan()
                if plan is not None:
                    intake.plan = plan
                async for message in control.listen(("plan",)):
                    if isinstance(message, Plan):
                        intake.plan = message
            except UnavailableError:
                pass
            await asyncio.sleep(0.2)

    async def post(self, body: Mapping[str, Any], key: str | None, patience_s: float) -> tuple[str, Any]:
        """Post a trigger and return the answer as the client sees it: (status, accepted trigger or reason)."""
        process, intake = self.process, self.intake
        if process.dead or not self.templates.loaded:
            return "503", "not ready"
        answer: asyncio.Future[tuple[str, Any]] = self.world.loop.create_future()
        self._open.add(answer)
        handler = process.start(_handle(intake, body, key, answer))
        try:
            return await asyncio.wait_for(asyncio.shield(answer), patience_s)
        except asyncio.TimeoutError:
            handler.cancel()  # the connection is closed, and the server cancels the request
            return "unknown", "gave up"
        finally:
            self._open.discard(answer)


async def _handle(
    intake: Intake, body: Mapping[str, Any], key: str | None, answer: asyncio.Future[tuple[str, Any]]
) -> None:
    try:
        result: tuple[str, Any] = "202", await intake.accept("shop", body, key)
    except CallerError as error:
        result = str(error.status), error.field
    except UnavailableError as error:
        result = "503", error.reason
    if not answer.done():
        answer.set_result(result)


def _refuse(answer: asyncio.Future[tuple[str, Any]], why: str) -> None:
    if not answer.done():
        answer.set_result(("unknown", why))


@dataclass(slots=True)
class Order:
    """One trigger that a client wants to post, with every answer that the client got."""

    number: int
    body: dict[str, Any]
    key: str | None
    tries: int
    answers: list[tuple[str, Any]] = field(default_factory=list)
    done: bool = False


async def buy(world: World, order: Order, at_s: float) -> None:
    """Post an order at `at_s`, as a client does.

    While no final answer came, repeat the order with the same key, up to its number of tries.
    """
    dice = world.dice
    await asyncio.sleep(at_s)
    for _ in range(order.tries):
        desk = dice.choice(world.desks)
        patience_s = 0.001 + 0.02 * dice.random() if dice.random() < world.impatience else 3.0
        status, what = await desk.post(order.body, order.key, patience_s)
        order.answers.append((status, what))
        world.note("client", order.number, status, what.id if status == "202" else what)
        if status not in ("503", "unknown"):
            break
        await asyncio.sleep(0.05 + 0.3 * dice.random())
    order.done = True
