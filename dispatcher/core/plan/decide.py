"""The supervisor's decision which vendor drains which mailbox, as a pure function.

Rules:

1. Every mailbox that exists has a drainer, or a reason why no vendor drains it (`undrained`). This includes the
   mailboxes of vendors that are no longer configured.
2. A vendor drains its own mailbox while it is healthy. Otherwise the first healthy vendor that follows it in a chain
   adopts the mailbox. No notification is copied. Only the drainer changes.
3. An adopter is healthy in the same plan, so adoption cannot go round in a circle.
4. A half-open vendor probes: one incarnation claims from its own mailbox, and from that of the vendor that adopted it.
   A half-open vendor also drains the mailboxes that no healthy vendor can drain, but only within its probes and shares.
5. An operator's override wins over every report until its time is over. After that the plan is made without it.
6. Silence proves nothing here: an incarnation is dead only if `liveness` said so. A vendor without a report keeps the
   state of the previous plan.
7. The windows of a vendor's replicas are added up, and the sum may open the vendor's breaker in the plan. So failures
   count even if each single replica has too few calls, or is just below the threshold. Results that a single country
   made bad are left out (`evidence`). An unlisted refusal counts as a failure of the vendor if another vendor accepted
   the message (`refusals`).
8. A vendor whose last actor is dead is `absent` until a new actor reports. Meanwhile another vendor adopts its mailbox
   (rule 2). So is a vendor whose first actor does not start for too long (`unmanned`).
9. A contract rate is divided among the live actors by `sharing`.
10. A vendor whose actors die again and again is `quarantined` and gets no work, because each death may repeat what was
    in flight. A quarantined vendor drains only a mailbox that no healthy or recovering vendor can drain. There, a slow
    delivery with repeats is better than none.
11. A vendor that fails and recovers again and again gets new work back only after a minimum time (`dwell`). Meanwhile
    it still drains its mailbox.
12. If more than half of all vendors, and at least two, are down without having been reached, the plan says that our own
    network is suspect. Nothing else follows from that. The breakers of these vendors still let probes through, and a
    vendor that is reached goes on draining.
13. A pool grows only if its actors are the limit and a core is free for another one (`room`).
14. A vendor may accept a message and refuse it later by a receipt. If such a receipt refuses our account, the vendor's
    breaker opens. If enough receipts refuse messages to one country, that country is cut off (`core.breaker.refusals`).
15. If no vendor of a chain is healthy and work waits for one of them, the open vendors are probed within
    `PROBE_WITHIN_S`. A breaker's own wait grows to minutes. Such a long wait is right only while other vendors send the
    messages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dispatcher.core.breaker.refusals import RECIPIENTS_MIN
from dispatcher.core.plan.changes import changes
from dispatcher.core.plan.dwell import decide_turns
from dispatcher.core.plan.room import FULL_MS, Pool, allot, count_starting
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
"""The longest open wait in seconds while no vendor of a chain is healthy.

