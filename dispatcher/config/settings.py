"""The models of the configuration file.

The file is read once, at a composition root, and passed to other processes whole.

Secrets stay references (`${NAME}` or `file:/path`) in these models, because Ray stores and shows what it gets. The
process that uses an option resolves the reference (`secret_references`). All faults become one `ConfigError`, which
gives each wrong field's name, its value and what is allowed. Values below `options` are never shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dispatcher.adapters.providers import provider
from dispatcher.config.cross_faults import cross_faults
from dispatcher.config.fault_text import describe
from dispatcher.config.kinds import (
    CONCURRENCY_MIN,
    Adapter,
    CallableUrl,
    ClockTime,
    CountryCode,
    EventName,
    Percent,
    PositiveInt,
    PositiveS,
    Ratio,
    Replicas,
    Segments,
    TemplateName,
    TenantName,
    VendorName,
    ZoneName,
)
from dispatcher.config.rule_patterns import RulePattern
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.choices import Channel, OnUnknown, Priority, WaitFor
from dispatcher.core.life.outcome import Meaning, Rule
from dispatcher.core.life.retry import REFUSED_WAITS_S
from dispatcher.core.limits.accept_rate import AcceptRate
from dispatcher.core.limits.turns import WEIGHT_MAX
from dispatcher.core.store.replication import ReplicaRule
from dispatcher.errors import ConfigError

TENANTS_MAX = 1_000
"""The most tenants that the file may configure. Each intake replica keeps all of them in memory."""


class _Section(BaseModel):
    """The base class of all models of the configuration.

    A text such as `"10"` is not accepted as a number. An unknown field is an error. Values cannot be changed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class BreakerSettings(_Section):
    """The settings of a vendor's breaker. They say when it opens, how long it stays open, and how it probes.

    Rates are percentages of the calls in the window.
    """

    window_s: Annotated[int, Field(ge=1, le=86_400)] = (
        10  # long enough for 20 calls at 2/s, short enough to forget the outage before
    )
    min_calls: PositiveInt = 20  # a rate over fewer calls is noise
    failure_rate: Percent = 50.0  # half failing: the next vendor is better
    slow_rate: Percent = 80.0  # slow is worse than down only when nearly all calls are
    slow_duration_s: PositiveS = 5.0  # half the default time-out; no healthy vendor answers later
    consecutive_failures: PositiveInt = 10  # opens at once under load, before the window has its minimum
    open_wait_s: PositiveS = 5.0  # most vendor hiccups are over by then
    open_wait_multiplier: Annotated[float, Field(ge=1, le=100)] = 2.0  # each further opening waits twice as long
    open_wait_s_max: PositiveS = 300.0  # a vendor that is back is found within five minutes
    open_wait_jitter: Ratio = 0.5  # replicas must not probe together; applied downward, so the maximum holds
    half_open_calls: PositiveInt = 5  # enough to tell luck from health, few enough to lose
    half_open_max_wait_s: Annotated[float, Field(ge=0)] = 30.0  # a lost probe must not hold it; 0: wait forever
    per: Literal["vendor", "country"] = "vendor"  # country: one that fails alone is cut off alone; sms only


def _rule_pattern(text: str) -> str:
    if RulePattern(text).search(""):
        raise ValueError("must not match an empty text: it would be the meaning of every answer")
    return text


class RuleSettings(_Section):
    """An operator's rule about the meaning of a vendor's answers.

    The expression `match` is searched in the text `REASON: TEXT`, such as `twilio_30410: Provider timed out`. The first
    rule that matches wins. The vendor's text is used only for rules. It is never stored or logged.
    """

    match: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_rule_pattern)]
    means: Literal["final", "deferred", "route", "account", "unlisted", "rate", "vendor", "unknown"]
    wait_s: Annotated[float, Field(gt=0, le=86_400)] | None = None  # for account and rate; None: the usual wait


