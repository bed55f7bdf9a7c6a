"""The counters and histograms that processes keep, with their labels. The gauges are in `operate.gauges`.

Never rename a metric or a label, because other people's dashboards and alerts read them. A test checks every call
against this list, and `tests/golden/metrics.txt` holds the text that Prometheus gets.
"""

from __future__ import annotations

CATALOGUE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # name: (kind, help, labels)
    "dispatcher_accepts": ("counter", "Posted triggers, by answer", ("answer",)),
    "dispatcher_tenant_accepts": (
        "counter",
        "Triggers that a configured tenant posted, by answer",
        ("tenant", "answer"),
    ),
    "dispatcher_accept_seconds": ("histogram", "Time from the parsed request until the trigger is on disk", ()),
    "dispatcher_accepted_notifications": ("counter", "Notifications stored to be sent", ("channel",)),
    "dispatcher_suppressed": ("counter", "Notifications stored and not sent, by reason", ("channel", "reason")),
    "dispatcher_fallbacks": ("counter", "Fallbacks to another channel, by outcome", ("outcome",)),
    "dispatcher_attempts": ("counter", "Calls to a vendor, by outcome", ("vendor", "outcome")),
    "dispatcher_sms_segments": (
        "counter",
        "Segments of the SMS that a vendor accepted, for which it charges",
        ("vendor",),
    ),
    "dispatcher_attempt_seconds": ("histogram", "Time of one call to a vendor", ("vendor",)),
    "dispatcher_dispatch_seconds": (
        "histogram",
        "Time from the claim of a notification until its outcome",
        ("vendor",),
    ),
    "dispatcher_age_seconds": (
        "histogram",
        "Time from the accept of a notification until a vendor accepted it",
        ("channel",),
    ),
    "dispatcher_refusals": (
        "counter",
        "Claimed notifications that were not allowed to be sent then, by reason",
        ("vendor", "reason"),
    ),
    "dispatcher_account_refusals": (
        "counter",
        "Refusals of our account by a vendor; an operator must act",
        ("vendor", "reason"),
    ),
    "dispatcher_refused_by_all": (
        "counter",
        "How often a notification was refused by every vendor of its chain",
        ("channel",),
    ),
    "dispatcher_retries": ("counter", "Retries: notifications that wait for another try", ("vendor",)),
    "dispatcher_moves": ("counter", "Failovers: notifications moved to another vendor", ("vendor", "to")),
    "dispatcher_dead": ("counter", "Dead letters made", ("vendor", "reason")),
    "dispatcher_takes": ("counter", "Mailbox entries taken over from dead actors", ("vendor",)),
    "dispatcher_recovered_claims": (
        "counter",
        "Claims whose reply from Redis was lost, found again by their actor",
        ("vendor",),
    ),
    "dispatcher_orphans": ("counter", "Mailbox entries without a notification, which were removed", ("vendor",)),
    "dispatcher_unreadable": ("counter", "How often a record was met that this version cannot read", ("vendor",)),
    "dispatcher_refused_outcomes": (
        "counter",
        "Outcomes that Redis refused to store; each is tried again",
        ("vendor",),
    ),
    "dispatcher_lost_settles": (
        "counter",
        "Outcomes that came too late, because another actor had taken the entry",
        ("vendor",),
    ),
    "dispatcher_data_loss_alarms": (
        "counter",
        "Mailbox entries that vanished while they were being sent; must be 0",
        (),
    ),
    "dispatcher_store_breaks": (
        "counter",
        "How often Redis lost accepted triggers or later writes; must be 0",
        ("reason",),
    ),
    "dispatcher_receipts": ("counter", "Receipts from a vendor, by their effect", ("vendor", "outcome")),
    "dispatcher_wrong_keys": ("counter", "Requests with an API key that is not known", ()),
    "dispatcher_look_ups": (
        "counter",
        "Look-ups of held notifications at their vendor, by answer",
        ("vendor", "answer"),
    ),
    "dispatcher_transitions": ("counter", "Changes of a breaker's state, by the new state", ("vendor", "to")),
}
