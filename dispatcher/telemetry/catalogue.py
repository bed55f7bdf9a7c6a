"""The counters and histograms that processes keep, with their labels. The gauges are in `operate.gauges`.

Never rename a metric or a label, because other people's dashboards and alerts read them. A test checks every call
against this list, and `tests/golden/metrics.txt` holds the text that Prometheus gets.
"""

from __future__ import annotations

CATALOGUE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # name: (kind, help, labels)
    "dispatcher_accepts": ("counter", "Triggers by answer", ("answer",)),
    "dispatcher_tenant_accepts": ("counter", "Triggers of a configured tenant by answer", ("tenant", "answer")),
    "dispatcher_accept_seconds": ("histogram", "From request parsed to durable answer", ()),
    "dispatcher_accepted_notifications": ("counter", "Notifications stored to be sent, by channel", ("channel",)),
    "dispatcher_suppressed": ("counter", "Notifications stored and not to be sent", ("channel", "reason")),
    "dispatcher_fallbacks": ("counter", "Fallbacks to another channel, by what became of them", ("outcome",)),
    "dispatcher_attempts": ("counter", "Calls to a vendor, by outcome", ("vendor", "outcome")),
    "dispatcher_sms_segments": ("counter", "Segments of the SMS that a vendor accepted: what it bills", ("vendor",)),
    "dispatcher_attempt_seconds": ("histogram", "Time of one call to a vendor", ("vendor",)),
    "dispatcher_dispatch_seconds": ("histogram", "From claim to outcome", ("vendor",)),
    "dispatcher_age_seconds": ("histogram", "From accept to the vendor's yes", ("channel",)),
    "dispatcher_refusals": ("counter", "Claims that might not be sent, by reason", ("vendor", "reason")),
    "dispatcher_account_refusals": ("counter", "Vendor refused our account: act", ("vendor", "reason")),
    "dispatcher_refused_by_all": ("counter", "Waits of what each vendor of its chain refused", ("channel",)),
    "dispatcher_retries": ("counter", "Notifications put off", ("vendor",)),
    "dispatcher_moves": ("counter", "Failovers: notifications handed to another vendor", ("vendor", "to")),
    "dispatcher_dead": ("counter", "Dead letters made", ("vendor", "reason")),
    "dispatcher_takes": ("counter", "Entries taken from ended incarnations", ("vendor",)),
    "dispatcher_recovered_claims": ("counter", "Own claims found by the audit: their reply was lost", ("vendor",)),
    "dispatcher_orphans": ("counter", "Entries without a notification, dropped", ("vendor",)),
    "dispatcher_unreadable": ("counter", "Records that this version cannot read, each time they were met", ("vendor",)),
    "dispatcher_refused_outcomes": ("counter", "Outcomes that the store refuses; tried again", ("vendor",)),
    "dispatcher_lost_settles": ("counter", "Outcomes whose entry was taken over meanwhile", ("vendor",)),
    "dispatcher_data_loss_alarms": ("counter", "Entries deleted while pending; must be 0", ()),
    "dispatcher_store_breaks": ("counter", "The store lost accepted triggers or later writes; must be 0", ("reason",)),
    "dispatcher_receipts": ("counter", "Receipts of a vendor, by what they changed", ("vendor", "outcome")),
    "dispatcher_wrong_keys": ("counter", "Requests with an API key that opens nothing", ()),
    "dispatcher_look_ups": ("counter", "Questions to a vendor about held ones, by answer", ("vendor", "answer")),
    "dispatcher_transitions": ("counter", "Breaker transitions", ("vendor", "to")),
}
