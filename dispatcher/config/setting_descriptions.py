"""Describes each setting in one sentence, for editors and for docs/configuration.md.

The models hold the rules and defaults. All sentences are in this module, so that a reader can compare them. A field may
have a `description` in its model instead of a sentence. A test requires a sentence or a description for each field.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic.json_schema import JsonSchemaValue

DESCRIPTIONS: Mapping[str, Mapping[str, str]] = {
    "Settings": {
        "vendors": "Your accounts at providers. You choose the name of each.",
        "routes": "The chains of vendors. If several routes match, one that names the event wins, "
        "then the tenant, then the country, then the priority.",
        "events": "The messages that each event sends, under the name of the event.",
        "templates": "The texts of messages, by name. They are stored at the start, and the API can change them later.",
        "limits": "The bounds beyond which the API refuses a request.",
        "tenants": "The share and the accept rate of a tenant, under the name of its API keys. "
        "Other tenants have the defaults.",
        "retry": "When a notification is tried again.",
        "retention": "How long a trigger is kept after everything in it has ended.",
        "redrive": "How fast dead letters are tried again.",
        "receipts": "The calls in which a vendor tells you later whether a message arrived.",
        "courier": "How a vendor actor fetches work and writes outcomes. Change the defaults only after a measurement.",
        "supervision": "How dead actors are noticed. Change the defaults only after a measurement.",
        "intake": "The processes that accept triggers.",
        "store": "Which servers must have a trigger on disk before its accept is answered.",
        "tls": "The certificate for HTTPS. With it, other machines reach the API only by HTTPS.",
    },
    "VendorSettings": {
        "adapter": "The provider: twilio, vonage, sendgrid, smtp, or one of an installed package.",
        "channel": "The channel that this vendor carries. The provider must be able to carry it.",
        "options": "The options of the provider, listed below. A value may be a reference such as `${NAME}`.",
        "timeout_s": "The time limit of one call to the vendor.",
        "concurrency_min": "How many calls at the same time an actor may always make, even if the vendor is slow.",
        "concurrency_max": "The most calls that one actor makes at the same time.",
        "segments_max": "The most segments of one SMS. A trigger with a longer text is refused.",
        "rate_per_s": "How many calls a second your contract allows, for all actors together. "
        "Without it there is no limit.",
        "replicas_min": "The fewest actors of this vendor.",
        "replicas_max": "The most actors of this vendor.",
        "breaker": "When this vendor is cut off, and how it comes back.",
        "rules": "Your own meanings for this vendor's answers. The first rule that fits wins over the built-in list.",
    },
    "RuleSettings": {
        "match": "A regular expression that is searched in `reason: text` of the vendor's answer. "
        "Upper and lower case are equal.",
        "means": "What the answer means. vendors.md says what each meaning does.",
        "wait_s": "How long the vendor gets no calls, if `means` is `account` or `rate`. "
        "Without it the usual wait holds.",
    },
    "BreakerSettings": {
        "window_s": "The time over which calls are counted.",
        "min_calls": "The fewest calls in the window before a rate counts.",
        "failure_rate": "The breaker opens when this share of the counted calls failed.",
        "slow_rate": "The breaker opens when this share of the counted calls was slow.",
        "slow_duration_s": "A call that takes longer than this is slow. It counts as slow even while it still runs.",
        "consecutive_failures": "The breaker opens after this many failures in a row, even with fewer than `min_calls` "
        "calls.",
        "open_wait_s": "How long an open breaker waits before it probes the vendor for the first time.",
        "open_wait_multiplier": "Each further wait is the last wait times this factor.",
        "open_wait_s_max": "The longest wait of an open breaker.",
        "open_wait_jitter": "Each wait is shortened by a random part, at most this one. "
        "So actors do not all probe at once.",
        "half_open_calls": "How many calls probe the vendor before the breaker decides.",
        "half_open_max_wait_s": "How long all probes together may take. Then the probes with an answer decide. "
        "0 means no limit.",
        "per": "`country` gives each country its own breaker. It is allowed for SMS vendors only.",
    },
    "RouteSettings": {
        "channel": "The channel whose messages take this route.",
        "chain": "The names of the vendors, in the order in which they are tried.",
        "split": "The vendors that share the first place of the chain, with weights, such as {sms-a: 70, sms-b: 30}.",
        "match": "Which messages take this route. Without it, all messages of the channel do.",
    },
    "RouteMatch": {
        "event": "The events for which the route is used. An empty list means all.",
        "tenant": "The tenants for which the route is used: the names of their API keys. An empty list means all.",
        "country": "The countries of telephone numbers for which the route is used, such as DE. "
        "An empty list means all.",
        "priority": "The priorities for which the route is used. An empty list means all.",
    },
    "EventSettings": {
        "notifications": "One entry for each message that the event sends.",
        "on_unknown": "What happens if a message was maybe sent: `resend` sends again, `hold` does not. "
        "A request can override it.",
        "expires_in_s": "How long a message may wait. After this time it is not sent. A request can override it.",
        "priority": "`high` is sent first and `bulk` last. A request can override it.",
        "quiet_hours": "A message accepted in these hours is sent at their end, unless it is `high`. "
        "Without it there are none.",
        "quiet_hours_by_channel": "Quiet hours of one channel, which replace `quiet_hours` there. Null means none.",
        "segments_max": "The most segments of one SMS of this event. Without it the limits of the vendors hold.",
    },
    "EventFallback": {
        "channel": "The channel of the fallback. It must differ from the channel of the message.",
        "template": "The name of the template for the fallback.",
        "after_s": "The fallback also begins this long after the message was due, if the message had no success.",
        "wait_for": "What counts as success: `accepted` by a vendor, or `delivered` by a receipt. "
        "The latter needs `after_s`.",
    },
    "EventNotification": {
        "channel": "The channel of this message.",
        "template": "The name of the template for this message.",
        "fallback": "A message on another channel, which is sent if this one fails. Without it there is none.",
    },
    "QuietHours": {
        "begin": "The clock time at which the quiet hours begin, such as 21:00.",
        "end": "The clock time at which they end. Messages that waited are then sent.",
        "time_zone": "The time zone for recipients without `time_zone` in the request.",
    },
    "TemplateSettings": {
        "subject": "The subject. An e-mail must have one.",
        "text": "The plain text. Every message must have it.",
        "html": "The HTML part of an e-mail.",
    },
    "LimitsSettings": {
        "body_bytes_max": "The largest request body of one trigger.",
        "batch_bytes_max": "The largest request body of a batch.",
        "batch_items_max": "The most triggers in a batch.",
        "json_depth_max": "How many levels of objects and lists a body may have.",
        "accept_deadline_s": "If storing a trigger takes longer than this, the answer is 503.",
        "queued_max_per_vendor": "If this many messages wait for a vendor, new triggers for it are answered 503. "
        "Messages that are less urgent than the new trigger are not counted.",
        "memory_ratio_max": "If Redis uses this part of its maxmemory, new triggers are answered 503.",
        "sms_countries": "The countries to which SMS may be sent. Without it all countries are allowed.",
        "recipient_caps": "How many messages one recipient gets in a period. Further messages are not sent.",
        "tenant_templates_max": "The most templates of its own that a tenant may store. 0 means none.",
        "tenant_template_bytes_max": "The most bytes of all versions of a tenant's own templates together.",
    },
    "RecipientCap": {
        "channel": "The channel whose messages are counted.",
        "max": "The most messages that one recipient gets in the period.",
        "per_s": "The length of the period.",
        "priority": "The priorities that are counted. An empty list means all.",
        "event": "The events that are counted. An empty list means all.",
    },
    "TenantSettings": {
        "weight": "The share of a tenant while several have a backlog. "
        "Weight 3 sends three messages for each one of weight 1.",
        "accept_per_s": "How many triggers a second are accepted, over all replicas. "
        "Further triggers are answered 429.",
        "accept_burst": "How many triggers may come at once after a pause. Without it, as many as in one second.",
    },
    "RetrySettings": {
        "attempts_max": "How many tries may be made that perhaps arrived. A clear refusal does not count.",
        "base_s": "The longest first wait after failures. This bound doubles with each further wait.",
        "cap_s": "The longest wait after failures, however often it has doubled.",
        "refused_waits_s": "The waits after every vendor of the chain refused the message. The last wait repeats.",
    },
    "RetentionSettings": {
        "finished_s": "How long a finished trigger and its key are kept. Most of Redis's memory depends on this time.",
    },
    "RedriveSettings": {
        "per_s": "How many dead letters a second go back to one vendor, over all replicas and operators.",
        "slow_per_s": "How many go back a second while the breaker of a vendor in the chain is open or half open.",
    },
    "ReceiptSettings": {
        "public_url": "The address at which vendors reach this API, without /v1/receipts. It needs `secret`.",
        "secret": "A reference to the secret that signs the addresses for receipts. It needs `public_url`.",
    },
    "CourierSettings": {
        "settle_interval_ms": "How long an outcome waits to be written together with others. "
        "A killed actor can repeat what it sent in this time.",
        "settle_stall_s": "An actor sends nothing new while one of its outcomes has waited this long to be written.",
        "stuck_s": "An actor is replaced if it does nothing for this long although work waits.",
        "take_s": "How often an actor looks for work that dead actors left, and takes it.",
        "audit_s": "How often an actor looks for work that it was given, but whose answer from Redis was lost.",
        "claim_pace_ms": "How long an actor pauses after it asked for work and got less than it wanted.",
        "claim_block_ms": "How long one request for work waits in Redis if there is none.",
        "look_ups_per_s": "How many held messages a second an actor asks its vendor about.",
    },
    "SupervisionSettings": {
        "beat_ms": "How often an actor publishes that it is alive.",
        "silence_ms": "An actor that is silent for this long is declared dead.",
        "report_ms": "How often an actor publishes what it counted, such as its failures.",
        "dwell_s": "How long a vendor that fails again and again gets no new work after a failure. "
        "0 switches this off.",
    },
    "IntakeSettings": {
        "replicas_min": "The fewest intake replicas.",
        "replicas_max": "The most intake replicas.",
        "ongoing_target": "If the replicas have more open requests than this on average, another replica starts. "
        "HAProxy gives a replica 100 at most.",
        "group_commit_max": "The most triggers that one write to Redis stores.",
    },
    "StoreSettings": {
        "durability": "With `primary` an accept waits for the disk of the primary. "
        "With `replica` it also waits for the disks of the replicas.",
        "replicas": "How many replicas of Redis may become primary. Without it, as many as the sentinels know.",
        "durability_stated": "`true` states that a server which refuses CONFIG syncs each write. "
        "`/healthz` says that it is unproven.",
        "replicas_away_max": "How many replicas may be away while triggers are accepted. "
        "These replicas lack what is accepted then.",
        "cells": "References to the URLs of more Redis servers, `${NAME}` or `file:/path`. "
        "Each server is a cell. Append only: a cell is never removed.",
    },
    "TlsSettings": {
        "certificate": "The file with the certificate in PEM, followed by the intermediate certificates.",
        "key": "The file with the private key in PEM. Without it, the file of the certificate also holds the key.",
        "port": "The port of HTTPS, at the address of `--host`. Plain HTTP stays at `--port`, on loopback alone.",
        "version_min": "The oldest version of TLS that a caller may use.",
    },
    "TwilioOptions": {
        "base_url": "The address of the service. Change it for a test or a proxy.",
        "account_sid": "The id of the account, `AC…`.",
        "auth_token": "The secret of the account. Give either this or an API key.",
        "api_key": "The id of an API key, `SK…`. It needs `api_key_secret`.",
        "api_key_secret": "The secret of that API key.",
        "sender": "The sender: a number, a short code, a name of up to 11 characters, or a messaging service `MG…`.",
    },
    "VonageOptions": {
        "base_url": "The address of the service. Change it for a test or a proxy.",
        "api_key": "The key of the account.",
        "api_secret": "The secret of the account.",
        "sender": "The sender: a number, a short code, or a name of up to 11 characters.",
        "entity_id": "The id of your entity, for messages to India (DLT).",
        "content_id": "The id of the registered template, for messages to India (DLT).",
    },
    "SendGridOptions": {
        "base_url": "The address of the service. Change it for a test or a proxy.",
        "api_key": "The API key, `SG…`.",
        "reply_to": "The address to which readers' answers go.",
        "headers": "More headers for every mail, under their names.",
        "list_unsubscribe": "The address or URL with which a reader unsubscribes.",
        "sender": "The sender's address, alone or as `Shop <shop@example.com>`.",
    },
    "SmtpOptions": {
        "host": "The host name or IP address of the mail server.",
        "port": "The port of the mail server.",
        "username": "The name for the login. It needs `password` or `oauth_token_url`.",
        "password": "The password for the login. It needs `username`.",
        "oauth_token_url": "The URL that gives access tokens (XOAUTH2), instead of `password`. It needs `username`.",
        "oauth_client_id": "The id of your application at `oauth_token_url`.",
        "oauth_client_secret": "The secret of your application at `oauth_token_url`.",
        "oauth_scope": "The scope that a token is asked for, such as `https://outlook.office365.com/.default`.",
        "oauth_refresh_token": "The refresh token of a user. Without it the application uses its own credentials.",
        "tls": "How the connection is encrypted. Without it: `implicit` on port 465, and `starttls` on other ports.",
        "starttls": "The older form of `tls`. `true` means `starttls`, and `false` means `none`.",
        "ca_file": "A file with the certificate authorities to trust, instead of those of the machine.",
        "helo_name": "The name in the EHLO greeting. Without it, the domain of the sender.",
        "reply_to": "The address to which readers' answers go.",
        "headers": "More headers for every mail, under their names.",
        "list_unsubscribe": "The address or URL with which a reader unsubscribes.",
        "sender": "The sender's address, alone or as `Shop <shop@example.com>`.",
    },
}


def add_descriptions(schema: JsonSchemaValue, model: str) -> JsonSchemaValue:
    """Return `schema` with a description for each property that has none. `model` is the name of the model's class."""
    sentences = DESCRIPTIONS.get(model, {})
    properties = {
        name: {**field, "description": field.get("description", sentences[name])} if name in sentences else field
        for name, field in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def add_all_descriptions(schema: JsonSchemaValue, model: str) -> JsonSchemaValue:
    """Return the schema of the class `model` with descriptions of all fields.

    The models in `$defs` of the schema get descriptions too.
    """
    definitions = {name: add_descriptions(one, name) for name, one in schema.get("$defs", {}).items()}
    return add_descriptions({**schema, "$defs": definitions}, model) if definitions else add_descriptions(schema, model)