class VendorSettings(_Section):
    """An account at a provider.

    `options` are the options that this provider defines, such as `base_url` and credentials. They may be references.
    """

    adapter: Adapter
    channel: Channel
    options: JsonObject = Field(default_factory=dict, repr=False)
    timeout_s: PositiveS = 10.0  # total deadline of one call: past it the answer is worth less than another vendor's
    concurrency_min: PositiveInt = (
        CONCURRENCY_MIN  # per actor: what a vendor that grows slow under load still gets at once
    )
    concurrency_max: PositiveInt = 64  # per actor: 640 calls/s at 100 ms, and few enough sockets for any vendor
    segments_max: Segments = 10  # of one SMS: Twilio takes 1,600 characters, and each segment is paid for
    rate_per_s: Annotated[float, Field(ge=0.001, le=1_000_000)] | None = (
        None  # over all actors; None: the contract names no limit
    )
    replicas_min: Replicas = 1  # with none, nobody drains the mailbox
    replicas_max: Replicas = 4  # one actor carries most accounts; more than this is a decision about cost
    breaker: BreakerSettings = BreakerSettings()
    rules: Annotated[list[RuleSettings], Field(max_length=100)] = []  # what this vendor's own words mean, see docs

    @property
    def tells_delivery(self) -> bool:
        """Return True if the provider sends receipts."""
        return provider(self.adapter).read_receipts is not None


class RouteMatch(_Section):
    """The triggers that a route is for. An empty list matches all. An unknown country matches only an empty list."""

    event: list[EventName] = []
    tenant: list[TenantName] = []
    country: list[CountryCode] = []
    priority: list[Priority] = []


class RouteSettings(_Section):
    """The vendors for a channel and a match, in the order in which they are tried.

    If several routes match, `core.accepting.routing` says which route wins.
    """

    channel: Channel
    chain: Annotated[list[VendorName], Field(min_length=1)]
    split: dict[VendorName, Annotated[int, Field(ge=1, le=10_000)]] = {}  # weights; empty: the chain's order alone
    match: RouteMatch = RouteMatch()


class EventFallback(_Section):
    """A message on a second channel, in case the first notification does not succeed.

    It is sent if the first notification is dead or expired, or has had no success within `after_s` seconds.
    """

    channel: Channel
    template: TemplateName
    after_s: Annotated[int, Field(ge=1, le=604_800)] | None = None  # None: only when the first is dead or expired
    wait_for: WaitFor = "accepted"  # delivered: by a receipt, which not every phone gives


class EventNotification(_Section):
    channel: Channel
    template: TemplateName
    fallback: EventFallback | None = None  # None: one that dies is for an operator to see


class QuietHours(_Section):
    """The hours in which nothing is sent, as clock times such as 21:00.

    The recipient's time zone counts: `recipient.time_zone` of the request, or else `time_zone`. A trigger that is
    accepted within quiet hours is sent at their end, and its `expires_in_s` counts from there. Priority `high` is sent
    at once, because somebody waits for it.
    """

    begin: ClockTime
    end: ClockTime
    time_zone: ZoneName = "UTC"  # of recipients that name none


class EventSettings(_Section):
    """The notifications that a trigger of this event becomes.

    A request may override `on_unknown`, `expires_in_s` and `priority`.
    """

    notifications: Annotated[list[EventNotification], Field(min_length=1, max_length=20)]
    on_unknown: OnUnknown = "resend"  # at least once: for a receipt, a rare repeat is better than none
    expires_in_s: Annotated[int, Field(ge=1, le=604_800)] = 86_400  # a day: longer outages make old news
    priority: Priority = "normal"  # high is for codes people wait for
    quiet_hours: QuietHours | None = None  # None: at any time, as for what somebody has just done
    quiet_hours_by_channel: dict[Channel, QuietHours | None] = {}  # a mail wakes nobody up, a call does; None: none

    def quiet_for(self, channel: str) -> QuietHours | None:
        """Return the quiet hours of `channel`, or the event's quiet hours if the channel has none.

        None means no quiet hours.
        """
        own = (hours for name, hours in self.quiet_hours_by_channel.items() if name == channel)
        return next(own, self.quiet_hours)

    segments_max: Segments | None = None  # of its SMS; None: what the vendors allow. A long name can double a price


class TemplateSettings(_Section):
    """A template that the file gives. If the file's text changes, the text is stored as a new version.

    A template that was changed over the API keeps that change until the file's text changes.
    """

    subject: str | None = None
    text: Annotated[str, Field(min_length=1)]
    html: str | None = None


