"""Makes triggers as intake gives them to the store, for benchmarks that fill the store without HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.notification import NewNotification, NewTrigger

DAY_MS = 86_400_000
TRIGGER_ID = "0-%026d"


def checkout(
    n: int,
    now_ms: int,
    *notifications: NewNotification,
    order: str | None = None,
    data: Mapping[str, Any] | None = None,
    **changes: Any,
) -> NewTrigger:
    """Return the checkout number `n`. `order` is its order number and idempotency key. `changes` may set any
    other field.
    """
    order = order or f"N{n:08d}"
    fields: JsonObject = {
        "id": TRIGGER_ID % n,
        "tenant": "default",
        "event": "checkout.completed",
        "body_hash": f"{n:064x}",
        "accepted_ms": now_ms,
        "expires_ms": now_ms + DAY_MS,
        "priority": "normal",
        "on_unknown": "resend",
        "data": data or {"order": order, "total": f"{n % 90 + 9}.90", "currency": "EUR", "name": f"Ada {n}"},
        "notifications": notifications,
        "idempotency_key": order,
    }
    return NewTrigger(**{**fields, **changes})
