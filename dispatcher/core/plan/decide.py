"""Who drains what: the supervisor's one decision, as a pure function.

Rules:

1. Every mailbox that exists has a drainer or a stated hold, also those of vendors no longer configured.
2. A vendor drains its own mailbox while it is healthy. When it is not, the first healthy vendor that follows it in a
   chain adopts the mailbox: nothing is copied, only who drains changes.
3. An adopter is healthy in the same plan, so adoption cannot run in a circle.
4. A half-open vendor probes: one incarnation pulls from its own mailbox and from the one that took over. What no
   healthy vendor can drain, it drains as well: within its probes and shares it is the best there is.
5. An operator's override wins over every report, until its time is over; then it is as if it had never been said.
6. Nobody is judged by silence here: an incarnation is dead only when `supervision` said so. A vendor of which nobody
   has reported yet keeps the state of the previous plan.
7. Evidence is summed: when the replicas of a vendor are each below their minimum of calls, or each just below the
   threshold, their windows together still open it. What one country alone made bad is left out (`evidence`). What a
   vendor refused by an unlisted word and another accepted counts as its failure (`refusals`).
8. A vendor whose last actor is dead is `absent` until a new one reports: its fallback drains for it meanwhile.
9. A contract rate is divided among the live actors by `sharing`.
10. A vendor whose actors die again and again is `quarantined`: no work, as each death may repeat what was in flight.
    Only where nobody healthy or recovering is left does it drain: slowly with repeats is better than not at all.
11. A vendor that comes and goes gets new work back only after a minimum dwell (`dwell`); it is usable all the while.
12. When more than half of all vendors, at least two, are down without having been reached, the plan says that our own
    network is suspect. It holds nothing back for that: breakers leave such vendors their probes, and a vendor that is
    reached all the same goes on draining.
13. While no vendor of a chain is healthy and work waits for one of them, those that are open probe within
    `PROBE_WITHIN_S`. A breaker's own wait grows to minutes, which is right while other vendors carry the messages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dispatcher.core.breaker.refusals import RECIPIENTS_MIN
from dispatcher.core.plan.changes import changes
from dispatcher.core.plan.dwell import decide_turns
from dispatcher.core.plan.sharing import Share, divide
from dispatcher.core.plan.sizing import pool_size

CLOSED, HALF_OPEN, OPEN, FORCED_OPEN, ABSENT = "closed", "half_open", "open", "forced_open", "absent"
QUARANTINED = "quarantined"

PROBE_WITHIN_S = 20.0
"""A mended vendor has work within 30 s: this wait, the calls of the probe, a plan and a claim."""


@dataclass(frozen=True, slots=True)
class Beat:
    """I am alive. Published every 250 ms; costs Redis no fsync."""

    incarnation: str
    vendor: str
    replica: str
    pid: int
    node: str


@dataclass(frozen=True, slots=True)
class Report:
    """What one vendor actor says of itself, twice a second and at once when its breaker changes."""

    incarnation: str
    vendor: str
    breaker: str
    retry_after_s: float = 0.0
    attempts: int = 0
    window: Mapping[str, int] = field(default_factory=dict)
    evidence: Mapping[str, int] | None = None  # what of the window speaks of the vendor (`keyed`); None: all of it
    in_flight: int = 0
    replica: str = ""
    pid: int = 0
    node: str = ""
    version: str = ""
    calls_per_s: float = 0.0
    latency_s: float = 0.0
    reason: str = ""
    contradicted: Mapping[str, int] = field(default_factory=dict)
    """Vendor → messages that it refused by an unlisted word and this one accepted, in the last window."""
    unreached: int = 0
    """Failures in a row that ended before the vendor was reached: DNS, connect, TLS."""
    epoch: int = 0
    office: str = ""
    """Epoch and office of the plan it works by."""


@dataclass(frozen=True, slots=True)
class VendorConfig:
    """What deciding needs to know of a configured vendor."""

    name: str
    channel: str
    rate_per_s: float | None = None
    replicas_min: int = 1
    replicas_max: int = 4
    concurrency_max: int = 64
    min_calls: int = 20
    failure_rate: float = 50.0


@dataclass(frozen=True, slots=True)
class PlanConfig:
    vendors: Mapping[str, VendorConfig]
    chains: tuple[tuple[str, ...], ...]
    dwell_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's word: `open` (send nothing there) or `close` (send, whatever the breaker says).

    Under `close` the vendor's actors keep their breakers from opening: they count on and judge nothing.
    """

    vendor: str
    state: str
    who: str = ""
    why: str = ""
    until_ms: int | None = None

    def holds(self, now_ms: int) -> bool:
        return self.until_ms is None or self.until_ms > now_ms

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Override:
        return cls(**_known(cls, data))


