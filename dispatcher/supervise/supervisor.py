"""The supervisor decides which incarnations are dead and which vendor drains which mailbox.

A supervisor's state is only in memory. After a kill the supervisor starts again and begins a new term. From then on the
store refuses the plans of earlier terms. The supervisor rebuilds its state from the next reports, and declares no actor
dead because of its own absence. Meanwhile all actors use the last plan in the store. The supervisor carries no
notification, and no process waits for its answer.

On a cluster a second supervisor stands by: it hears every beat that the first supervisor hears, but publishes no plan.
If the first supervisor sends no beat for `patience_s`, the second supervisor begins a term. It may then at once declare
actors dead that were silent long enough. The first supervisor stands by as soon as it notices the later term. So after
a network partition both processes keep running: one publishes plans, and the other stands by.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from dispatcher.core.life.backlog import MailboxDepth
from dispatcher.core.life.retry import relisten_s
from dispatcher.core.plan.decide import Survey, decide
from dispatcher.core.plan.liveness import RestartIntensity, SilenceWatch
from dispatcher.core.plan.messages import Message, Statement, Sums
from dispatcher.core.plan.placement import Moves
from dispatcher.core.plan.unmanned import Vacancies, decide_unmanned
from dispatcher.core.plan.values import Beat, Override, Plan, PlanConfig, Report
from dispatcher.errors import StaleTermError, UnavailableError
from dispatcher.ports import Clock, Control, Incarnation
from dispatcher.supervise.cast import Cast
from dispatcher.telemetry.log import logger
from dispatcher.telemetry.metrics import Totals
from dispatcher.waiting import ended, rung

ECHO, STANDBY = "supervisor", "standby"
"""A supervisor's beat has one of these words where an actor's beat has the vendor's name."""
FORGET_S = 600.0
"""The time of silence in seconds after which a process counts as ended. The values that it counted stay in the sums."""

ECHOES_MISSED_MAX = 8
"""The number of own beats without an echo after which the subscription counts as broken.

The store received these beats, so their echoes should have come.
"""

FIRST_REPORTS_S = 1.5
"""The time in seconds after the beginning of a term in which a missing report does not count.

Every actor can report three times meanwhile.
"""


