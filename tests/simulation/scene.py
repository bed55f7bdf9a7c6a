"""The world of one seed: its vendors, processes and orders, and a plot, which says which faults happen."""

from __future__ import annotations

import asyncio
import enum
import functools
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from actors.supervisor import plan_config
from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.memory.views import MemoryViews
from dispatcher.config.settings import parse_settings
from dispatcher.core.plan.values import Override
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import MemoryTemplateStore
from tests.simulation.cast import Desk, Office, Order, Peer, Sent, SimulatedVendorActor, Slot, buy
from tests.simulation.checker import Checker
from tests.simulation.network import Network
from tests.simulation.process import Process, SimulatedLoop
from tests.virtual import VirtualClock

VENDORS = "abc"
SETTINGS: dict[str, Any] = {
    "vendors": {
        name: {
            "adapter": "twilio",
            "channel": "sms",
            "timeout_s": 1.5,
            "concurrency_max": 8,
            "breaker": {
                "min_calls": 5,
                "consecutive_failures": 3,
                "open_wait_s": 1.0,
                "open_wait_s_max": 2.0,
                "half_open_calls": 2,
                "half_open_max_wait_s": 3.0,
                "per": "country",
            },
        }
        for name in VENDORS
    },
    "routes": [
        {"channel": "sms", "chain": ["b", "c"], "match": {"priority": ["high"]}},
        {"channel": "sms", "chain": ["c"], "match": {"priority": ["bulk"]}},
        {"channel": "sms", "chain": ["a", "b", "c"]},
    ],
    "limits": {"recipient_caps": [{"channel": "sms", "max": 3, "per_s": 2}]},
    "retry": {"attempts_max": 8, "base_s": 0.3, "cap_s": 1.0, "refused_waits_s": [0.5, 2.0]},
    "courier": {"claim_block_ms": 800},
    "supervision": {"beat_ms": 300, "silence_ms": 2000, "report_ms": 800},
}
CONVERSATIONS = (
    ("claim", "wait"),
    ("apply",),
    ("start", "apply"),
    ("own", "take"),
    ("accept", "trigger"),
    ("promote", "withdraw"),
    ("publish", "bury", "begin_term"),
    ("publish",),
    ("beat", "report"),
    ("register", "renew", "stopped"),
)
FAULTS_S = 3.0
"""The seconds during which the plot makes faults. Then everything is repaired and must come to rest."""

REST_S_MAX = 45.0
"""The most seconds until everything is at rest.

A verdict takes 2 s, a take 1 s, and the breaker waits 2 s. There are 8 attempts of up to 1.5 s with 1 s between them.
All this may happen twice.
"""


class Plot(enum.Enum):
    """The kinds of plots. Most seeds have the plot `MIXTURE`, a little of everything.

    Each other plot has one kind of fault, often.
    """

    LOST_CLAIMS = "claims are lost while mailboxes change hands"
    REPLACEMENT = "everyone is replaced, and nothing fails"
    SLEEP = "everyone sleeps"
    MIXTURE = "a little of everything"