@dataclass(frozen=True, slots=True)
class VendorPlan:
    """One vendor's part: may new work go there, whose mailboxes does it drain, who probes, what shares of the rate.

    `shares`: incarnation → its part of the contract rate; None without one.
    """

    name: str
    state: str
    takes_new: bool
    drains: tuple[str, ...]
    prober: str | None = None
    shares: Mapping[str, Share] | None = None
    replicas: int = 1
    override: str | None = None
    reason: str = ""
    switched_ms: int = 0
    unsteady: bool = False
    """See `core.plan.dwell`: when it last began or ceased to take new work, and whether it comes and goes."""
    probe_within_s: float | None = None
    """Its open breaker tries again after so long at most; None: after its own wait."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The assignment in force. `held` maps each mailbox without a drainer to its reason.

    `unreached`: the vendors that make our own network suspect; empty when it is not. `office`: a random name of the
    supervisor's term. A store that was emptied or went back counts terms and epochs again, names never.
    """

    epoch: int = 0
    at_ms: int = 0
    vendors: Mapping[str, VendorPlan] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    unreached: tuple[str, ...] = ()
    office: str = ""

    def replaces(self, held: Plan, asked_with: Plan | None = None) -> bool:
        """Is this the plan to work by for one who holds `held`? `asked_with`: what he held when he asked the store for
        it; None: it was told, and news overtake each other, so that only a later epoch counts.

        An answer to a question counts whatever its epoch, unless news came while it was on its way: the store had what
        he held then, and has an earlier one now, so it is not the store it was.
        """
        if held is asked_with:
            return (self.office, self.epoch) != (held.office, held.epoch)
        return self.epoch > held.epoch or not held.vendors

    def takes_new(self, vendor: str) -> bool:
        """Should new work go to this vendor? Before the first plan every vendor may be tried."""
        if not self.vendors:
            return True
        entry = self.vendors.get(vendor)
        return entry is not None and entry.takes_new

    def usable(self, vendor: str) -> bool:
        """May a message that failed elsewhere go to this vendor? Also to one that has new work led past it."""
        if not self.vendors:
            return True
        entry = self.vendors.get(vendor)
        return entry is not None and entry.state == CLOSED

    def recovering(self, vendor: str) -> bool:
        """Does it take probes and growing shares of what is there?"""
        entry = self.vendors.get(vendor)
        return entry is not None and entry.state == HALF_OPEN

    def same_assignment(self, other: Plan) -> bool:
        return (self.vendors, self.held, self.unreached) == (other.vendors, other.held, other.unreached)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        vendors = {
            name: VendorPlan(**_known(VendorPlan, {**entry, **_drains_and_shares(entry)}))
            for name, entry in data["vendors"].items()
        }
        unreached = tuple(data.get("unreached", ()))
        reason, office = data.get("reason", ""), data.get("office", "")
        return cls(data["epoch"], data["at_ms"], vendors, dict(data["held"]), reason, unreached, office)


