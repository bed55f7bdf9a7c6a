"""Makes the parts of a vendor actor from the settings. `actors.proof` makes the same parts to check a configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from actors.runtime import receipt_links
from dispatcher.adapters.providers import provider
from dispatcher.adapters.providers.receipts import read_receipts
from dispatcher.config.settings import BreakerSettings, CourierSettings, Settings, VendorSettings, read_rules
from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerConfig
from dispatcher.core.breaker.per_country import KeyedBreakers
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.core.plan.identity import Identity
from dispatcher.deliver.attempt import Terms
from dispatcher.deliver.courier import Courier, CourierLimits
from dispatcher.deliver.incarnations import Incarnations
from dispatcher.deliver.maintenance import Caretaker, CaretakerPeriods
from dispatcher.deliver.status_lookups import LookUps
from dispatcher.deliver.surroundings import Surroundings
from dispatcher.operate.receipts import Reader
from dispatcher.ports import Control, LooksUp, Vendor
from dispatcher.templates.source import TemplateSource


def make_courier(
    settings: Settings, vendor: Vendor, around: Surroundings, *, changed: Callable[[], None] = lambda: None
) -> Courier:
    """Return a vendor's courier with its breaker, limits and rules. Nothing is connected.

    `changed` is called when the breaker's state has changed.
    """
    config = settings.vendors[vendor.name]
    breaker = Breaker(breaker_config(config.breaker, config.timeout_s), int(around.clock.now_s() * 1e9), around.chance)
    return Courier(
        *(vendor, breaker, around, terms(settings, vendor.name)),
        limits=courier_limits(config, settings.courier, cells=len(settings.store.cell_names)),
        on_change=changed,
        keys=KeyedBreakers(breaker, around.chance) if config.breaker.per == "country" else None,
    )


def make_caretaker(settings: Settings, courier: Courier, around: Surroundings) -> Caretaker:
    """Return the caretaker, which does the maintenance of the mailboxes beside the courier.

    It takes the claims of dead actors, promotes due notifications and ends expired ones.
    """
    c = settings.courier
    periods = CaretakerPeriods(take_s=c.take_s, audit_s=c.audit_s)
    vendors = frozenset(settings.vendors)
    return Caretaker(courier, around.store, around.clock, vendors, periods=periods, chance=around.chance)


def make_look_ups(settings: Settings, courier: Courier, vendor: Vendor, around: Surroundings) -> LookUps | None:
    """Return the part that asks the vendor about held messages. Return None if the vendor has no look-up, or if there
    are several cells.

    A twin is only found in its own cell (`core.life.look_up`). With several cells, a look-up could take a message from
    another cell for the held one, and the held one would be lost.
    """
    if not isinstance(vendor, LooksUp) or settings.store.cells:
        return None
    return LookUps(
        *(courier, vendor, around.store, around.clock),
        timeout_s=settings.vendors[courier.vendor.name].timeout_s,
        per_s=settings.courier.look_ups_per_s,
        chance=around.chance,
    )


def make_incarnations(
    settings: Settings,
    courier: Courier,
    control: Control,
    around: Surroundings,
    *,
    identity: Identity,
    begun: Callable[[], None],
) -> Incarnations:
    """Return the part that registers the courier's incarnations. `begun` is called when an incarnation has begun."""
    name = courier.vendor.name
    return Incarnations(
        *(courier, control, around.clock, around.chance),
        register=lambda: control.register(name, identity.get("pid", 0), identity.get("node", "")),
        goodbye_s=settings.vendors[name].timeout_s + 2.0,
        begun=begun,
    )


def terms(settings: Settings, name: str) -> Terms:
    """Return the terms under which the courier works for the vendor `name`.

    These are the policy for retries, the time-out, the SMS segments that the vendor may send, the maker of links for
    receipts, and the operator's rules. Raises `ConfigError` if the secret for receipts cannot be read.
    """
    config = settings.vendors[name]
    return Terms(
        retry_policy(settings), config.timeout_s, config.segments_max, receipt_links(settings), read_rules(config.rules)
    )


def courier_limits(v: VendorSettings, c: CourierSettings, *, cells: int = 1) -> CourierLimits:
    """Return how much a vendor's courier may do at once, and how often it claims and settles.

    Each of the `cells` has a courier of its own, so each courier gets its part of the contract rate and of the calls.
    """
    return CourierLimits(
        rate_per_s=part(v.rate_per_s, cells),
        concurrency_min=calls_part(v.concurrency_min, cells),
        concurrency_max=calls_part(provider(v.adapter).calls_at_once(v.concurrency_max), cells),
        half_open_calls=v.breaker.half_open_calls,
        settle_interval_s=c.settle_interval_ms / 1000,
        settle_stall_s=c.settle_stall_s,
        claim_block_ms=c.claim_block_ms,
        claim_pace_s=c.claim_pace_ms / 1000,
    )


def part(rate_per_s: float | None, cells: int) -> float | None:
    """Return one cell's part of a rate. A rate of None has no limit."""
    return None if rate_per_s is None else rate_per_s / cells


def calls_part(calls: int, cells: int) -> int:
    """Return one cell's part of calls at once: at least one, so that no cell stands still."""
    return max(1, calls // cells)


def receipt_readers(settings: Settings) -> dict[str, Reader]:
    """Return a reader of call-backs for each configured vendor, by name.

    A reader raises `CallerError` if its vendor's provider sends no call-backs.
    """
    return {name: partial(read_receipts, vendor.adapter) for name, vendor in settings.vendors.items()}


def retry_policy(settings: Settings) -> RetryPolicy:
    """Return the policy for the waits before another try."""
    r = settings.retry
    return RetryPolicy(r.attempts_max, r.base_s, r.cap_s, refused_waits_s=tuple(r.refused_waits_s))


def breaker_config(b: BreakerSettings, timeout_s: float) -> BreakerConfig:
    """Return the configuration of a vendor's breaker.

    `timeout_s` is the time-out of a call. A probe without a result after 1.5 times this time counts as lost.
    """
    return BreakerConfig(
        window_size=b.window_s,
        min_calls=b.min_calls,
        failure_rate=b.failure_rate,
        slow_rate=b.slow_rate,
        slow_ns=int(b.slow_duration_s * 1e9),
        open_wait_ms=int(b.open_wait_s * 1000),
        open_wait_multiplier=b.open_wait_multiplier,
        open_wait_ms_max=int(b.open_wait_s_max * 1000),
        open_wait_jitter=b.open_wait_jitter,
        half_open_calls=b.half_open_calls,
        half_open_min_calls=b.half_open_calls,
        half_open_max_wait_ms=int(b.half_open_max_wait_s * 1000),
        consecutive_failures=b.consecutive_failures,
        probe_lease_ms=int(timeout_s * 1500),
    )


def template_sources(settings: Settings) -> list[TemplateSource]:
    """Return the templates of the configuration file."""
    return [TemplateSource(name, t.text, t.subject, t.html) for name, t in settings.templates.items()]