class World:
    """Everything that belongs to one seed. A world must be made inside the seed's event loop."""

    SETTINGS = SETTINGS

    def __init__(
        self,
        seed: int,
        loop: SimulatedLoop,
        trace: Callable[[str], None] | None = None,
        crash: tuple[str, int] | None = None,
        *,
        plot: Plot | None = None,
    ) -> None:
        self.loop, self.dice, self._trace = loop, random.Random(seed), trace
        self.plot = plot or self.dice.choices(list(Plot), (1, 1, 1, 17))[0]
        self._hash = hashlib.blake2b(digest_size=8)
        self.settings, self.parsed = self.SETTINGS, parse_settings(self.SETTINGS)
        self.plan_config = plan_config(self.parsed)
        self.cell = Cell(VirtualClock())
        # The ends of names have dice of their own, so that the plot does not depend on the number of names.
        names = random.Random(seed)
        self.tail: Callable[[], str] = lambda: f"{names.getrandbits(32):08x}"
        self.control = MemoryControl(self.cell, self.tail)
        self.views = MemoryViews(self.cell)
        self.template_store = MemoryTemplateStore()
        self.network = Network(loop, self.cell, self.dice, self.note)
        self.sent: list[Sent] = []
        self.counted: Counter[str] = Counter()
        self.processes: list[Process] = []
        self.actors: list[SimulatedVendorActor] = []
        self.orders: list[Order] = []
        self.impatience = 0.0
        self.faultless = False
        self.crash, self.crashed = crash, False
        self.checker = Checker(self)
        self.peers = {name: Peer(self, name) for name in VENDORS}
        self.slots: list[Slot] = []
        self.desks: list[Desk] = []

    def note(self, *words: Any) -> None:
        line = f"{self.loop.time() - 1000:9.4f} " + " ".join(map(str, words))
        self._hash.update(line.encode())
        if self._trace is not None:
            self._trace(line)

    def mute(self) -> None:
        """Stop writing the trace when the run is over. Python collects objects at random times, so later lines would
        differ in each run.
        """
        self._trace = None

    def digest(self) -> str:
        return self._hash.hexdigest()

    # ---- the plot

    async def play(self) -> None:
        dice = self.dice
        self.office = Office(self)
        self.desks = [Desk(self, n) for n in range(2)]
        for name in VENDORS:
            for n in range(2 if dice.random() < 0.25 else 1):
                self.slots.append(Slot(self, name, n))
        self.faultless = self.crash is None and dice.random() < 0.04
        await self.template_store.put(TemplateSource("receipt", "Hi {{ name }}"))
        await asyncio.sleep(0.3)
        self._write_orders()
        clients = [self.loop.start_outside(buy(self, order, FAULTS_S * 0.8 * dice.random())) for order in self.orders]
        watch = self.loop.start_outside(self.checker.watch())
        if self.crash is not None:
            self._write_crash(*self.crash)
        elif not self.faultless:
            self._write_faults()
        await asyncio.sleep(FAULTS_S)
        self._heal()
        await asyncio.wait(clients, timeout=30.0)
        end_s = self.loop.time() + REST_S_MAX
        # No event tells that the whole world is at rest.
        while not self.checker.at_rest() and self.loop.time() < end_s and not self.checker.violations:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        watch.cancel()
        self.checker.judge()

    def _write_orders(self) -> None:
        dice = self.dice
        crowd = dice.choice((1, 100, 100, 100))  # sometimes all orders are for one recipient, so that its cap matters
        for n in range(dice.randrange(4, 9)):
            policy = dice.choice(("resend", "hold"))  # is the text too: look-ups tell policies apart
            body: dict[str, Any] = {
                "event": "paid",
                "recipient": {"phone": f"{dice.choice(('+4915112345', '+33612345'))}{n % crowd:03}"},
                "priority": dice.choice(("high", "normal", "normal", "bulk")),
                "on_unknown": policy,
                "data": {"name": f"Ada, {policy}"},
                "notifications": [
                    {"channel": "sms", "template": "receipt"}
                    if dice.random() < 0.3
                    else {"channel": "sms", "content": {"text": policy}}
                    for _ in range(dice.choice((1, 1, 2)))
                ],
            }
            if dice.random() < 0.1:
                body["expires_in_s"] = dice.choice((1, 3))
            key = f"order-{n}" if dice.random() < 0.8 else None
            self.orders.append(Order(n, body, key, dice.choice((1, 3, 6))))
            if key is not None and dice.random() < 0.15:  # the same order again, or another body with this key
                twin = body if dice.random() < 0.5 else {**body, "data": {"name": "Eve"}}
                self.orders.append(Order(n, twin, key, 3))

    def _write_faults(self) -> None:
        dice, network = self.dice, self.network
        for peer in self.peers.values():
            peer.duration_s = dice.choice((0.01, 0.05, 0.3, 0.8, 1.2))
        network.delay_s = dice.choice((0.002, 0.002, 0.05, 0.2))
        acts: list[Callable[[], None]]
        match self.plot:
            case Plot.LOST_CLAIMS:
                network.losses = dict.fromkeys(("claim", "wait"), 0.5)
                acts = [self._override] * 3
            case Plot.REPLACEMENT:
                network.delay_s = 0.2
                acts = [self._replace] * 4
            case Plot.SLEEP:
                acts = [self._freeze] * 4
            case Plot.MIXTURE:
                acts = self._write_mixture()
        for act in acts:
            self._at(FAULTS_S * dice.random(), act)

    def _write_mixture(self) -> list[Callable[[], None]]:
        dice, network = self.dice, self.network
        self.impatience = dice.choice((0.0, 0.0, 0.3))
        network.loss = dice.choice((0.0, 0.0, 0.0, 0.01, 0.05, 0.15))
        if dice.random() < 0.5:
            network.losses = dict.fromkeys(dice.choice(CONVERSATIONS), dice.choice((0.1, 0.3, 0.6)))
        network.script_errors = dice.choice((0.0, 0.0, 0.1))
        for peer in self.peers.values():
            for _ in range(dice.choice((0, 0, 1, 1, 2))):
                mode = dice.choice(("down", "hang", "unsure", "throttle", "flaky", "abroad", "ok"))
                self._at(FAULTS_S * dice.random(), self._set_mode, peer, mode)
        acts = (
            *(self._kill, self._kill, self._freeze, self._freeze, self._replace, self._replace),
            *(self._office, self._desk, self._store, self._override, self._override),
        )
        return [dice.choice(acts) for _ in range(dice.choice((0, 1, 1, 2, 3)))]

    def _write_crash(self, kind: str, step: int) -> None:
        """Prepare the single fault of this world. The first actor that claims an entry runs `step` more steps, and is
        then killed or frozen.

        A frozen actor stays frozen long enough to be declared dead.
        """

        def act(process: Process) -> None:
            self.crashed = True
            if kind == "kill":
                self._end(process)
            else:
                process.freeze(4.0)

        def arm(process: Process) -> None:
            self.network.armed.clear()
            process.doom(step, lambda: act(process))

        for slot in self.slots:
            self.network.armed[slot.process] = functools.partial(arm, slot.process)

    def _at(self, delay_s: float, act: Callable[..., None], *args: Any) -> None:
        self.loop.later_outside(delay_s, act, *args)

    def _set_mode(self, peer: Peer, mode: str) -> None:
        peer.mode = mode
        self.note(peer.name, mode)

    def _befall(self, slot: Slot, act: Callable[[Process], None]) -> None:
        """Let a fault hit the actor in `slot`: call `act` with the actor's process before one of its next steps.

        The steps are counted from now, or from the moment of the actor's next claim.
        """
        process = slot.process

        def soon() -> None:
            process.doom(self.dice.choice((1, 10, 60)) * self.dice.randrange(1, 4) - 1, lambda: act(process))

        if self.dice.random() < 0.6:
            self.network.armed[process] = soon
        else:
            soon()

    def _kill(self) -> None:
        self._befall(self.dice.choice(self.slots), self._end)

    def _freeze(self) -> None:
        self._befall(self.dice.choice(self.slots), self._chill)

    def _replace(self) -> None:
        slot = self.dice.choice(self.slots)
        self._befall(slot, lambda process: slot.replace() if slot.process is process else None)

    def _end(self, process: Process) -> None:
        self.note(process.name, "is killed")
        process.kill()

    def _chill(self, process: Process) -> None:
        seconds = self.dice.choice((0.5, 1.5, 3.0, 5.0))
        self.note(process.name, "freezes", seconds)
        process.freeze(seconds)

    def _override(self) -> None:
        """Let an operator's override open a vendor for at most six seconds. In about half of the cases the override
        comes at the moment when the vendor's actor gets its next claim.
        """
        slot = self.dice.choice(self.slots)

        def act() -> None:
            until_ms = VirtualClock().wall_ms() + self.dice.randrange(6000)
            self.note("operator", "opens", slot.vendor)
            self.cell.overrides[slot.vendor] = Override(slot.vendor, "open", until_ms=until_ms)

        if self.dice.random() < 0.5:
            self.network.armed[slot.process] = act
        else:
            act()

    def _office(self) -> None:
        process = self.office.process
        if self.dice.random() < 0.6:
            process.doom(self.dice.randrange(60), lambda: self._end(process))
            return
        process.doom(self.dice.randrange(60), lambda: self._chill(process))
        if self.dice.random() < 0.5:  # as if Serve found it unhealthy: another begins beside it
            process.on_end.clear()
            self._at(1.0, self.office.begin)

    def _desk(self) -> None:
        process = self.dice.choice(self.desks).process
        process.doom(self.dice.randrange(60), lambda: self._end(process))

    def _store(self) -> None:
        seconds = self.dice.choice((0.2, 1.5, 3.0))
        self.note("store", "is away for", seconds)
        self.dice.choice((self.network.outage, self.network.stall))(seconds)

    def _heal(self) -> None:
        self.note("all is healed")
        self.network.loss = self.network.script_errors = 0.0
        self.network.losses = {}
        self.impatience = 0.0
        for peer in self.peers.values():
            peer.mode = "ok"