class RecipientCap(_Section):
    """At most `max` messages of a channel go to one recipient in any `per_s` seconds. More messages are `suppressed`.

    Each tenant's messages are counted separately. An empty list stands for all values. So without `priority` a cap also
    counts `high`, unless another cap names `high`.
    """

    channel: Channel
    max: Annotated[int, Field(ge=1, le=1_000)]  # so many times are kept of each recipient, ten bytes each
    per_s: Annotated[int, Field(ge=1, le=2_678_400)]  # up to 31 days
    priority: list[Priority] = []
    event: list[EventName] = []


class LimitsSettings(_Section):
    """The limits beyond which intake refuses requests."""

    body_bytes_max: PositiveInt = 262_144  # 256 KiB: hundreds of times a checkout's body, and one parse stays short
    batch_bytes_max: PositiveInt = 4_194_304  # 1,000 items of 4 KiB
    batch_items_max: PositiveInt = 1_000  # one item's share of a batch stays worth a status of its own
    json_depth_max: Annotated[int, Field(ge=3, le=64)] = 16  # a request itself needs four
    accept_deadline_s: PositiveS = 0.8  # a durable write later than this is 503, so that a caller has it within 1 s
    # An hour of 116/s: a dead vendor refuses its own channel first. Of a priority and all above it (core/limits/lanes).
    queued_max_per_vendor: PositiveInt = 400_000
    memory_ratio_max: Annotated[float, Field(gt=0, lt=1)] = 0.8  # of maxmemory; the rest lets draining always work
    sms_countries: list[CountryCode] | None = None  # None: all; a list stops premium-rate and foreign-number fraud
    recipient_caps: Annotated[
        list[RecipientCap], Field(max_length=20)
    ] = []  # none: who is sent how much is yours to see
    tenant_templates_max: Annotated[int, Field(ge=0, le=10_000)] = 100  # of its own; every intake knows all their names
    tenant_template_bytes_max: PositiveInt = 4_194_304  # of all their versions, which stay: 40 KiB for each of 100


class TenantSettings(_Section):
    """The share and the accept rate of a tenant. API keys name their tenant. Without keys there is only `default`."""

    weight: Annotated[int, Field(ge=1, le=WEIGHT_MAX)] = 1  # of two, one with 3 gets three times as much of a full lane
    accept_per_s: Annotated[float, Field(ge=0.001, le=100_000)] | None = None  # None: nobody is refused for its rate
    accept_burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None  # None: one second's worth

    @property
    def rate(self) -> AcceptRate | None:
        if self.accept_per_s is None:
            return None
        return AcceptRate(self.accept_per_s, self.accept_burst or max(1, int(self.accept_per_s)))


class RetrySettings(_Section):
    """The waits before another try, in seconds.

    The waits grow exponentially with full jitter until the time to live ends.
    """

    attempts_max: PositiveInt = 8  # tries that may have arrived: each could be a repeat for the recipient
    base_s: PositiveS = 1.0  # the first wait's upper bound; it doubles with each wait
    cap_s: PositiveS = 300.0  # the longest open wait of a breaker, so that a closed one is met
    # After every vendor refused the message itself: minutes for greylisting, then hours; the last one repeats.
    refused_waits_s: Annotated[list[PositiveS], Field(min_length=1, max_length=20)] = list(REFUSED_WAITS_S)


class RetentionSettings(_Section):
    finished_s: PositiveInt = 86_400  # a day of look-ups and repeated keys; 10 M/day × this is the memory bill


class RedriveSettings(_Section):
    """The pace at which dead letters go back into a mailbox, over all replicas and operators together."""

    per_s: PositiveS = 500.0  # a million in 34 minutes; more would make checkouts wait for its fsyncs
    slow_per_s: PositiveS = 5.0  # while a vendor of the chain is open or recovering: about as many as its probes


class ReceiptSettings(_Section):
    """The link and the secret for vendors' call-backs. Give both or neither. Without them no vendor sends receipts."""

    public_url: CallableUrl | None = None  # as vendors reach us, without /v1/receipts
    secret: str | None = Field(default=None, repr=False)  # a reference; who has it can say that a message arrived


