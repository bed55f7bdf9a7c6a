"""Tells operators that a vendor refuses our account, or our sender in a country.

An operator has to act on such a refusal.
"""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.telemetry.log import logger
from dispatcher.telemetry.metrics import Metrics

TELL_AGAIN_S = 60.0
"""The time in seconds in which the same refusal is logged only once."""


class AccountRefusals:
    """Tells operators that a vendor refuses our account, or refuses our messages to a country.

    Each refusal of an account is counted. A refusal is logged once a minute for each vendor, country and reason.
    """

    def __init__(self, metrics: Metrics, now_s: Callable[[], float]) -> None:
        self._metrics, self._now_s = metrics, now_s
        self._told_s: dict[tuple[str, str, str], float] = {}  # vendor, country, reason → when it was last logged

    def tell(self, vendor: str, reason: str, country: str = "") -> None:
        """Tell operators about one refusal. `country` is '' if the whole account is refused."""
        if not country:
            self._metrics.count("dispatcher_account_refusals", vendor, reason)
        now_s, key = self._now_s(), (vendor, country, reason)
        if now_s - self._told_s.get(key, -TELL_AGAIN_S) < TELL_AGAIN_S:
            return
        self._told_s[key] = now_s
        if country:
            logger().error("vendor_country_refused", vendor=vendor, country=country, reason=reason)
        else:
            logger().error("vendor_account_refused", vendor=vendor, reason=reason)
