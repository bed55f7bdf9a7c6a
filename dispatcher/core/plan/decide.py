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
13. A pool grows only where its actors are the limit and a core is free for another one (`room`).
14. While no vendor of a chain is healthy and work waits for one of them, those that are open probe within
    `PROBE_WITHIN_S`. A breaker's own wait grows to minutes, which is right while other vendors carry the messages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from dispatcher.core.breaker.refusals import RECIPIENTS_MIN
from dispatcher.core.plan.changes import changes
from dispatcher.core.plan.dwell import decide_turns
from dispatcher.core.plan.room import FULL_MS, Pool, Sizes, allot, count_starting
from dispatcher.core.plan.sharing import Share, divide
from dispatcher.core.plan.sizing import pool_size
from dispatcher.core.plan.values import (
    ABSENT,
    CLOSED,
    FORCED_OPEN,
    HALF_OPEN,
    OPEN,
    QUARANTINED,
    Override,
    Plan,
    PlanConfig,
    Report,
    VendorConfig,
    VendorPlan,
)

PROBE_WITHIN_S = 20.0
"""A mended vendor has work within 30 s: this wait, the calls of the probe, a plan and a claim."""


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
    free_cores: Mapping[str, float] | None = None,
    due: Mapping[str, int] | None = None,
) -> Plan:
    """The next plan.

    `reports`: the latest of each live incarnation; `mailboxes`: each existing one and its depth; `absent`: vendors that
    had an actor and have none now; `live`: incarnations that are not dead, also those that have not reported yet;
    `quarantined`: vendors whose actors die too often; `office`: of the supervisor that decides; `free_cores`: of each
    node, None where nobody measures them; `due`: vendor → what waits for its next try outside the mailboxes.
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
    sizes = _sizes(config, states, drains, by_vendor, mailboxes, previous, now_ms, free_cores or {})
    hurried = _hurried(config, states, {name: mailboxes.get(name, 0) + (due or {}).get(name, 0) for name in states})
    turns = decide_turns(healthy, config.vendors, config.chains, previous.vendors, overrides, now_ms, config.dwell_ms)
    vendors = {
        name: _vendor_plan(name, config, states[name], drains, by_vendor.get(name, []), overrides.get(name))
        for name in config.vendors
    }
    vendors = {
        name: replace(
            entry,
            **turns[name]._asdict(),
            replicas=sizes.actors[name],
            sized_ms=_sized_ms(sizes.actors[name], previous.vendors.get(name), now_ms),
            probe_within_s=PROBE_WITHIN_S if name in hurried else None,
            shares=_shares(config.vendors[name], by_vendor.get(name, []), previous, live, office),
        )
        for name, entry in vendors.items()
    }
    unreached = _unreached(states, by_vendor)
    plan = Plan(previous.epoch + 1, now_ms, vendors, held, unreached=unreached, office=office, full=sizes.full)
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
    """Return the first healthy vendor after `mailbox` in a chain that names it, else before it.

    Chains that begin with it are looked at first: most of its notifications have one of these. For an unknown mailbox,
    any healthy vendor will do.
    """
    chains = sorted(config.chains, key=lambda chain: chain[:1] != (mailbox,))
    for after in (True, False):
        for chain in chains:
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
) -> VendorPlan:
    mine = sorted(drains[name], key=lambda mailbox: (mailbox != name, mailbox))
    prober = None
    if state == HALF_OPEN:
        probing = [report.incarnation for report in reports if report.breaker == HALF_OPEN]
        prober = probing[0] if probing else None
        took_over = [other for other, boxes in drains.items() if name in boxes]
        mine = list(dict.fromkeys([name, *took_over, *mine]))
    return VendorPlan(
        name=name,
        state=state,
        takes_new=state == CLOSED,
        drains=tuple(mine),
        prober=prober,
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


def _sizes(
    config: PlanConfig,
    states: Mapping[str, str],
    drains: Mapping[str, list[str]],
    by_vendor: Mapping[str, list[Report]],
    mailboxes: Mapping[str, int],
    previous: Plan,
    now_ms: int,
    free_cores: Mapping[str, float],
) -> Sizes:
    pools = [
        _pool(
            vendor,
            states[name],
            sum(mailboxes.get(mailbox, 0) for mailbox in drains[name]),
            by_vendor.get(name, []),
            previous.vendors.get(name),
        )
        for name, vendor in config.vendors.items()
    ]
    sized_ms = {name: entry.sized_ms for name, entry in previous.vendors.items()}
    found = allot(pools, free_cores, count_starting(pools, sized_ms, now_ms), previous.full)
    if now_ms - previous.at_ms < FULL_MS:
        still = {*previous.full, *found.full} & config.vendors.keys()
        return found._replace(full=tuple(sorted(still)))
    return found


def _pool(vendor: VendorConfig, state: str, backlog: int, reports: list[Report], before: VendorPlan | None) -> Pool:
    calls = max(sum(r.in_flight for r in reports), sum(r.calls_per_s * r.latency_s for r in reports))
    return Pool(
        vendor.name,
        wanted=_pool_size(vendor, state, backlog, reports),
        live=len(reports),
        least=vendor.replicas_min,
        planned=0 if before is None else before.replicas,
        in_flight=calls,
        concurrency=vendor.concurrency_max,
        cpu=[r.cpu for r in reports if r.cpu is not None],
        waiting=[r.waiting for r in reports if r.cpu is not None],
    )


def _sized_ms(replicas: int, before: VendorPlan | None, now_ms: int) -> int:
    return now_ms if before is None or before.replicas != replicas else before.sized_ms


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
