"""`dispatcher vendors` describes each vendor's state in words."""

from __future__ import annotations

from typing import Any

from cluster.cli.operate import _state_of, vendor_lines


def actor(**for_s: float) -> dict[str, Any]:
    return {"cut_off": {country: {"state": "open", "for_s": seconds} for country, seconds in for_s.items()}}


def test_a_vendor_that_is_well_everywhere_has_its_state_alone() -> None:
    assert _state_of({"state": "closed", "breaker": [actor(), actor()]}) == "closed"


def test_countries_are_named_with_the_longest_time_any_actor_has_them_cut_off() -> None:
    vendor = {"state": "closed", "breaker": [actor(FR=3.2), actor(FR=61.0, DE=0.4), actor()]}
    assert _state_of(vendor) == "closed without DE (for 0 s), FR (for 61 s)"


VENDOR: dict[str, Any] = {
    "name": "sms-twilio",
    "channel": "sms",
    "state": "closed",
    "breaker": [],
    "held": None,
    "reason": None,
    "drains": ["sms-twilio", "sms-vonage"],
    "queued": 3,
    "places": {"queued": 3, "due": 2, "held": 0},
    "oldest_age_ms": 1250,
    "replicas": 2,
    "attempts": {"unknown": 10.0, "accepted": 298.0},
}


def test_a_vendor_at_work_is_told_in_three_lines() -> None:
    assert vendor_lines(VENDOR) == [
        "sms-twilio (sms): closed",
        "    drains sms-twilio, sms-vonage; 3 queued, 2 due; oldest 1.2 s; 2 actors",
        "    outcomes: 298 accepted, 10 unknown",
    ]


def test_a_vendor_that_is_out_and_has_no_fallback_says_both_and_its_state_once() -> None:
    out = {"state": "open", "reason": "account refused", "held": "open, no healthy fallback"}
    assert vendor_lines({**VENDOR, **out})[0] == "sms-twilio (sms): open, account refused; no healthy fallback"


def test_a_vendor_that_is_out_says_why_and_when_it_is_tried_again() -> None:
    out = {"state": "open", "reason": "consecutive failures", "drains": [], "queued": 0, "places": {}, "replicas": 1}
    later = {"next_try": "2026-11-28T20:02:13+00:00", "attempts": {}}
    assert vendor_lines({**VENDOR, **out, **later}) == [
        "sms-twilio (sms): open, consecutive failures",
        "    drains nobody; 0 queued; oldest 1.2 s; 1 actor; next try 2026-11-28T20:02:13+00:00",
        "    outcomes: none",
    ]
