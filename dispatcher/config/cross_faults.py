"""Finds the faults of a configuration that concern more than one field."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel

from dispatcher.adapters.providers import provider
from dispatcher.config.fault_text import listed
from dispatcher.config.route_faults import channels_routed, route_faults
from dispatcher.config.setting_types import CONCURRENCY_MIN
from dispatcher.core.accepting.caps import identity
from dispatcher.core.accepting.expansion import fallback_fault
from dispatcher.templates.compile import faults
from dispatcher.templates.source import TemplateSource

if TYPE_CHECKING:
    from dispatcher.config.settings import EventFallback, EventNotification, Settings
    from dispatcher.config.store_settings import StoreSettings


def cross_faults(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each fault that concerns more than one field.

    Examples are a name that exists nowhere in the file, and a maximum below its minimum.
    """
    yield from _order_faults(settings)
    yield from _store_faults(settings.store)
    receipts = settings.receipts
    for name, other in (("public_url", "secret"), ("secret", "public_url")):
        if getattr(receipts, name) is None and getattr(receipts, other) is not None:
            yield f"receipts.{name}: is missing, but {other} is given"
    yield from _vendor_faults(settings)
    yield from route_faults(settings.routes, settings.vendors)
    caps = [identity(cap) for cap in settings.limits.recipient_caps]
    for index, cap in enumerate(caps):
        if cap in caps[:index]:
            yield f"limits.recipient_caps.{index}: counts the same as entry {caps.index(cap)}; remove one of them"
    for tenant, share in settings.tenants.items():
        if share.accept_burst is not None and share.accept_per_s is None:
            yield f"tenants.{tenant}.accept_per_s: is missing, but accept_burst is given"
    for name, given in settings.templates.items():
        for part, why in faults(TemplateSource(name, given.text, given.subject, given.html)):
            yield f"templates.{name}.{part}: it does not compile: {why}"
    yield from _event_faults(settings)


def _vendor_faults(settings: Settings) -> Iterator[str]:
    for name, vendor in settings.vendors.items():
        refused = provider(vendor.adapter).refuse_channel(name, vendor.channel)
        if refused is not None:
            yield refused
        beyond = provider(vendor.adapter).refuse_segments(name, vendor.segments_max)
        if beyond is not None:
            yield beyond
        if vendor.breaker.per == "country" and vendor.channel != "sms":
            yield f"vendors.{name}.breaker.per: 'country' is not allowed: must be vendor for {vendor.channel}"


def _event_faults(settings: Settings) -> Iterator[str]:
    for event, definition in settings.events.items():
        routed = channels_routed(settings.routes, event)
        for index, wanted in enumerate(definition.notifications):
            at = f"events.{event}.notifications.{index}"
            yield from _content_faults(settings, wanted, at, routed)
            if wanted.fallback is not None:
                yield from _fallback_faults(settings, wanted, f"{at}.fallback", routed)


def _content_faults(
    settings: Settings, sent: EventNotification | EventFallback, at: str, routed: Collection[str]
) -> Iterator[str]:
    """Yield the faults of one notification of an event: no route carries its channel, its template is not configured,
    or its template has no subject for an e-mail.
    """
    template = settings.templates.get(sent.template)
    if sent.channel not in routed:
        yield f"{at}.channel: {sent.channel!r} is not allowed: routes carry {listed(routed)}"
    if template is None:
        yield f"{at}.template: {sent.template!r} is not allowed: templates are {listed(settings.templates)}"
    elif sent.channel == "email" and not template.subject:
        yield f"templates.{sent.template}.subject: is missing, but {at} sends it by email"


def _fallback_faults(settings: Settings, wanted: EventNotification, at: str, routed: Collection[str]) -> Iterator[str]:
    f = wanted.fallback
    assert f is not None
    fault = fallback_fault(wanted.channel, f)
    if fault is not None:
        yield f"{at}.{fault[0]}: {fault[1]}"
    yield from _content_faults(settings, f, at, routed)
    if f.wait_for == "delivered" and settings.receipts.public_url is None:
        yield f"{at}.wait_for: 'delivered' is not allowed: receipts.public_url is missing, so no vendor reports it"


def _order_faults(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each maximum that is below its minimum."""
    pairs: list[tuple[str, BaseModel, str, str]] = [
        ("intake", settings.intake, "replicas_min", "replicas_max"),
        ("retry", settings.retry, "base_s", "cap_s"),
        ("supervision", settings.supervision, "beat_ms", "silence_ms"),
        ("limits", settings.limits, "body_bytes_max", "batch_bytes_max"),
        ("redrive", settings.redrive, "slow_per_s", "per_s"),
    ]
    for name, vendor in settings.vendors.items():
        pairs.append((f"vendors.{name}", vendor, "replicas_min", "replicas_max"))
        if vendor.concurrency_min != CONCURRENCY_MIN:  # a lower maximum alone lowers the minimum too
            pairs.append((f"vendors.{name}", vendor, "concurrency_min", "concurrency_max"))
        pairs.append((f"vendors.{name}.breaker", vendor.breaker, "open_wait_s", "open_wait_s_max"))
    for at, section, low, high in pairs:
        least, given = getattr(section, low), getattr(section, high)
        if given < least:
            yield f"{at}.{high}: {given} is not allowed: must be at least {low}, {least}"


def _store_faults(store: StoreSettings) -> Iterator[str]:
    for index, reference in enumerate(store.cells):
        if reference in store.cells[:index]:
            yield f"store.cells.{index}: {reference} is not allowed: it is entry {store.cells.index(reference)} too"
    if store.durability == "primary":
        for name in ("replicas", "replicas_away_max"):
            if getattr(store, name):
                yield f"store.durability: must be replica, because {name} is given"
    elif store.replicas is not None and store.replicas_away_max >= store.replicas:
        rule = f"must be less than replicas, {store.replicas}"
        yield f"store.replicas_away_max: {store.replicas_away_max} is not allowed: {rule}"
