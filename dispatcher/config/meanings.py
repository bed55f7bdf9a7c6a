"""The meaning of each setting in one sentence, for editors and for docs/configuration.md.

The models hold the rules and defaults. The sentences are in this module, so that they can be read in a row. A field may
have a `description` in its model instead, which then replaces the sentence. A test requires a sentence or a description
for each field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEANINGS: Mapping[str, Mapping[str, str]] = {
    "Settings": {
        "vendors": "The accounts at providers, by a name of your choice.",
        "routes": "The chains of vendors. Of the routes that match, one for the event wins, then tenant, then country.",
        "events": "What each event sends, by the event's name.",
        "templates": "The texts, by name. The file stores them; the API may change them later.",
        "limits": "What is refused, and when.",
        "tenants": "The share and accept rate of tenants, by the names of their API keys. Others have the defaults.",
        "retry": "When a notification is tried again.",
        "retention": "How long a finished trigger is remembered.",
        "redrive": "How fast dead letters are tried again.",
        "receipts": "Call-backs in which vendors tell what became of a message.",
        "courier": "How a vendor actor claims and settles. The defaults fit; change them with a measurement.",
        "supervision": "Beats, silence and reports. The defaults fit; change them with a measurement.",
        "intake": "The processes that accept triggers.",
        "store": "When a write to Redis counts.",
    },
    "VendorSettings": {
        "adapter": "The provider: twilio, vonage, sendgrid, smtp, or one of an installed package.",
        "channel": "The channel that this vendor carries. The provider must be able to carry it.",
        "options": "The provider's own options, see below. A value may be a reference.",
        "timeout_s": "The deadline of one call. A later answer is worth less than another vendor's.",
        "concurrency_min": "The calls in flight that an actor may always have, however slow the vendor is.",
        "concurrency_max": "The most calls in flight of one actor.",
        "segments_max": "The most segments of one SMS. A longer text is refused before it is sent.",
        "rate_per_s": "The calls a second that your contract allows, over all actors. Without it there is no limit.",
        "replicas_min": "The fewest actors of this vendor.",
        "replicas_max": "The most actors of this vendor.",
        "breaker": "When this vendor is cut off, and how it comes back.",
        "rules": "Your own reading of this vendor's words. The first rule that fits wins over the built-in list.",
    },
    "RuleSettings": {
        "match": "A regular expression, searched in `reason: text` of the vendor's answer, in any case.",
        "means": "What the answer means. vendors.md says what each meaning does.",
        "wait_s": "How long the vendor is left alone, for `account` and `rate`. Without it: the usual wait.",
    },
    "BreakerSettings": {
        "window_s": "The time over which calls are counted.",
        "min_calls": "The fewest calls in the window before a rate counts.",
        "failure_rate": "The breaker opens when this share of calls failed.",
        "slow_rate": "The breaker opens when this share of calls was slow.",
        "slow_duration_s": "A call that takes longer is slow. It counts while it is still running.",
        "consecutive_failures": "The breaker opens after so many failures in a row, before the window is full.",
        "open_wait_s": "The first wait of an open breaker before it probes.",
        "open_wait_multiplier": "Each further wait is longer by this factor.",
        "open_wait_s_max": "The longest wait of an open breaker.",
        "open_wait_jitter": "A wait is shortened at random by at most this part, so that actors do not probe together.",
        "half_open_calls": "How many calls probe the vendor.",
        "half_open_max_wait_s": "How long probes may take together. Then the answered ones decide. 0 means no limit.",
        "per": "`country` gives each country a breaker of its own. Only sms has it.",
    },
    "RouteSettings": {
        "channel": "The channel of the notifications that this route is for.",
        "chain": "The vendors, in the order in which they are tried.",
        "split": "Weights of vendors of the chain that share its first place, such as {sms-a: 70, sms-b: 30}.",
        "match": "What the route applies to. Without it: everything of the channel.",
    },
    "RouteMatch": {
        "event": "Events, by the names that triggers give. Empty: all.",
        "tenant": "Tenants, by the names of their API keys. Empty: all.",
        "country": "Countries of the telephone number, such as DE. Empty: all.",
        "priority": "Priorities. Empty: all.",
    },
    "EventSettings": {
        "notifications": "One entry for each message that the event sends.",
        "on_unknown": "`resend` means at least once, `hold` means at most once. A request may say otherwise.",
        "expires_in_s": "The time to live. Nothing is sent after it. A request may say otherwise.",
        "priority": "`high` is claimed first, `bulk` last. A request may say otherwise.",
        "quiet_hours": "Hours in which nobody is to be disturbed. Without it: none.",
        "quiet_hours_by_channel": "A channel's own quiet hours, in place of the event's. Null: none for it.",
        "segments_max": "The most segments of one SMS of this event. Without it: what the vendors allow.",
    },
    "EventFallback": {
        "channel": "Another channel than that of the notification.",
        "template": "The template, by its name.",
        "after_s": "It also begins so many seconds after the notification was to be sent, if that had no success.",
        "wait_for": "Success is `accepted` by a vendor, or `delivered` by a receipt, which needs `after_s`.",
    },
    "EventNotification": {
        "channel": "The channel of this message.",
        "template": "The template of this message.",
        "fallback": "Another channel, if this one fails. Without it: none.",
    },
    "QuietHours": {
        "begin": "When the quiet begins, such as 21:00.",
        "end": "When the quiet ends, and what waited is sent.",
        "time_zone": "The time zone of recipients that name none.",
    },
    "TemplateSettings": {
        "subject": "The subject. E-mail needs one.",
        "text": "The text, which every message has.",
        "html": "The HTML part of an e-mail.",
    },
    "LimitsSettings": {
        "body_bytes_max": "The largest body of one trigger.",
        "batch_bytes_max": "The largest body of a batch.",
        "batch_items_max": "The most triggers of a batch.",
        "json_depth_max": "How deep a body may nest.",
        "accept_deadline_s": "A durable write that takes longer is answered 503.",
        "queued_max_per_vendor": "With so many waiting for one vendor, its channel is answered 503. "
        "What is less urgent than the new trigger is not counted.",
        "memory_ratio_max": "At this part of Redis's maxmemory, new triggers are answered 503.",
        "sms_countries": "The countries that may get SMS. Without it: all.",
        "recipient_caps": "The most messages to one recipient in a stretch of time.",
        "tenant_templates_max": "The most templates of its own that a tenant may store. 0: none.",
        "tenant_template_bytes_max": "The most bytes that all versions of a tenant's own templates may have.",
    },
    "RecipientCap": {
        "channel": "The channel that is counted.",
        "max": "The most messages.",
        "per_s": "The length of the stretch of time.",
        "priority": "The priorities that are counted. Empty: all.",
        "event": "The events that are counted. Empty: all.",
    },
    "TenantSettings": {
        "weight": "The share of a lane with a backlog: a tenant with weight 3 is sent three for each one of weight 1.",
        "accept_per_s": "The triggers a second that are accepted, over all replicas. More are answered 429.",
        "accept_burst": "How many triggers may come at once after a pause. Without it: one second's worth.",
    },
    "RetrySettings": {
        "attempts_max": "The most tries that may have arrived. Each of them could be a repeat for the recipient.",
        "base_s": "The upper bound of the first wait after failures. It doubles with each wait.",
        "cap_s": "The longest wait after failures.",
        "refused_waits_s": "The waits after every vendor refused the message itself. The last one repeats.",
    },
    "RetentionSettings": {
        "finished_s": "How long a finished trigger and its key are remembered. It is most of the memory bill.",
    },
    "RedriveSettings": {
        "per_s": "The pace into one mailbox, over all replicas and operators.",
        "slow_per_s": "The pace while a vendor of the chain is open or recovering.",
    },
    "ReceiptSettings": {
        "public_url": "The address at which vendors reach you, without /v1/receipts. It needs `secret`.",
        "secret": "A reference to a secret that signs the call-backs' links. It needs `public_url`.",
    },
    "CourierSettings": {
        "settle_interval_ms": "How long plain successes wait for company. A kill may repeat this much.",
        "settle_stall_s": "While an outcome is unsettled for this long, nothing new is sent.",
        "stuck_s": "An actor that does nothing for this long while work waits is replaced.",
        "take_s": "How often an actor takes what dead actors left.",
        "audit_s": "How often an actor looks for claims whose answer was lost.",
        "claim_pace_ms": "The pause after a claim that found little.",
        "claim_block_ms": "How long a claim waits for work.",
        "look_ups_per_s": "How many held messages an actor asks its vendor about.",
    },
    "SupervisionSettings": {
        "beat_ms": "How often an actor says that it lives.",
        "silence_ms": "An actor that is silent for this long is declared dead.",
        "report_ms": "How often an actor reports its window.",
        "dwell_s": "How long a vendor that comes and goes gets no new work. 0 means no such time.",
    },
    "IntakeSettings": {
        "replicas_min": "The fewest intake replicas.",
        "replicas_max": "The most intake replicas.",
        "ongoing_target": "With more requests in hand than this, another replica starts.",
        "group_commit_max": "The most triggers that one write to Redis carries.",
    },
    "StoreSettings": {
        "durability": "`primary`: accepted is on the primary's disk. `replica`: on the disks of its replicas too.",
        "replicas": "How many replicas may be promoted. Without it, as many as the sentinels know.",
        "durability_stated": "You state that a server which refuses CONFIG syncs each write. `/healthz` says unproven.",
        "replicas_away_max": "So many replicas may be away. What is accepted meanwhile is not on these.",
    },
    "TwilioOptions": {
        "base_url": "The address of the service. Change it for a test or a proxy.",
        "account_sid": "The account, `AC…`.",
        "auth_token": "The account's secret. Give this, or an API key.",
        "api_key": "The sid of an API key, `SK…`. It needs `api_key_secret`.",
        "api_key_secret": "The secret of that API key.",
        "sender": "A number, a short code, a name of up to 11 characters, or a messaging service `MG…`.",
    },
    "VonageOptions": {
        "base_url": "The address of the service. Change it for a test or a proxy.",
        "api_key": "The account's key.",
        "api_secret": "The account's secret.",
        "sender": "A number, a short code, or a name of up to 11 characters.",
        "entity_id": "The id of your entity, for messages to India (DLT).",
        "content_id": "The id of the registered template, for messages to India (DLT).",
    },
    "SendGridOptions": {
        "base_url": "The address of the service. Change it for a test or a proxy.",
        "api_key": "The key, `SG…`.",
        "reply_to": "The address that answers go to.",
        "headers": "Further headers of every mail, by name.",
        "list_unsubscribe": "The address or URL by which a reader unsubscribes.",
        "sender": "The address, alone or as `Shop <shop@example.com>`.",
    },
    "SmtpOptions": {
        "host": "The relay's host name or IP address.",
        "port": "The relay's port.",
        "username": "The login's name. It needs `password`.",
        "password": "The login's secret. It needs `username`.",
        "oauth_token_url": "Where access tokens come from (XOAUTH2), in place of `password`. It needs `username`.",
        "oauth_client_id": "The id of your application there.",
        "oauth_client_secret": "Its secret.",
        "oauth_scope": "What a token is for, such as `https://outlook.office365.com/.default`.",
        "oauth_refresh_token": "The refresh token of a user who agreed. Without it the application asks for itself.",
        "tls": "`starttls`, `implicit` or `none`. On port 465 it is implicit, elsewhere starttls, unless you give it.",
        "starttls": "The older spelling of `tls`: `true` requires STARTTLS.",
        "ca_file": "A file with the authorities to trust, instead of the machine's.",
        "helo_name": "The name that the relay is greeted with: the sender's domain, unless you give one.",
        "reply_to": "The address that answers go to.",
        "headers": "Further headers of every mail, by name.",
        "list_unsubscribe": "The address or URL by which a reader unsubscribes.",
        "sender": "The address, alone or as `Shop <shop@example.com>`.",
    },
}


def add_meanings(schema: dict[str, Any], model: str) -> dict[str, Any]:
    """Return `schema` with a description for each property that has none. `model` is the name of the model's class."""
    meanings = MEANINGS.get(model, {})
    properties = {
        name: {**field, "description": field.get("description", meanings[name])} if name in meanings else field
        for name, field in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def add_all_meanings(schema: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the schema of the class `model` with descriptions of all fields.

    The models in its `$defs` get descriptions too.
    """
    definitions = {name: add_meanings(one, name) for name, one in schema.get("$defs", {}).items()}
    return add_meanings({**schema, "$defs": definitions}, model) if definitions else add_meanings(schema, model)
