"""Judges a simulation. Each violation is a sentence. The first is the important one, as others may follow from it.

At all times:

- each stored notification is in exactly one place;
- a settled notification never changes;
- a decision is applied only if it comes from the owner of the entry;
- a process sends only entries that it holds;
- a living owner knows its claims.

At the end:

- a trigger that was answered 202 is settled, dead with a true reason, or held;
- a settled notification was delivered;
- a repeat has a cause.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dispatcher.adapters.memory.cell import Note, Record
from dispatcher.core.life.decide import CRASHES_MAX, Decision
from dispatcher.core.life.notification import Claim, notification_id
from dispatcher.ports import Applied
from tests.simulation.cast import NOT_SENT, Sent

if TYPE_CHECKING:
    from tests.simulation.scene import World

ENDS = frozenset(("settled", "cancelled", "suppressed", "skipped"))
FINAL = ENDS | {"dead", "held"}
UNKNOWN_CLAIM_S_MAX = 1.5
"""The most seconds for which a claim may be unknown to its owner. After that, the claim was lost without a trace.

A claim whose reply was lost is found by an audit after 0.5 s.
"""

PLAN_S_MAX = 4.0
"""The most seconds until the supervisor's plan is in force: a time-out of the store and the supervisor's next step."""

RECALL_S = 12.0
"""The time of one call and one drain, in seconds.