A vendor that works again then has work within 30 s: this wait, the probe's calls, a new plan and a claim.
"""


@dataclass(frozen=True, slots=True)
class Survey:
    """All facts that the supervisor knows when it decides.

    Attributes:
        reports: the latest report of each live incarnation.
        mailboxes: the depth of each existing mailbox.
        overrides: the operators' overrides by vendor. An override whose time is over has no effect.
        absent: vendors that had an actor and have none now.
        live: incarnations that are not dead, even if they have not reported yet.
        quarantined: vendors whose actors die too often.
        office: the random name of the supervisor's term.
        free_cores: the number of free cores by node; empty if they are not measured.
        due: how many notifications wait outside the mailboxes for their next try, by vendor.
        refused: for each intake replica, how many messages each vendor has refused by receipts lately, by country.
            The country '' stands for our account at the vendor.
        unmanned: the vendors that have been without an actor for too long, each with the reason.
    """

    reports: Collection[Report] = ()
    mailboxes: Mapping[str, int] = field(default_factory=dict)
    overrides: Mapping[str, Override] = field(default_factory=dict)
    absent: Collection[str] = ()
    live: Collection[str] = ()
    quarantined: Collection[str] = ()
    office: str = ""
    free_cores: Mapping[str, float] = field(default_factory=dict)
    due: Mapping[str, int] = field(default_factory=dict)
    refused: Collection[Mapping[str, Mapping[str, int]]] = ()
    unmanned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Known:
    """The facts about one vendor, from the survey and the previous plan.

    `refuted` counts messages that the vendor refused and another vendor then accepted. The windows of the vendor's
    actors do not count these refusals. `told` maps a country to the number of refusals by receipt for that country.
    Under the key '' it has the refusals of our account.
    """

    config: VendorConfig
    reports: tuple[Report, ...]
    override: Override | None
    before: VendorPlan | None
    absent: bool
    refuted: int
    told: Mapping[str, int]


def decide(survey: Survey, config: PlanConfig, previous: Plan, now_ms: int) -> Plan:
    """Return the next plan, with the next epoch. Its `reason` says what has changed since `previous`."""
    known = _sort(survey, config, previous, now_ms)
    states = {name: _state(vendor) for name, vendor in known.items()}
    suspended = {
        name
        for name, state in states.items()
        if state == CLOSED and name in survey.quarantined and known[name].override is None
    }  # an operator who says `close` has looked at it
    states.update(dict.fromkeys(suspended, QUARANTINED))
    drains, undrained = _drains(survey, config, states)
    pools = [_pool(vendor, states[name], _depth(survey, drains[name])) for name, vendor in known.items()]
    sized_ms = {name: entry.sized_ms for name, entry in previous.vendors.items()}
    found = allot(pools, survey.free_cores, count_starting(pools, sized_ms, now_ms), previous.full)
    if now_ms - previous.at_ms < FULL_MS:
        found = found._replace(full=tuple(sorted({*previous.full, *found.full} & config.vendors.keys())))
    hurried = _hurried(config, states, {n: survey.mailboxes.get(n, 0) + survey.due.get(n, 0) for n in states})
    healthy = {name for name, state in states.items() if state == CLOSED}
    overridden = {name for name, vendor in known.items() if vendor.override is not None}
    turns = decide_turns(healthy, config, previous.vendors, told=overridden, now_ms=now_ms)
    vendors = {
        name: replace(
            _vendor_plan(vendor, states[name], drains),
            **turns[name]._asdict(),
            replicas=found.actors[name],
            sized_ms=_sized_ms(found.actors[name], vendor.before, now_ms),
            probe_within_s=PROBE_WITHIN_S if name in hurried else None,
            shares=_shares(vendor, survey, previous),
        )
        for name, vendor in known.items()
    }
    unreached = _unreached(states, known)
    plan = Plan(
        *(previous.epoch + 1, now_ms, vendors, undrained),
        unreached=unreached,
        office=survey.office,
        full=found.full,
        unmanned={name: why for name, why in survey.unmanned.items() if name in config.vendors},
    )
    return replace(plan, reason="; ".join(changes(previous, plan)))


def _sort(survey: Survey, config: PlanConfig, previous: Plan, now_ms: int) -> dict[str, _Known]:
    """Return the known facts about each configured vendor, by its name: its reports, its override, and its part of the
    previous plan.
    """
    reports: dict[str, list[Report]] = {name: [] for name in config.vendors}
    for report in sorted(survey.reports, key=lambda r: r.incarnation):
        reports.setdefault(report.vendor, []).append(report)
    overrides = {name: override for name, override in survey.overrides.items() if override.holds(now_ms)}
    return {
        name: _Known(
            vendor,
            tuple(reports[name]),
            overrides.get(name),
            previous.vendors.get(name),
            name in survey.absent or name in survey.unmanned,
            sum(int(report.contradicted.get(name, 0)) for report in survey.reports),
            _told(survey.refused, name),
        )
        for name, vendor in config.vendors.items()
    }


def _told(refused: Collection[Mapping[str, Mapping[str, int]]], vendor: str) -> dict[str, int]:
    """Return how many messages the vendor has refused by receipts, by country.

    The counts of all intake replicas are added up.
    """
    found: dict[str, int] = {}
    for of_replica in refused:
        for country, count in of_replica.get(vendor, {}).items():
            found[country] = found.get(country, 0) + int(count)
    return found


def _drains(
    survey: Survey, config: PlanConfig, states: Mapping[str, str]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the mailboxes that each vendor drains, and the reason for each mailbox that no vendor drains.

    The drainer of a mailbox is a healthy vendor if there is one. Otherwise it is a vendor that recovers, and otherwise
    a vendor whose actors die too often.
    """
    able = [{name for name, state in states.items() if state == wanted} for wanted in (CLOSED, HALF_OPEN, QUARANTINED)]
    drains: dict[str, list[str]] = {name: [] for name in config.vendors}
    undrained: dict[str, str] = {}
    for mailbox in sorted(set(survey.mailboxes) | set(config.vendors)):
        drainers = (mailbox if mailbox in group else _adopter(mailbox, config, group) for group in able)
        drainer = next((name for name in drainers if name is not None), None)
        if drainer is not None:
            drains[drainer].append(mailbox)
        elif mailbox not in config.vendors:
            undrained[mailbox] = "vendor removed, no healthy vendor left"
        else:
            undrained[mailbox] = f"{states[mailbox]}, no healthy fallback"
    return drains, undrained


