"""Accept rates and recipient caps in memory, and the charges of triggers that other cells store."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.adapters.memory.cell import Cell
from dispatcher.core.accepting.caps import Cap, has_room
from dispatcher.core.life.notification import NewTrigger
from dispatcher.core.limits.accept_rate import Quota, grant
from dispatcher.ports import CHARGE_KEPT_MS, Charged, ChargeResult


def granted_now(cell: Cell, trigger: NewTrigger) -> tuple[bool, Quota | None]:
    """Return whether the tenant's accept rate allows the trigger, and the quota. A granted trigger is counted."""
    if trigger.rate is None:
        return True, None
    before_ms, now_ms = cell.paid_ms.get(trigger.tenant, 0.0), cell.clock.wall_ms()
    granted, cell.paid_ms[trigger.tenant], quota = grant(trigger.rate, before_ms, now_ms)
    return granted, quota


def let_through(cell: Cell, caps: Sequence[Cap]) -> bool:
    """Return True if the message fits under every cap of `caps`, and count the message under each of these caps.

    If a cap has no room, nothing is counted.
    """
    now_ms, counts = cell.clock.wall_ms(), cell.caps
    if not all(has_room(counts.get(cap.key, ()), cap.most, cap.per_ms, now_ms) for cap in caps):
        return False
    for cap in caps:
        counts[cap.key] = [*counts.get(cap.key, ()), now_ms][-cap.most :]
    return True


def charge(cell: Cell, trigger: NewTrigger) -> Charged:
    """Count a trigger that another cell stores. `dispatcher.ports.store` is the contract."""
    now_ms, kept = cell.clock.wall_ms(), cell.charges.get(trigger.id)
    if kept is not None and kept[0] == trigger.body_hash and now_ms < kept[1]:
        return kept[2]
    if cell.full:
        return Charged(ChargeResult.FULL)
    granted, quota = granted_now(cell, trigger)
    if not granted:
        return Charged(ChargeResult.LIMITED, quota=quota)
    suppressed = tuple(i for i, new in enumerate(trigger.notifications) if not let_through(cell, new.caps))
    answer = Charged(ChargeResult.CHARGED, suppressed, quota)
    kept_ms = min((CHARGE_KEPT_MS, *(cap.per_ms for n in trigger.notifications for cap in n.caps)))
    cell.charges[trigger.id] = trigger.body_hash, now_ms + kept_ms, answer
    return answer
