"""The models of the configuration file.

The file is read once, at a composition root, and passed to other processes whole.

Secrets stay references (`${NAME}` or `file:/path`) in these models, because Ray stores and shows what it gets. The
process that uses an option resolves the reference (`secret_references`). All faults become one `ConfigError`, which
gives each wrong field's name, its value and what is allowed. Values below `options` are never shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from dispatcher.adapters.providers import provider
from dispatcher.config.cross_faults import cross_faults
from dispatcher.config.fault_text import describe
from dispatcher.config.rule_patterns import RulePattern
from dispatcher.config.section import Section
from dispatcher.config.setting_types import (
    CONCURRENCY_MIN,
    AbsolutePath,
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
from dispatcher.config.store_settings import StoreSettings
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.choices import Channel, OnUnknown, Priority, WaitFor
from dispatcher.core.life.outcome import Meaning, Rule
from dispatcher.core.life.retry import REFUSED_WAITS_S
from dispatcher.core.limits.accept_rate import AcceptRate
from dispatcher.core.limits.turns import WEIGHT_MAX
from dispatcher.errors import ConfigError

TENANTS_MAX = 1_000
"""The most tenants that the file may configure. Each intake replica keeps all of them in memory."""


class BreakerSettings(Section):
    """The settings of a vendor's breaker: when the breaker opens, how long it stays open, and how it probes.

    Rates are percentages of the calls in the window.
    """

    window_s: Annotated[int, Field(ge=1, le=86_400)] = (
        10  # it is long enough for 20 calls at 2/s, and short enough to forget the previous outage
    )
    min_calls: PositiveInt = 20  # a rate over fewer calls is noise
    failure_rate: Percent = 50.0  # if half of the calls fail, the next vendor is better
    slow_rate: Percent = 80.0  # a slow vendor is worse than none only if nearly all calls are slow
    slow_duration_s: PositiveS = 5.0  # it is half the default time-out; a healthy vendor answers sooner
    consecutive_failures: PositiveInt = 10  # under load this opens at once, before the window has `min_calls`
    open_wait_s: PositiveS = 5.0  # most short failures of vendors are over by then
    open_wait_multiplier: Annotated[float, Field(ge=1, le=100)] = 2.0  # each further opening waits twice as long
    open_wait_s_max: PositiveS = 300.0  # a vendor that is back is found within five minutes
    open_wait_jitter: Ratio = 0.5  # replicas must not probe together; it only shortens waits, so the maximum holds
    half_open_calls: PositiveInt = 5  # so many calls prove health, and are few enough to lose
    half_open_max_wait_s: Annotated[float, Field(ge=0)] = 30.0  # a lost probe must not keep it half open; 0: no limit
    per: Literal["vendor", "country"] = "vendor"  # `country`: one failing country is cut off alone; only for sms


def _rule_pattern(text: str) -> str:
    if RulePattern(text).search(""):
        raise ValueError("must not match an empty text: it would be the meaning of every answer")
    return text


class RuleSettings(Section):
    """An operator's rule about the meaning of a vendor's answers.

    The expression `match` is searched in the text `REASON: TEXT`, such as `twilio_30410: Provider timed out`. The first
    rule that matches wins. The vendor's text is used only for rules, and is never stored or logged.
    """

    match: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_rule_pattern)]
    means: Literal["final", "deferred", "route", "account", "unlisted", "rate", "vendor", "unknown"]
    wait_s: Annotated[float, Field(gt=0, le=86_400)] | None = (
        None  # only account and rate have a wait; None is the usual
    )


class VendorSettings(Section):
    """An account at a provider.

    `options` are the options that this provider defines, such as `base_url` and credentials. An option's value may be a
    reference to a secret.
    """

    adapter: Adapter
    channel: Channel
    options: JsonObject = Field(default_factory=dict, repr=False)
    timeout_s: PositiveS = 10.0  # it limits a whole call; after it, another vendor is the better choice
    concurrency_min: PositiveInt = (
        CONCURRENCY_MIN  # a vendor that becomes slow still gets so many calls at once from each actor
    )
    concurrency_max: PositiveInt = 64  # each actor makes 640 calls/s at 100 ms, with few sockets for any vendor
    segments_max: Segments = 10  # Twilio accepts 1,600 characters in an SMS, and each segment costs money
    rate_per_s: Annotated[float, Field(ge=0.001, le=1_000_000)] | None = None  # all actors share it; None is no limit
    replicas_min: Replicas = 1  # without an actor, nobody drains the mailbox
    replicas_max: Replicas = 4  # one actor is enough for most accounts; whether to pay for more is a decision
    breaker: BreakerSettings = BreakerSettings()
    rules: Annotated[list[RuleSettings], Field(max_length=100)] = []  # what this vendor's answers mean, see docs

    @property
    def tells_delivery(self) -> bool:
        """Return True if the provider sends receipts."""
        return provider(self.adapter).read_receipts is not None


class RouteMatch(Section):
    """The conditions that a message must meet to take the route.

    An empty list is met by every message. A recipient whose country is unknown meets only an empty list of countries.
    """

    event: list[EventName] = []
    tenant: list[TenantName] = []
    country: list[CountryCode] = []
    priority: list[Priority] = []


class RouteSettings(Section):
    """The vendors for a channel and a match, in the order in which they are tried.

    If several routes match, `core.accepting.routing` says which route wins.
    """

    channel: Channel
    chain: Annotated[list[VendorName], Field(min_length=1)]
    split: dict[
        VendorName, Annotated[int, Field(ge=1, le=10_000)]
    ] = {}  # these are weights; if empty, the order counts
    match: RouteMatch = RouteMatch()


class EventFallback(Section):
    """A second message on another channel, in case the first notification does not succeed.

    The second message is sent if the first notification is dead or expired, or has had no success within `after_s`
    seconds.
    """

    channel: Channel
    template: TemplateName
    after_s: Annotated[int, Field(ge=1, le=604_800)] | None = None  # None: only if the first is dead or expired
    wait_for: WaitFor = "accepted"  # `delivered` needs a receipt, which not every phone gives


class EventNotification(Section):
    channel: Channel
    template: TemplateName
    fallback: EventFallback | None = None  # None: if it dies, only an operator can help


class QuietHours(Section):
    """The hours in which nothing is sent, as clock times such as 21:00.

    The recipient's time zone counts: `recipient.time_zone` of the request, or else `time_zone`. A trigger that is
    accepted within quiet hours is sent at their end, and its `expires_in_s` counts from that end. Priority `high` is
    sent at once, because somebody waits for it.
    """

    begin: ClockTime
    end: ClockTime
    time_zone: ZoneName = "UTC"  # for recipients without a time zone


class EventSettings(Section):
    """The notifications that a trigger of this event becomes.

    A request may override `on_unknown`, `expires_in_s` and `priority`.
    """

    notifications: Annotated[list[EventNotification], Field(min_length=1, max_length=20)]
    on_unknown: OnUnknown = "resend"  # a rare repeat is better than no message
    expires_in_s: Annotated[int, Field(ge=1, le=604_800)] = 86_400  # after a day most news is old
    priority: Priority = "normal"  # `high` is for codes that people wait for
    quiet_hours: QuietHours | None = None  # None: sent at any time, for example after an order
    quiet_hours_by_channel: dict[Channel, QuietHours | None] = {}  # a mail wakes nobody up; None: no hours

    def quiet_for(self, channel: str) -> QuietHours | None:
        """Return the entry of `channel` in `quiet_hours_by_channel`, or the event's `quiet_hours` if there is no entry.

        None means no quiet hours. An entry may be None too.
        """
        own = (hours for name, hours in self.quiet_hours_by_channel.items() if name == channel)
        return next(own, self.quiet_hours)

    segments_max: Segments | None = None  # None means the vendors' limits. A long name can double the price of an SMS


class TemplateSettings(Section):
    """A template that the file gives. If the file's text changes, the text is stored as a new version.

    A template that was changed over the API keeps that change until the file's text changes.
    """

    subject: str | None = None
    text: Annotated[str, Field(min_length=1)]
    html: str | None = None


class RecipientCap(Section):
    """At most `max` messages of a channel go to one recipient in any `per_s` seconds.

    Further messages are `suppressed`. Each tenant's messages are counted separately. A cap without `priority` counts
    all priorities, also `high`. A cap without `event` counts all events. A message is sent only if every cap that
    counts it has room.
    """

    channel: Channel
    max: Annotated[int, Field(ge=1, le=1_000)]  # each recipient has so many times in Redis, ten bytes each
    per_s: Annotated[int, Field(ge=1, le=2_678_400)]  # it may be up to 31 days
    priority: list[Priority] = []
    event: list[EventName] = []


class LimitsSettings(Section):
    """The limits beyond which intake refuses requests."""

    body_bytes_max: PositiveInt = 262_144  # 256 KiB is hundreds of times a checkout's body, and one parse stays short
    batch_bytes_max: PositiveInt = 4_194_304  # 1,000 items of 4 KiB
    batch_items_max: PositiveInt = 1_000  # each item of a batch gets a status of its own
    json_depth_max: Annotated[int, Field(ge=3, le=64)] = 16  # a request without data needs four
    accept_deadline_s: PositiveS = 0.8  # a later durable write is 503, so that the caller knows within 1 s
    # It is an hour of 116/s: a dead vendor refuses its own channel first. Higher lanes count too (core/limits/lanes).
    queued_max_per_vendor: PositiveInt = 400_000
    memory_ratio_max: Annotated[float, Field(gt=0, lt=1)] = 0.8  # the rest of maxmemory is kept for draining
    sms_countries: list[CountryCode] | None = None  # None means all; a list stops fraud with expensive numbers
    recipient_caps: Annotated[
        list[RecipientCap], Field(max_length=20)
    ] = []  # only the operator knows how much is too much
    tenant_templates_max: Annotated[int, Field(ge=0, le=10_000)] = 100  # each intake keeps all names of a tenant
    tenant_template_bytes_max: PositiveInt = 4_194_304  # all versions count: 40 KiB for each of 100


class TenantSettings(Section):
    """The share and the accept rate of a tenant. API keys name their tenant.

    Without keys, `default` is the only tenant.
    """

    weight: Annotated[int, Field(ge=1, le=WEIGHT_MAX)] = 1  # a weight of 3 gets three times as much of a full lane as 1
    accept_per_s: Annotated[float, Field(ge=0.001, le=100_000)] | None = None  # None means that the rate is not limited
    accept_burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None  # None means the triggers of one second

    @property
    def rate(self) -> AcceptRate | None:
        if self.accept_per_s is None:
            return None
        return AcceptRate(self.accept_per_s, self.accept_burst or max(1, int(self.accept_per_s)))


class RetrySettings(Section):
    """The waits before another try, in seconds.

    The waits grow exponentially with full jitter until the time to live ends.
    """

    attempts_max: PositiveInt = 8  # it counts tries that may have arrived, because the recipient may get each
    base_s: PositiveS = 1.0  # it bounds the first wait; the bound doubles with each wait
    cap_s: PositiveS = 300.0  # it equals a breaker's longest open wait, so that a later try can find it closed
    # These waits follow when every vendor has refused: minutes for greylisting, then hours. The last wait repeats.
    refused_waits_s: Annotated[list[PositiveS], Field(min_length=1, max_length=20)] = list(REFUSED_WAITS_S)


class RetentionSettings(Section):
    finished_s: PositiveInt = 86_400  # it leaves a day for questions and repeated keys, and decides Redis's memory


class RedriveSettings(Section):
    """The pace at which dead letters go back into a mailbox, over all replicas and operators together."""

    per_s: PositiveS = 500.0  # a million takes 34 minutes; more would make accepts wait for the disk
    slow_per_s: PositiveS = 5.0  # it holds while a vendor of the chain is open or recovering: about its probes


class ReceiptSettings(Section):
    """The base of the links to which vendors send receipts, and the secret that signs these links.

    Set both or neither. Without them no vendor sends receipts.
    """

    public_url: CallableUrl | None = None  # vendors reach us at this address, without /v1/receipts
    secret: str | None = Field(default=None, repr=False)  # a reference; whoever has the secret can forge receipts


class CourierSettings(Section):
    """The settings of vendor actors: how an actor claims notifications and stores their outcomes."""

    settle_interval_ms: Annotated[int, Field(ge=1, le=1_000)] = 100  # a kill may repeat its sends; 10 ms slowed accepts
    settle_stall_s: PositiveS = 1.0  # no call starts while an outcome has waited longer than this
    stuck_s: PositiveS = 30.0  # an actor that does nothing for so long, though work waits, is replaced
    take_s: PositiveS = 0.5  # with 2 s of silence, a dead actor's work is taken within 3 s after a kill
    audit_s: PositiveS = 5.0  # it is seldom, because a claim's answer is rarely lost
    claim_pace_ms: Annotated[int, Field(ge=0, le=1_000)] = 15  # each claim costs an fsync, and accepts wait for it
    claim_block_ms: Annotated[int, Field(ge=1, le=1_000)] = 200  # it is short, so that a waiting actor can stop quickly
    look_ups_per_s: PositiveS = 5.0  # each actor looks up 100 held messages within 20 s


class SupervisionSettings(Section):
    """The settings that decide which actors count as alive, and when a vendor gets new work again."""

    beat_ms: PositiveInt = 250  # `silence_ms` has eight beats
    silence_ms: PositiveInt = 2_000  # no pause of the event loop is as long, and work is taken within 3 s
    report_ms: PositiveInt = 500  # the supervisor sums so often what the replicas have seen
    dwell_s: Annotated[float, Field(ge=0)] = 60.0  # a vendor changes at most twice a minute; 0 is no limit


class IntakeSettings(Section):
    replicas_min: Replicas = 2  # killing one of two cost 3 of 7,500 requests, killing the only one 117
    replicas_max: Replicas = 4  # with more replicas, the fsync of Redis is the limit
    ongoing_target: Annotated[int, Field(ge=1, le=100)] = 50  # a replica has ten open at 1,157/s, and 100 at most
    group_commit_max: PositiveInt = 64  # it is one round trip; with more, the first trigger only waits longer


class TlsSettings(Section):
    """The settings for HTTPS. With this section, other machines reach the API by HTTPS only.

    The certificate's files must be on each machine that listens.
    """

    certificate: AbsolutePath
    key: AbsolutePath | None = None  # None: the file of the certificate also holds the key
    port: Annotated[int, Field(ge=1, le=65_535)] = 8_443  # the usual one for a program that is not root
    version_min: Literal["1.2", "1.3"] = "1.2"  # RFC 8996 forbids the versions before


class Settings(Section):
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
    tls: TlsSettings | None = None


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