def _depth(survey: Survey, boxes: Collection[str]) -> int:
    return sum(survey.mailboxes.get(mailbox, 0) for mailbox in boxes)


def _hurried(config: PlanConfig, states: Mapping[str, str], waiting: Mapping[str, int]) -> set[str]:
    """Return the open vendors that must be probed soon.

    Such a vendor is in a chain without any healthy vendor, and work waits for a vendor of that chain.
    """
    found: set[str] = set()
    for chain in config.chains:
        known = [name for name in chain if name in states]
        if any(waiting[name] for name in known) and all(states[name] != CLOSED for name in known):
            found.update(name for name in known if states[name] == OPEN)
    return found


def _unreached(states: Mapping[str, str], known: Mapping[str, _Known]) -> tuple[str, ...]:
    """Return the vendors that are down without having been reached, if they are two or more and more than half of all.

    Otherwise return ().
    """
    found = tuple(
        name
        for name, state in states.items()
        if state in (OPEN, HALF_OPEN) and known[name].reports and all(r.unreached for r in known[name].reports)
    )
    return found if len(found) >= 2 and 2 * len(found) > len(states) else ()


def _state(vendor: _Known) -> str:
    absent = vendor.absent and not vendor.reports
    if vendor.override is not None:
        return FORCED_OPEN if vendor.override.state == "open" else ABSENT if absent else CLOSED
    if absent:
        return ABSENT
    if not vendor.reports:
        before = vendor.before
        return CLOSED if before is None or before.state in (FORCED_OPEN, QUARANTINED) else before.state
    states = {report.breaker for report in vendor.reports}
    if states & {CLOSED, "disabled", "metrics_only"}:
        # If some replicas are healthy, the breaker of an open replica stops only that replica.
        refused = CLOSED in states and bool(vendor.told.get(""))
        return OPEN if refused or _together_bad(vendor) else CLOSED
    return HALF_OPEN if HALF_OPEN in states else OPEN


def _together_bad(vendor: _Known) -> bool:
    """Return True if the results of all replicas together are bad enough to open the breaker."""
    refuted, config = vendor.refuted, vendor.config
    closed = [r.window if r.evidence is None else r.evidence for r in vendor.reports if r.breaker == CLOSED]
    calls, failed = (sum(int(window.get(name, 0)) for window in closed) + refuted for name in ("n", "failed"))
    enough = calls >= config.min_calls or refuted >= RECIPIENTS_MIN
    return (len(closed) > 1 or refuted > 0) and enough and failed * 100 >= config.failure_rate * calls