def _drains_and_shares(data: Mapping[str, Any]) -> dict[str, Any]:
    shares = data.get("shares")
    found = None if shares is None else {name: Share(**_known(Share, share)) for name, share in shares.items()}
    return {"drains": tuple(data["drains"]), "shares": found}


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a later version added: after a roll-back everybody still reads its plan."""
    return {name: data[name] for name in kind.__dataclass_fields__ if name in data}  # type: ignore[attr-defined]


def decide(
    reports: Iterable[Report],
    config: PlanConfig,
    mailboxes: Mapping[str, int],
    overrides: Mapping[str, Override],
    previous: Plan,
    now_ms: int,
    absent: Collection[str] = (),
    live: Collection[str] = (),
    quarantined: Collection[str] = (),
    office: str = "",
    due: Mapping[str, int] | None = None,
) -> Plan:
    """The next plan.

    `reports`: the latest of each live incarnation; `mailboxes`: each existing one and its depth; `absent`: vendors that
    had an actor and have none now; `live`: incarnations that are not dead, also those that have not reported yet;
    `quarantined`: vendors whose actors die too often; `office`: of the supervisor that decides; `due`: vendor → what
    waits for its next try outside the mailboxes.
    """
    overrides = {name: word for name, word in overrides.items() if word.holds(now_ms)}
    by_vendor: dict[str, list[Report]] = {}
    for report in sorted(reports, key=lambda r: r.incarnation):
        by_vendor.setdefault(report.vendor, []).append(report)
    told = [report.contradicted for reports_of in by_vendor.values() for report in reports_of]
    refuted = {name: sum(int(counts.get(name, 0)) for counts in told) for name in config.vendors}
    states = {
        name: _state(vendor, by_vendor.get(name, []), overrides.get(name), previous, name in absent, refuted[name])
        for name, vendor in config.vendors.items()
    }
    suspended = {name for name, state in states.items() if state == CLOSED and _suspended(name, quarantined, overrides)}
    states.update(dict.fromkeys(suspended, QUARANTINED))
    healthy = {name for name, state in states.items() if state == CLOSED}
    recovering = {name for name, state in states.items() if state == HALF_OPEN}
    drains: dict[str, list[str]] = {name: [] for name in config.vendors}
    held: dict[str, str] = {}
    for mailbox in sorted(set(mailboxes) | set(config.vendors)):
        drainer = mailbox if mailbox in healthy else _adopter(mailbox, config, healthy)
        if drainer is None:
            drainer = mailbox if mailbox in recovering else _adopter(mailbox, config, recovering)
        if drainer is None:
            drainer = mailbox if mailbox in suspended else _adopter(mailbox, config, suspended)
        if drainer is not None:
            drains[drainer].append(mailbox)
        elif mailbox not in config.vendors:
            held[mailbox] = "vendor removed, no healthy vendor left"
        else:
            held[mailbox] = f"{states[mailbox]}, no healthy fallback"
    hurried = _hurried(config, states, {name: mailboxes.get(name, 0) + (due or {}).get(name, 0) for name in states})
    turns = decide_turns(healthy, config.vendors, config.chains, previous.vendors, overrides, now_ms, config.dwell_ms)
    vendors = {
        name: _vendor_plan(name, config, states[name], drains, by_vendor.get(name, []), overrides.get(name), mailboxes)
        for name in config.vendors
    }
    vendors = {
        name: replace(
            entry,
            **turns[name]._asdict(),
            probe_within_s=PROBE_WITHIN_S if name in hurried else None,
            shares=_shares(config.vendors[name], by_vendor.get(name, []), previous, live, office),
        )
        for name, entry in vendors.items()
    }
    plan = Plan(previous.epoch + 1, now_ms, vendors, held, unreached=_unreached(states, by_vendor), office=office)
    return replace(plan, reason="; ".join(changes(previous, plan)))


def _hurried(config: PlanConfig, states: Mapping[str, str], waiting: Mapping[str, int]) -> set[str]:
    """The open vendors of the chains on which work waits and nobody is healthy."""
    found: set[str] = set()
    for chain in config.chains:
        known = [name for name in chain if name in states]
        if any(waiting[name] for name in known) and all(states[name] != CLOSED for name in known):
            found.update(name for name in known if states[name] == OPEN)
    return found


def _unreached(states: Mapping[str, str], by_vendor: Mapping[str, list[Report]]) -> tuple[str, ...]:
    found = tuple(
        name
        for name, state in states.items()
        if state in (OPEN, HALF_OPEN) and name in by_vendor and all(r.unreached for r in by_vendor[name])
    )
    return found if len(found) >= 2 and 2 * len(found) > len(states) else ()


def _state(
    vendor: VendorConfig,
    reports: list[Report],
    override: Override | None,
    previous: Plan,
    absent: bool,
    refuted: int,
) -> str:
    absent = absent and not reports
    if override is not None:
        return FORCED_OPEN if override.state == "open" else ABSENT if absent else CLOSED
    if absent:
        return ABSENT
    if not reports:
        before = previous.vendors.get(vendor.name)
        return CLOSED if before is None or before.state in (FORCED_OPEN, QUARANTINED) else before.state
    states = {report.breaker for report in reports}
    if states & {CLOSED, "disabled", "metrics_only"}:
        # One open replica among healthy ones only stops itself.
        return OPEN if _together_bad(vendor, reports, refuted) else CLOSED
    return HALF_OPEN if HALF_OPEN in states else OPEN


def _suspended(vendor: str, quarantined: Collection[str], overrides: Mapping[str, Override]) -> bool:
    """An operator who says `close` has looked at it."""
    return vendor in quarantined and vendor not in overrides


def _together_bad(vendor: VendorConfig, reports: list[Report], refuted: int) -> bool:
    """`refuted`: its refusals of messages that other vendors accepted. Those are in no window of its own."""
    closed = [r.window if r.evidence is None else r.evidence for r in reports if r.breaker == CLOSED]
    calls, failed = (sum(int(window.get(name, 0)) for window in closed) + refuted for name in ("n", "failed"))
    enough = calls >= vendor.min_calls or refuted >= RECIPIENTS_MIN
    return (len(closed) > 1 or refuted > 0) and enough and failed * 100 >= vendor.failure_rate * calls


def _adopter(mailbox: str, config: PlanConfig, healthy: set[str]) -> str | None:
    """The first healthy vendor after `mailbox` in a chain that names it, else before it; for an unknown one, any."""
    for after in (True, False):
        for chain in config.chains:
            if mailbox in chain:
                at = chain.index(mailbox)
                for name in chain[at + 1 :] if after else chain[:at]:
                    if name in healthy:
                        return name
    if mailbox not in config.vendors:
        return min(healthy, default=None)
    return None


def _vendor_plan(
    name: str,
    config: PlanConfig,
    state: str,
    drains: Mapping[str, list[str]],
    reports: list[Report],
    override: Override | None,
    mailboxes: Mapping[str, int],
) -> VendorPlan:
    vendor = config.vendors[name]
    mine = sorted(drains[name], key=lambda mailbox: (mailbox != name, mailbox))
    prober = None
    if state == HALF_OPEN:
        probing = [report.incarnation for report in reports if report.breaker == HALF_OPEN]
        prober = probing[0] if probing else None
        took_over = [other for other, boxes in drains.items() if name in boxes]
        mine = list(dict.fromkeys([name, *took_over, *mine]))
    backlog = sum(mailboxes.get(mailbox, 0) for mailbox in mine) if state == CLOSED else 0
    return VendorPlan(
        name=name,
        state=state,
        takes_new=state == CLOSED,
        drains=tuple(mine),
        prober=prober,
        replicas=_pool_size(vendor, state, backlog, reports),
        override=override.state if override else None,
        reason=override.why if override else next((r.reason for r in reports if r.reason), ""),
    )


def _shares(
    vendor: VendorConfig, reports: list[Report], previous: Plan, live: Collection[str], office: str
) -> dict[str, Share] | None:
    if vendor.rate_per_s is None:
        return None
    entry = previous.vendors.get(vendor.name)
    before = dict((entry.shares if entry is not None else None) or {})
    holders = {name for name in before if name in live}
    confirmed = {report.incarnation for report in reports if report.epoch >= previous.epoch}
    for name in {report.incarnation for report in reports if _ahead(report, previous, office)}:
        # What it has by a plan that the store has lost is not known: nobody gets more until it works by one of ours.
        before[name] = Share(before[name].per_s if name in before else 0.0, vendor.rate_per_s)
        confirmed.discard(name)
    return divide(vendor.rate_per_s, sorted(holders | {r.incarnation for r in reports}), before, confirmed)


def _ahead(report: Report, previous: Plan, office: str) -> bool:
    """Does it work by a plan that comes after the one in force, and is none of this supervisor's?"""
    if report.office in ("", office):
        return False
    return report.epoch > previous.epoch or (report.epoch == previous.epoch and report.office != previous.office)


def _pool_size(vendor: VendorConfig, state: str, backlog: int, reports: list[Report]) -> int:
    """As the work asks; a vendor that recovers keeps what it has, one that is down the least.

    Calls that hang for their whole time-out would look like a need for more actors.
    """
    if state != CLOSED:
        live = len(reports) if state == HALF_OPEN else 0
        return max(vendor.replicas_min, min(live, vendor.replicas_max))
    calls_per_s = sum(report.calls_per_s for report in reports)
    busy = [report for report in reports if report.calls_per_s > 0]
    latency_s = sum(r.latency_s * r.calls_per_s for r in busy) / calls_per_s if busy else 0.0
    return pool_size(
        calls_per_s,
        latency_s,
        backlog,
        concurrency=vendor.concurrency_max,
        rate_per_s=vendor.rate_per_s,
        live=len(reports),
        least=vendor.replicas_min,
        most=vendor.replicas_max,
    )