If a process sends an entry that it no longer holds, a fault within this time explains it.
"""

LOGGED_BUGS = frozenset(
    ("caretaker_failed", "delivery_failed", "look_up_failed", "loop_ended", "entries_deleted_while_pending")
)


class Checker:
    """Watches one simulated world and collects violations: each is a sentence about a broken promise of the program."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        self._ended: dict[str, str] = {}
        self._stored_ms: dict[str, int] = {}
        self._plan_wrong_since = world.loop.time()
        self._unknown_since: dict[tuple[Any, str], float] = {}
        world.network.on_decided = self.on_decided
        world.network.on_change = self.on_change

    def violate(self, sentence: str) -> None:
        self.world.note("VIOLATION", sentence)
        self.violations.append(sentence)

    # ---- throughout

    def on_log(self, level: str, fields: Mapping[str, Any]) -> None:
        if fields.get("event") in LOGGED_BUGS:
            self.violate(f"the product logged {dict(fields)}")

    def on_error(self, context: Mapping[str, Any]) -> None:
        self.violate(f"{context.get('message')}: {context.get('exception')!r}")

    def on_decided(self, me: str, owner: str | None, claim: Claim, decision: Decision, *, reply: Applied) -> None:
        word = type(decision).__name__.lower()
        self.world.note(me, word, claim.notification.id, reply.name)
        if reply is Applied.DONE and owner != me:
            self.violate(f"{me} was allowed to {word} {claim.notification.id}, which {owner} holds")

    def on_change(self) -> None:
        for trigger_id in self.world.cell.records:
            self._stored_ms.setdefault(trigger_id, self.world.cell.clock.wall_ms())
        if not self.violations:
            for sentence in self._misplaced():
                self.violate(sentence)

    def _notes(self) -> Iterator[tuple[str, Record, Note]]:
        for trigger_id, record in self.world.cell.records.items():
            for i, note in enumerate(record.notes):
                yield notification_id(trigger_id, i), record, note

    def _misplaced(self) -> Iterator[str]:
        cell = self.world.cell
        queued: dict[str, int] = {}
        for lane, state in cell.lanes.items():
            entries, pending = state.entries, state.pending
            if not entries and not pending:
                continue
            unread = set(state.unread)
            for entry_id, nid in entries.items():
                queued[nid] = queued.get(nid, 0) + 1
                if (entry_id in pending) == (entry_id in unread):
                    yield f"entry {entry_id} of {nid} in {lane} is neither unread nor pending, or both"
            for entry_id in pending:
                if entry_id not in entries:
                    yield f"{entry_id} in {lane} is pending and does not exist"
        for nid, record, note in self._notes():
            places = (nid in cell.due) + (nid in cell.delayed) + (nid in cell.held) + (nid in cell.dead)
            places += queued.get(nid, 0)
            state_is = note.state
            if self._ended.get(nid, state_is) != state_is:
                yield f"{nid} was {self._ended[nid]} and is {state_is}"
            if state_is in ENDS:
                self._ended[nid] = state_is
                if places:
                    yield f"{nid} is {state_is} and still in {places} places"
                continue
            if places != 1:
                yield f"{nid} is {state_is} and in {places} places"
            places_of = {"due": cell.due, "delayed": cell.delayed, "standby": cell.delayed, "held": cell.held}
            here = {**places_of, "dead": cell.dead}.get(state_is)
            if here is not None:
                if nid not in here:
                    yield f"{nid} is {state_is} and not among them"
            elif note.lane is None or cell.lane(note.lane).entries.get(note.entry_id) != nid:
                yield f"{nid} is {state_is} and not where its record says"
            if record.open < 1:
                yield f"{nid} is {state_is} in a record that is closed"

    def on_send(self, sent: Sent) -> None:
        found = self.world.cell.find(sent.nid)
        if found is None:
            self.violate(f"{sent.vendor} got {sent.nid}, which nobody stored")
            return
        note = found[1]
        owner = self.world.cell.lane(note.lane).pending.get(note.entry_id) if note.lane is not None else None
        actor = next(actor for actor in self.world.actors if actor.process is sent.process)
        live = self.world.cell.actors.get(owner or "") == "live"
        if (owner in actor.names and live) or self._troubled(sent, sent.at_s - RECALL_S, sent.at_s):
            return
        self.violate(f"{sent.process.name} sends {sent.nid}, which {owner or 'nobody'} holds and is {note.state}")

    def on_stopped(self, incarnation: str) -> None:
        """Check that an incarnation which reports its stop has no call in flight.

        Another actor sends the entries of a stopped incarnation at once. If a call were in flight, its message would be
        sent twice.
        """
        now_s = self.world.loop.time()
        for sent in self.world.sent:
            actor = next(actor for actor in self.world.actors if actor.process is sent.process)
            if incarnation in actor.names and not sent.answered and not self._troubled(sent, now_s - RECALL_S, now_s):
                self.violate(f"{incarnation} stopped while sending {sent.nid}")

    def _troubled(self, sent: Sent, from_s: float, to_s: float) -> bool:
        return sent.process.troubled(from_s, to_s) or any(
            begin <= to_s and end >= from_s for begin, end in self.world.network.troubles
        )

    async def watch(self) -> None:
        """Check again and again that each actor knows every claim of its incarnations, and that the plan in the store
        is the one that the supervisor has decided.

        Processes that are dead, frozen or cut off are not checked.
        """
        while True:
            await asyncio.sleep(0.25)
            now_s = self.world.loop.time()
            self._watch_plan(now_s)
            unknown = {}
            known = {
                name: (actor, actor.courier.known())
                for actor in self.world.actors
                if actor.process.steps and not actor.process.dead and not actor.process.frozen
                for name in actor.names
            }
            for lane, state in self.world.cell.lanes.items():
                for entry_id, owner in state.pending.items():
                    if owner in known and (lane, entry_id) not in known[owner][1]:
                        actor = known[owner][0]
                        if self.world.cell.actors.get(owner) == "live" and not actor.courier.stopping:
                            hidden_s = max(actor.process.hidden_until_s, self.world.network.hidden_until_s)
                            since_s = self._unknown_since.get((lane, entry_id), now_s)
                            unknown[lane, entry_id] = now_s if hidden_s > now_s else since_s
                            if now_s - unknown[lane, entry_id] > UNKNOWN_CLAIM_S_MAX:
                                self.violate(f"{owner} does not know its claim {entry_id} in {lane}")
                                return
            self._unknown_since = unknown

    def _watch_plan(self, now_s: float) -> None:
        office, network = self.world.office, self.world.network
        waits = office.process.dead or office.process.frozen or now_s < network.hidden_until_s
        if self._agreed() or waits or network.loss or network.losses:
            self._plan_wrong_since = now_s
        elif now_s - self._plan_wrong_since > PLAN_S_MAX:
            self.violate(f"the plan in force is not what the supervisor believes: {self.world.cell.plan}")

    def _agreed(self) -> bool:
        plan = self.world.cell.plan
        return plan is not None and plan.same_assignment(self.world.office.supervisor.plan)

    def at_rest(self) -> bool:
        return (
            self.world.loop.time() > self.world.network.quiet_s
            and self._agreed()
            and all(order.done for order in self.world.orders)
            and all(note.state in FINAL for _, _, note in self._notes())
        )

    # ---- at the end

    def judge(self) -> None:
        if self.violations:
            return
        self._judge_answers()
        by_nid: dict[str, list[Sent]] = {}
        for sent in self.world.sent:
            by_nid.setdefault(sent.nid, []).append(sent)
        for nid, record, note in self._notes():
            self._judge_end(nid, record, note, by_nid.get(nid, []))
            self._judge_repeats(nid, record, by_nid.get(nid, []))
        self._judge_caps()
        if self.world.faultless:
            for name in ("dispatcher_lost_settles", "dispatcher_recovered_claims", "dispatcher_takes"):
                if self.world.counted[name]:
                    self.violate(f"without a fault, {name} is {self.world.counted[name]}")

    def notifications_of(self, body: Mapping[str, Any]) -> int:
        """Return how many notifications a trigger with this body has."""
        return len(body["notifications"])

    def _judge_answers(self) -> None:
        cell = self.world.cell
        first: dict[str, str] = {}
        bodies: dict[str, Any] = {}
        ids = set()
        for order in self.world.orders:
            if not order.done:
                self.violate(f"order {order.number} never got an answer")
            for status, accepted in order.answers:
                if status == "409":
                    continue
                if status == "202":
                    record = cell.record(accepted.id)
                    wanted = [f"{accepted.id}.{i}" for i in range(self.notifications_of(order.body))]
                    if record is None or [nid for nid, _, _ in accepted.notifications] != wanted:
                        self.violate(f"order {order.number} was accepted as {accepted.id}, which is not stored")
                    if order.key is not None:
                        if first.setdefault(order.key, accepted.id) != accepted.id:
                            self.violate(f"{order.key} was accepted as {first[order.key]} and as {accepted.id}")
                        if bodies.setdefault(order.key, order.body) != order.body:
                            self.violate(f"{order.key} was accepted with two bodies")
                    ids.add(accepted.id)
                elif status not in ("503", "unknown"):
                    self.violate(f"order {order.number} was answered {status} {accepted}")
        unexpected = [i for i in cell.records if i not in ids]
        unanswered = [
            order for order in self.world.orders if any(status in ("503", "unknown") for status, _ in order.answers)
        ]
        if len(unexpected) > sum(len(order.answers) for order in unanswered):
            self.violate(f"{unexpected} are stored, and nobody ordered them")

    def _judge_end(self, nid: str, record: Record, note: Note, sent: list[Sent]) -> None:
        if note.state not in FINAL:
            where = (
                f"in {note.lane}, pending for {self.world.cell.lane(note.lane).pending.get(note.entry_id)}"
                if (note.state in ("queued", "started") and note.lane)
                else ""
            )
            self.violate(f"{nid} does not come to rest: {note.state} {where}")
        elif note.state == "settled" and note.reason:
            if not any(
                s.delivered and note.reason in (f"look_up: {s.message_id}", f"late: {s.message_id}") for s in sent
            ):
                self.violate(f"{nid} is settled by {note.reason}, and that is not its message")
        elif note.state == "settled" and not any(s.kind == "accepted" and s.answered for s in sent):
            self.violate(f"{nid} is settled, and no vendor accepted it")
        elif note.state == "suppressed" and sent:
            self.violate(f"{nid} is suppressed, and was sent")
        elif note.state == "held" and record.trigger.on_unknown != "hold":
            self.violate(f"{nid} is held, and its policy is resend")
        elif note.state == "dead" and not self._is_true(note, record, nid, sent):
            self.violate(f"{nid} is dead, {note.reason} is not true")
        if note.attempts > 8:
            self.violate(f"{nid} was tried {note.attempts} times")
        if self.world.faultless and (len(sent), note.state) not in ((1, "settled"), (0, "suppressed"), (0, "skipped")):
            self.violate(f"without a fault, {nid} is {note.state} after {len(sent)} sends")

    def _is_true(self, note: Note, record: Record, nid: str, sent: list[Sent]) -> bool:
        match note.reason:
            case "expired" | "refused_by_all":
                return record.expires_ms - record.trigger.accepted_ms <= 3000
            case "attempts_exhausted":
                return note.attempts >= 8
            case "poison":
                return note.crashes >= CRASHES_MAX
            case "unknown":  # held, without proof until its time was over
                return record.trigger.on_unknown == "hold" and record.expires_ms - record.trigger.accepted_ms <= 3000
            case "bad_number":
                return any(s.kind == "rejected" for s in sent)
        return False

    def _judge_repeats(self, nid: str, record: Record, sent: list[Sent]) -> None:
        hold = record.trigger.on_unknown == "hold"
        for earlier in sent[:-1]:
            if hold and earlier.kind not in NOT_SENT:
                self.violate(f"{nid} is on hold and was sent again after {earlier.kind} of {earlier.vendor}")
        delivered = [s for s in sent if s.delivered]
        for earlier, later in itertools.pairwise(delivered):
            if earlier.kind == "accepted" and not (
                self._troubled(earlier, earlier.at_s, later.at_s)
                or self._troubled(later, later.at_s - RECALL_S, later.at_s)
            ):
                self.violate(f"{nid} was delivered by {earlier.vendor} and again by {later.vendor}, without a cause")

    def _judge_caps(self) -> None:
        """Check that a notification was suppressed if and only if its recipient's cap was used up.

        The cap is used up if `cap.max` notifications were stored and not suppressed in the `cap.per_s` seconds
        before.
        """
        (cap,) = self.world.parsed.limits.recipient_caps
        per_ms = cap.per_s * 1000
        through: dict[str, list[int]] = {}
        for nid, record, note in self._notes():  # in the order in which they were stored
            at_ms = self._stored_ms[record.trigger.id]
            times = through.setdefault(record.trigger.notifications[0].to, [])
            recent = sum(at_ms - then_ms < per_ms for then_ms in times)
            if (recent >= cap.max) != (note.state == "suppressed"):
                self.violate(f"{nid} is {note.state}, after {recent} to its recipient within {cap.per_s} s")
            if note.state != "suppressed":
                times.append(at_ms)

    def counts(self) -> Counter[str]:
        """Return how many notifications are in each state, and how often sends, repeats, deaths and takes happened."""
        counts = Counter(note.state for _, _, note in self._notes())
        counts["looked_up"] = sum((note.reason or "").startswith("look_up") for _, _, note in self._notes())
        counts["triggers"] = len(self.world.cell.records)
        counts["sends"] = len(self.world.sent)
        seen: Counter[str] = Counter(s.nid for s in self.world.sent if s.delivered)
        counts["repeats"] = sum(n - 1 for n in seen.values())
        counts["deaths"] = sum(process.dead for process in self.world.processes)
        counts["takes"] = self.world.counted["dispatcher_takes"]
        counts["recovered"] = self.world.counted["dispatcher_recovered_claims"]
        return counts
