"""The reasons for a new plan, as sentences. An operator reads them in the history of plans.

If two plans assign anything differently, at least one change is named here.
"""

from __future__ import annotations

from collections.abc import Iterator

from dispatcher.core.plan.unmanned import sentences
from dispatcher.core.plan.values import Plan, VendorPlan


def changes(previous: Plan, plan: Plan) -> list[str]:
    """Return the changes from `previous` to `plan` as texts: first those of each vendor, in the order of `plan`.

    After them come removed vendors, mailboxes that lost or got a drainer, vendors without an actor, full machines and
    a suspect network.
    """
    if not previous.vendors:
        return ["first plan"]
    found: list[str] = []
    for name, entry in plan.vendors.items():
        before = previous.vendors.get(name)
        found += [f"{name} added"] if before is None else _of_vendor(before, entry)
    found += [f"{name} removed" for name in previous.vendors if name not in plan.vendors]
    found += [
        f"{box} without a drainer: {why}" for box, why in plan.undrained.items() if previous.undrained.get(box) != why
    ]
    found += [f"{box} has a drainer again" for box in previous.undrained if box not in plan.undrained]
    found += sentences({name: why for name, why in plan.unmanned.items() if previous.unmanned.get(name) != why})
    found += [
        f"{name} has an actor" for name in previous.unmanned if name in plan.vendors.keys() - plan.unmanned.keys()
    ]
    if plan.full != previous.full:
        if plan.full:
            found.append(f"machine full: no free core for more actors of {', '.join(plan.full)}")
        else:
            found.append("machine no longer full")
    if plan.unreached != previous.unreached:
        if plan.unreached:
            found.append(f"own network suspected: {', '.join(plan.unreached)} fail before they are reached")
        else:
            found.append("own network no longer suspected")
    return found


def _of_vendor(before: VendorPlan, entry: VendorPlan) -> Iterator[str]:
    name = entry.name
    if before.override != entry.override:
        said = f"operator says {entry.override}" if entry.override else f"operator's {before.override} ended"
        yield f"{name} {said}" + (f" ({entry.reason})" if entry.override and entry.reason else "")
    if before.accepts_new != entry.accepts_new and (entry.accepts_new or entry.state == before.state):
        yield f"{name} gets new work" if entry.accepts_new else f"{name} gets no new work"
    elif entry.unsteady and not before.unsteady:
        yield f"{name} comes and goes: no new work for a while"
    if entry.account_refused and not before.account_refused:
        yield f"{name} refuses our account, by its receipts"
    elif before.account_refused and not entry.account_refused:
        yield f"{name}: no receipt refuses our account any more"
    if before.countries_refused != entry.countries_refused:
        yield f"{name} does not reach, by its receipts: {', '.join(entry.countries_refused) or 'nobody any more'}"
    if before.state != entry.state:
        yield f"{name} {before.state} → {entry.state}" + (f" ({entry.reason})" if entry.reason else "")
        return
    if before.drains != entry.drains:
        yield f"{name} drains {', '.join(entry.drains) or 'nothing'}"
    if before.probe_within_s != entry.probe_within_s:
        within_s = entry.probe_within_s
        yield f"{name} probes " + ("after its own wait" if within_s is None else f"within {within_s:g} s: work waits")
    if before.replicas != entry.replicas:
        yield f"{name} {before.replicas} → {entry.replicas} actors"
    if before.prober != entry.prober:
        yield f"{name} probed by {entry.prober or 'nobody'}"
    if before.shares != entry.shares:
        shares = (entry.shares or {}).items()
        yield f"{name} rate " + (", ".join(f"{who} {share.per_s:g}/s" for who, share in shares) or "without shares")
    if before.reason != entry.reason and before.override == entry.override:
        yield f"{name} {entry.state}: {entry.reason or 'for no reason any more'}"
