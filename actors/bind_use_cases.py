"""Makes the use cases of one cell of an intake replica, with Redis behind them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from actors.assembly import receipt_readers, retry_policy
from actors.runtime import receipt_links
from dispatcher.accept.intake import Intake
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.listings import RedisListings
from dispatcher.adapters.redis.script_calls import Client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.adapters.redis.views import RedisViews
from dispatcher.config.settings import Settings, read_rules
from dispatcher.core.cells.names import FIRST_CELL
from dispatcher.core.plan.identity import Identity
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.operate.late_refusals import LateRefusals
from dispatcher.operate.listings import Listings
from dispatcher.operate.probes import Probes, Replica, Watches
from dispatcher.operate.receipts import Receipts
from dispatcher.operate.redrive_updates import RedriveUpdates
from dispatcher.operate.templates import Templates
from dispatcher.operate.triggers import Triggers
from dispatcher.operate.use_cases import UseCases
from dispatcher.operate.vendors import Vendors
from dispatcher.ports import Clock
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.owned import TemplateQuota
from dispatcher.version import VERSION


@dataclass(frozen=True, slots=True)
class Bound:
    """The parts of one cell that its use cases need. `asking` is the Redis client for operators' questions."""

    asking: Client
    store: RedisStore
    views: RedisViews
    control: RedisControl
    cache: TemplateCache
    clock: Clock
    metrics: Metrics
    cell: str = FIRST_CELL


def bind_use_cases(settings: Settings, intake: Intake, watches: Watches, bound: Bound, *, replica: Replica) -> UseCases:
    """Return the use cases of an intake replica. No use case connects before its first call."""
    s, control, views, keys = settings, bound.control, bound.views, Keys(bound.cell)
    templates, cells = RedisTemplateStore(bound.asking, keys.prefix), len(s.store.cell_names)
    channels = {name: vendor.channel for name, vendor in s.vendors.items()}
    links, readers = receipt_links(s), receipt_readers(s)
    quota = TemplateQuota(s.limits.tenant_templates_max, s.limits.tenant_template_bytes_max)
    return UseCases(
        intake=intake,
        triggers=Triggers(views, bound.store),
        vendors=Vendors(s.vendors, control, watches.fleet, lambda: intake.plan, clock=bound.clock),
        dead_letters=DeadLetters(
            *(views, s.vendors.__contains__, lambda: intake.plan),
            per_s=s.redrive.per_s / cells,
            slow_per_s=s.redrive.slow_per_s / cells,
            wall_ms=intake.time.now_ms,
            updates=RedriveUpdates(s, bound.cache),
        ),
        listings=Listings(RedisListings(bound.asking, keys)),
        templates=Templates(bound.cache, templates, quota, s.templates),
        probes=Probes(intake, watches, control, control, channels=channels, replica=replica),
        receipts=None
        if links is None
        else Receipts(links, bound.store, views, bound.metrics, readers=readers, late=_late_refusals(s, intake, bound)),
        limits=s.limits,
    )


def _late_refusals(settings: Settings, intake: Intake, bound: Bound) -> LateRefusals:
    return LateRefusals(
        *(bound.store, bound.metrics, bound.clock, lambda: intake.plan),
        policy=retry_policy(settings),
        rules={name: read_rules(vendor.rules) for name, vendor in settings.vendors.items()},
        now_ms=intake.time.now_ms,
        chance=random.random,
    )


def replica_of(settings: Settings, runtime: Mapping[str, str], identity: Identity) -> Replica:
    """Return the facts about this intake replica that its status answers show.

    They include the warnings that were found when the service started.
    """
    warnings = [warning for warning in runtime.get("warnings", "").split("\n") if warning]
    if settings.store.durability_stated:
        warnings.append("durability of Redis is stated by the operator (store.durability_stated), and not proven")
    return Replica(VERSION, identity, tuple(warnings), runtime.get("installation", ""), https=settings.tls is not None)
