"""`dispatcher vendors` shows a vendor's state in words."""

from __future__ import annotations

from typing import Any

from cluster.cli.operate import _state_of


def actor(**for_s: float) -> dict[str, Any]:
    return {"cut_off": {country: {"state": "open", "for_s": seconds} for country, seconds in for_s.items()}}


def test_a_vendor_that_is_well_everywhere_has_its_state_alone() -> None:
    assert _state_of({"state": "closed", "breaker": [actor(), actor()]}) == "closed"


def test_countries_are_named_with_the_longest_time_any_actor_has_them_cut_off() -> None:
    vendor = {"state": "closed", "breaker": [actor(FR=3.2), actor(FR=61.0, DE=0.4), actor()]}
    assert _state_of(vendor) == "closed without DE (for 0 s), FR (for 61 s)"
