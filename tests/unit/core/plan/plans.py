"""Makes reports, configurations and the plan that is decided from them, for the tests of plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatcher.core.plan.decide import Survey, decide
from dispatcher.core.plan.values import Override, Plan, PlanConfig, Report, VendorConfig

NAMES = ("a", "b", "c", "d")
STATES = ("closed", "open", "half_open", "forced_open", "disabled", "metrics_only")


def config(*names: str, chains: tuple[tuple[str, ...], ...] | None = None, **changes: Any) -> PlanConfig:
    vendors = {name: VendorConfig(name, "sms", **changes) for name in names}
    return PlanConfig(vendors, (names,) if chains is None else chains)


def report(vendor: str, breaker: str = "closed", number: int = 1, **changes: Any) -> Report:
    return Report(f"{vendor}/{number}", vendor, breaker, **changes)


def planned(
    *reports: Report,
    config: PlanConfig,
    mailboxes: Mapping[str, int] | None = None,
    overrides: Mapping[str, Override] | None = None,
    previous: Plan | None = None,
    now_ms: int = 1000,
) -> Plan:
    return decide(
        Survey(reports, mailboxes=mailboxes or {}, overrides=overrides or {}), config, previous or Plan(), now_ms
    )