class Supervisor:
    """One supervisor. It is in office and publishes plans, or it stands by until the supervisor in office is silent.

    If there is no second supervisor (`patience_s` is 0), `run` raises StaleTermError when another supervisor has begun
    a later term.
    """

    def __init__(
        self,
        control: Control,
        clock: Clock,
        config: PlanConfig,
        *,
        beat_s: float = 0.25,
        silence_ms: int = 2000,
        decide_s: float = 0.25,
        chance: Callable[[], float] = lambda: 0.5,
        node: str = "",
        replica: str = "",
        waited_ms: Callable[[int], float] = lambda pid: 0.0,
        patience_s: float = 0.0,
        nodes: Callable[[], Collection[str]] = tuple,
        free_cpus: Callable[[], Mapping[str, float]] = dict,
        vendor_cpus: float = 0.0,
        heard: Callable[[Report | Statement], None] = lambda told: None,
    ) -> None:
        """Prepare a supervisor. Nothing is opened yet.

        `waited_ms` returns for how many milliseconds a process on `node`, this machine, has waited for a core since the
        last call. `patience_s` is for how long the supervisor in office may be silent before another one takes office.
        A `patience_s` of 0 means that there is no other supervisor. This supervisor then takes office at once, and ends
        when a later term begins. `nodes` returns the living machines that may have replicas; empty means that they are
        not known. `free_cpus` returns the CPUs that are free for replicas on each of these machines; empty means that
        they are not known. A vendor actor needs `vendor_cpus` of them. `heard` is called with every report.
        """
        self._patience_s, self._nodes, self._heard = patience_s, nodes, heard
        self._free_cpus, self._vendor_cpus = free_cpus, vendor_cpus
        self._alone = 0  # own echoes since the last beat of the supervisor in office
        self._echo_s = 0.0
        self._cast = Cast(node, replica)
        self._moves = Moves()
        self._chance = chance
        self._node, self._waited_ms = node, waited_ms
        self._control, self._clock, self._config = control, clock, config
        self._beat_s, self._decide_s = beat_s, decide_s
        self._watch = SilenceWatch(silence_ms, echo_gap_ms_max=int(beat_s * 2000))
        self._intensity = RestartIntensity()
        self._reports: dict[str, Report] = {}
        self._totals = Totals()
        self._told_s: dict[str, float] = {}  # process → when it last sent its metrics
        self._term = 0
        self.plan = Plan()
        self._doubtful = 0  # epoch of the last unanswered publication, which may be in force now, later or never
        self._plan_lost = False  # the store has an earlier plan than this supervisor, or none: it lost data
        self._live: dict[str, Incarnation] = {}
        self._surveyed = False
        self._vacancies = Vacancies(config.vendors)
        self._depths: dict[str, MailboxDepth] = {}
        self._due: dict[str, int] = {}
        self._overrides: dict[str, Override] = {}
        self._urgent = asyncio.Event()
        self._me = f"{ECHO}/{secrets.token_hex(4)}"
        self._office_s = 0.0
        self._unheard = 0  # own beats since the last one that came back
        self.turns = 0

    async def run(self) -> None:
        """Begin a term and serve until a later term begins. An outage of the store does not end this call.

        If there is a second supervisor (`patience_s` above 0), this supervisor stands by before its term and after it,
        until cancelled.
        """
        if not self._patience_s:
            await self._begin_term()
        loops = (self._listen, self._beat, self._survey, self._serve, self._add_up)
        tasks = [asyncio.ensure_future(loop()) for loop in loops]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            await ended(tasks)

    # ---- office

    @property
    def in_office_s(self) -> float:
        """Return for how many seconds this supervisor has been in office; 0 if it stands by."""
        return self._clock.now_s() - self._office_s if self._term else 0.0

    async def _serve(self) -> None:
        while True:
            if not self._term:
                await self._stand_by()
                await self._begin_term()
            try:
                await self._decide()
            except StaleTermError:
                if not self._patience_s:
                    raise
                logger().info("term_ended", term=self._term)
                self._term, self._alone, self._doubtful, self._plan_lost = 0, 0, 0, False

    async def _stand_by(self) -> None:
        """Wait until the supervisor that publishes the plans has sent no beat for `patience_s`.

        Time counts only while this supervisor receives its own beats, so an outage of the store does not count.
        """
        while self._alone * self._beat_s < self._patience_s:
            await self._clock.sleep(self._beat_s / 2)

    async def _begin_term(self) -> None:
        while True:
            try:
                self._term, self.plan = await self._control.begin_term()
                break
            except UnavailableError:
                await self._clock.sleep(0.5)
        self._office_s = self._clock.now_s()
        logger().info("term_begun", term=self._term, epoch=self.plan.epoch)

    # ---- hear

    async def _listen(self) -> None:
        while True:
            self._unheard = 0
            with contextlib.suppress(UnavailableError):
                async with contextlib.aclosing(self._control.listen(("beat", "report"))) as messages:
                    async for message in messages:
                        if message is not None:
                            self._hear(message)
                        if self._unheard >= ECHOES_MISSED_MAX:
                            logger().warning("subscription_deaf", unheard=self._unheard)
                            break
            await self._clock.sleep(relisten_s(self._chance()))

    def _hear(self, message: Message) -> None:
        if isinstance(message, Beat):
            self._hear_beat(message)
        elif isinstance(message, (Report, Statement)):
            self._hear_process(message)

    def _hear_process(self, told: Report | Statement) -> None:
        now_s = self._clock.now_s()
        self._cast.hear(told, now_s)
        self._heard(told)
        if told.metrics is not None:
            self._totals.hear(told.process, told.metrics)
            self._told_s[told.process] = now_s
        if isinstance(told, Statement) and self._cast.hear_refused(told, now_s):
            self._urgent.set()
        if isinstance(told, Report):
            before = self._reports.get(told.incarnation)
            self._reports[told.incarnation] = told
            self._live.setdefault(told.incarnation, Incarnation())
            if before is None or before.breaker != told.breaker:
                self._urgent.set()

    def _hear_beat(self, beat: Beat) -> None:
        now_s = self._clock.now_s()
        if beat.incarnation == self._me:
            # After a gap between own echoes, an outage of the store or of this process hid the other beats as well.
            self._alone = self._alone + 1 if now_s - self._echo_s <= 2 * self._beat_s else 0
            self._unheard, self._echo_s = 0, now_s
            self._watch.on_echo(now_s * 1000, self._starved_ms)
        elif beat.vendor in (ECHO, STANDBY):
            self._cast.hear_supervisor(beat, now_s)
            if beat.vendor == ECHO:
                self._alone = 0
        else:
            self._watch.on_beat(beat.incarnation)

    def _starved_ms(self, incarnation: str) -> float:
        found = self._live.get(incarnation)
        return self._waited_ms(found.pid) if found and found.pid and found.node == self._node else 0.0

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(UnavailableError):
                kind = ECHO if self._term else STANDBY
                await self._control.beat(Beat(self._me, kind, self._cast.replica, 0, self._node))
                self._unheard += 1
            await self._clock.sleep(self._beat_s)

    async def _survey(self) -> None:
        """Read from the store which incarnations are live, which mailboxes exist, and the operators' overrides."""
        while True:
            try:
                live = await self._control.live()
                self._watch.watch(live)
                for name, found in live.items():
                    if found.renewed != self._live.get(name, found).renewed:
                        self._watch.on_beat(name)
                for gone in self._live.keys() - live:
                    self._reports.pop(gone, None)
                self._live = live
                self._vacancies.look(map(_vendor_of, live), self._clock.now_s())
                self._depths = await self._control.depths()
                backlog = await self._control.backlog(self._depths)
                self._due = {name: box.counts["due"] for name, box in backlog.items()}
                self._surveyed = True
                overrides = await self._control.overrides()
                if overrides != self._overrides:
                    self._overrides = overrides
                    self._urgent.set()
                await self._control.forget(await self._control.ended())
                await self._look_for_plan()
            except UnavailableError:
                pass
            await self._clock.sleep(0.5)

    async def _look_for_plan(self) -> None:
        """Have the plan published again if the store has lost it.

        An emptied store does not report the loss by itself.
        """
        mine = self.plan
        stored = await self._control.plan()
        if not self._term:
            self._cast.told_to_leave = stored.leaving if stored else ()
        elif mine.vendors and mine is self.plan and (stored is None or stored.epoch < mine.epoch):
            self._plan_lost = True
            self._urgent.set()

    # ---- decide, publish

    async def _decide(self) -> None:
        while True:
            await rung(self._urgent, self._decide_s)
            self._urgent.clear()
            self.turns += 1
            try:
                await self._bury_silent()
                await self._publish()
            except UnavailableError:
                await self._clock.sleep(0.2)

    async def _bury_silent(self) -> None:
        silent = self._watch.dead({name: found.node for name, found in self._live.items()})
        if not silent:
            return
        # An incarnation that has renewed itself since the last survey stays live; the next survey sees that.
        dead = await self._control.bury(
            {name: self._live.get(name, Incarnation()).renewed for name in silent}, self._term
        )
        now_s = self._clock.now_s()
        before = self._intensity.quarantined(now_s)
        self._intensity.on_deaths(map(_vendor_of, dead), now_s)
        for vendor in sorted(self._intensity.quarantined(now_s) - before):
            logger().error("vendor_quarantined", vendor=vendor, seconds=self._intensity.quarantine_s)
        for incarnation in dead:
            logger().warning("incarnation_declared_dead", incarnation=incarnation)
            self._reports.pop(incarnation, None)
            self._live.pop(incarnation, None)
        self._watch.watch(self._live)

    async def _publish(self) -> None:
        if not self._surveyed:
            return  # the shares of the contract rates are not known yet
        if not self.plan.vendors and self._clock.now_s() - self._office_s < FIRST_REPORTS_S and not self._reports:
            return  # a first plan before any report would say nothing
        before = replace(self.plan, epoch=max(self.plan.epoch, self._doubtful))
        plan = decide(self._facts(), self._config, before, self._clock.wall_ms())
        plan = replace(plan, leaving=self._leaving())
        if plan.same_assignment(self.plan) and self._doubtful <= self.plan.epoch and not self._plan_lost:
            return
        if not plan.reason and plan.leaving != self.plan.leaving:
            plan = replace(plan, reason=_moved(plan.leaving))
        if not plan.reason:
            again = "the store had lost it" if self._plan_lost else "its publication was not answered"
            plan = replace(plan, reason=f"said again: {again}")
        try:
            await self._control.publish(plan, self._term)
        except UnavailableError:
            self._doubtful = plan.epoch
            raise
        self.plan, self._plan_lost = plan, False
        logger().info("plan_published", epoch=plan.epoch, reason=plan.reason)

    def _facts(self) -> Survey:
        now_s, manned = self._clock.now_s(), {_vendor_of(name) for name in self._live}
        without_s = self._vacancies.without_actor_s(manned)
        return Survey(
            [report for name, report in self._reports.items() if name in self._live],
            mailboxes={name: depth.total for name, depth in self._depths.items()},
            overrides=self._overrides,
            absent=self._vacancies.absent(manned),
            live=set(self._live),
            quarantined=self._intensity.quarantined(now_s),
            office=self._me,
            free_cores=self._cast.free_cores(now_s),
            due=self._due,
            refused=self._cast.refused(now_s),
            unmanned=decide_unmanned(without_s, self._free_cpus(), self._vendor_cpus, self.plan.unmanned),
        )

    def _leaving(self) -> tuple[str, ...]:
        """Return the replicas that should leave their machines; () if the machines are not known."""
        nodes = self._nodes()
        if not nodes:
            return ()
        now_s = self._clock.now_s()
        leaving = self._moves.look(self._cast.placed(now_s), nodes, self._config.chains, now_s)
        if leaving and leaving != self.plan.leaving:
            logger().info("replica_asked_to_leave", replica=leaving[0])
        self._cast.told_to_leave = leaving
        return leaving

    def check(self) -> None:
        """Raise RuntimeError if this replica was asked to leave its machine. Serve then replaces it, usually on another
        machine.
        """
        if self._cast.replica and self._cast.replica in self._cast.told_to_leave:
            raise RuntimeError("asked to leave this machine")

    async def _add_up(self) -> None:
        while True:
            await self._clock.sleep(1.0)
            before_s = self._clock.now_s() - FORGET_S
            ended = [process for process, told_s in self._told_s.items() if told_s < before_s]
            self._totals.end(ended)
            for process in ended:
                del self._told_s[process]
            with contextlib.suppress(UnavailableError):
                if not self._term:
                    continue
                await self._control.totals(Sums(self._totals.snapshot(), self._term))


def _moved(leaving: Collection[str]) -> str:
    return f"{', '.join(leaving)} is asked to leave its machine" if leaving else "nobody is to leave any more"


def _vendor_of(incarnation: str) -> str:
    return incarnation.rpartition("/")[0]


__all__ = ["StaleTermError", "Supervisor"]