def _adopter(mailbox: str, config: PlanConfig, healthy: set[str]) -> str | None:
    """Return the first vendor in `healthy` that follows the vendor of `mailbox` in a chain. If none follows, return one
    that precedes it.

    Chains that begin with the mailbox's vendor are searched first, because most of the mailbox's notifications have
    such a chain. If the mailbox's vendor is no longer configured, any healthy vendor may adopt the mailbox. None means
    that no vendor can adopt it.
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


def _vendor_plan(vendor: _Known, state: str, drains: Mapping[str, list[str]]) -> VendorPlan:
    name, reports, override = vendor.config.name, vendor.reports, vendor.override
    mine = sorted(drains[name], key=lambda mailbox: (mailbox != name, mailbox))
    prober = None
    if state == HALF_OPEN:
        probing = [report.incarnation for report in reports if report.breaker == HALF_OPEN]
        prober = probing[0] if probing else None
        adopters = [other for other, boxes in drains.items() if name in boxes]
        mine = list(dict.fromkeys([name, *adopters, *mine]))
    countries = sorted(country for country, n in vendor.told.items() if country and n >= RECIPIENTS_MIN)
    return VendorPlan(
        account_refused=bool(vendor.told.get("")),
        countries_refused=tuple(countries),
        name=name,
        state=state,
        accepts_new=state == CLOSED,
        drains=tuple(mine),
        prober=prober,
        override=override.state if override else None,
        reason=override.why if override else next((r.reason for r in reports if r.reason), ""),
    )


def _shares(vendor: _Known, survey: Survey, previous: Plan) -> dict[str, Share] | None:
    """Return each actor's share of the contract rate, or None if the vendor has no contract rate."""
    rate_per_s, reports = vendor.config.rate_per_s, vendor.reports
    if rate_per_s is None:
        return None
    before = dict((vendor.before.shares if vendor.before is not None else None) or {})
    holders = {name for name in before if name in survey.live}
    confirmed = {report.incarnation for report in reports if report.epoch >= previous.epoch}
    for name in {report.incarnation for report in reports if _ahead(report, previous, survey.office)}:
        # Its share by the lost plan is not known, so no other share grows until this actor works by one of our plans.
        before[name] = Share(before[name].per_s if name in before else 0.0, rate_per_s)
        confirmed.discard(name)
    return divide(rate_per_s, sorted(holders | {r.incarnation for r in reports}), before, confirmed)


def _ahead(report: Report, previous: Plan, office: str) -> bool:
    """Return True if the actor already follows a later plan than ours, and another supervisor made that plan.

    `previous` is our plan, and `office` is the name of our own term.
    """
    if report.office in ("", office):
        return False
    return report.epoch > previous.epoch or (report.epoch == previous.epoch and report.office != previous.office)


def _pool(vendor: _Known, state: str, backlog: int) -> Pool:
    config, reports, before = vendor.config, vendor.reports, vendor.before
    calls = max(sum(r.in_flight for r in reports), sum(r.calls_per_s * r.latency_s for r in reports))
    return Pool(
        config.name,
        wanted=_pool_size(config, state, backlog, reports),
        live=len(reports),
        least=config.replicas_min,
        planned=0 if before is None else before.replicas,
        in_flight=calls,
        concurrency=config.concurrency_max,
        cpu=[r.cpu for r in reports if r.cpu is not None],
        waiting=[r.waiting for r in reports if r.cpu is not None],
    )


def _sized_ms(replicas: int, before: VendorPlan | None, now_ms: int) -> int:
    return now_ms if before is None or before.replicas != replicas else before.sized_ms


def _pool_size(vendor: VendorConfig, state: str, backlog: int, reports: Sequence[Report]) -> int:
    """Return how many actors the vendor's work needs. If the vendor is down, return the minimum.

    If the vendor recovers, return the present number. The amount of work says nothing about a vendor that is down:
    calls that hang until their time-out would look like a need for more actors.
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