class CourierSettings(_Section):
    """The settings of vendor actors. They say how an actor claims notifications and stores their outcomes."""

    settle_interval_ms: Annotated[int, Field(ge=1, le=1_000)] = 100  # a kill may repeat this much; 10 ms slowed accepts
    settle_stall_s: PositiveS = 1.0  # nothing starts while an outcome is unsettled for this long
    stuck_s: PositiveS = 30.0  # work waits and nothing is done for so long: the actor is replaced
    take_s: PositiveS = 0.5  # takes from dead incarnations; with 2 s of silence, within three seconds after a kill
    audit_s: PositiveS = 5.0  # reads its own pending list; a lost answer is rare
    claim_pace_ms: Annotated[int, Field(ge=0, le=1_000)] = 15  # each claim is an fsync that accepts wait for
    claim_block_ms: Annotated[int, Field(ge=1, le=1_000)] = 200  # wakes a paused claim often enough to stop quickly
    look_ups_per_s: PositiveS = 5.0  # of what is held, per actor; 100 held are asked about within 20 s


class SupervisionSettings(_Section):
    """The settings that decide which actors count as alive, and when a vendor gets new work again."""

    beat_ms: PositiveInt = 250  # eight chances within the silence
    silence_ms: PositiveInt = 2_000  # longer than a pause of the loop, short enough for a take within three seconds
    report_ms: PositiveInt = 500  # evidence spread over replicas is summed this often
    dwell_s: Annotated[float, Field(ge=0)] = 60.0  # of a vendor that comes and goes: two switches a minute; 0: none


class IntakeSettings(_Section):
    replicas_min: Replicas = 2  # killing one of two cost 3 of 7,500 requests, the only one 117
    replicas_max: Replicas = 4  # beyond this Redis's fsync is the limit
    ongoing_target: PositiveInt = 200  # requests in hand of each; a healthy one has ten at 1,157/s
    group_commit_max: PositiveInt = 64  # one pipelined round trip; more only lengthens the first one's wait


class StoreSettings(_Section):
    """The condition under which a write to Redis counts as durable (docs/adr/0032)."""

    durability: Literal["primary", "replica"] = "primary"  # replica: it outlives the primary's disk, and waits for it
    replicas: PositiveInt | None = None  # None: as many as the sentinels know; without sentinels it must be said
    replicas_away_max: Annotated[int, Field(ge=0)] = 0  # 0: nothing is accepted that a promoted replica could lack
    durability_stated: bool = False  # the start reads the server's settings, unless CONFIG is refused

    def replica_rule(self) -> ReplicaRule | None:
        """Return how many replicas must have a write, or None if the primary alone counts."""
        return ReplicaRule(self.replicas, self.replicas_away_max) if self.durability == "replica" else None


class Settings(_Section):
    """The whole configuration file. `parse_settings(settings.model_dump(mode="json"))` returns an equal value."""

    vendors: dict[VendorName, VendorSettings] = {}
    routes: list[RouteSettings] = []
    events: dict[EventName, EventSettings] = {}
    templates: dict[TemplateName, TemplateSettings] = {}
    limits: LimitsSettings = LimitsSettings()
    tenants: Annotated[dict[TenantName, TenantSettings], Field(max_length=TENANTS_MAX)] = {}
    retry: RetrySettings = RetrySettings()
    retention: RetentionSettings = RetentionSettings()
    redrive: RedriveSettings = RedriveSettings()
    receipts: ReceiptSettings = ReceiptSettings()
    courier: CourierSettings = CourierSettings()
    supervision: SupervisionSettings = SupervisionSettings()
    intake: IntakeSettings = IntakeSettings()
    store: StoreSettings = StoreSettings()


# Reading -------------------------------------------------------------------------------------------------------------


def parse_settings(data: Mapping[str, Any]) -> Settings:
    """Check `data`, the content of the whole file, and return the settings.

    Raises `ConfigError` with one line for each fault.
    """
    try:
        settings = Settings.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError("\n".join(describe(item, Settings) for item in error.errors(include_url=False))) from None
    crossed = list(cross_faults(settings))
    if crossed:
        raise ConfigError("\n".join(crossed))
    return settings


def read_rules(rules: Sequence[RuleSettings]) -> tuple[Rule, ...]:
    """Return the operator's rules with compiled expressions."""
    return tuple(Rule(RulePattern(rule.match), Meaning(rule.means), rule.wait_s) for rule in rules)
