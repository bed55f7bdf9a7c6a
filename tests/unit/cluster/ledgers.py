"""Posted checkouts, and the vendors' deliveries of them, for the tests of the verdict and the demo."""

from __future__ import annotations

from typing import Any

from cluster.rehearsal.load import Posted

CHANNELS = {"sms-a": "sms", "sms-b": "sms", "email-a": "email", "email-b": "email"}
FIRST, SECOND = "N000001", "N000002"


def posted(*keys: str, accepted: bool = True) -> list[Posted]:
    """Return one posted trigger for each key, due at second 100. If `accepted`, it was acknowledged 5 ms later."""
    return [
        Posted(key, 100.0, sent_s=100.0, accepted_s=100.005 if accepted else None, status=202 if accepted else 503)
        for key in keys
    ]


def said(key: str, at_s: float = 101.0, text: str = "Your order {} is paid.") -> dict[str, Any]:
    return {"t": at_s, "to": "+4915112345678", "text": text.format(key), "subject": None, "id": "v-1"}


def ledger(**changes: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the deliveries of each vendor. Without `changes`, each vendor channel has received FIRST and SECOND once.

    An argument such as `sms_a` replaces the deliveries of that vendor.
    """
    whole: dict[str, list[dict[str, Any]]] = {
        "sms-a": [said(FIRST), said(SECOND)],
        "sms-b": [],
        "email-a": [said(FIRST, 103.0), said(SECOND, 103.0)],
        "email-b": [],
    }
    return {**whole, **{name.replace("_", "-"): value for name, value in changes.items()}}
