"""Refusals are read by listed words, phrases and operators' rules, and only a safe part is stored."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.config.settings import parse_settings, read_rules
from dispatcher.core.life.outcome import (
    Meaning,
    Outcome,
    OutcomeKind,
    Rule,
    Scope,
    apply_rules,
    listed,
    outcome_of,
    read_refusal,
)
from dispatcher.errors import ConfigError

WORDS = listed(Meaning.FINAL, "docs/{code}", "100") | listed(Meaning.ACCOUNT, "docs", "200", wait_s=900.0)


@given(st.sampled_from(Meaning), st.one_of(st.none(), st.floats(0, 1e6)))
def test_only_final_is_rejected_and_only_unknown_may_have_arrived(means: Meaning, wait_s: float | None) -> None:
    outcome = outcome_of("x", means, wait_s)
    assert (outcome.kind is OutcomeKind.REJECTED) == (means is Meaning.FINAL)
    assert (outcome.kind is OutcomeKind.UNKNOWN) == (means is Meaning.UNKNOWN)
    assert (outcome.scope is Scope.ACCOUNT) == (means is Meaning.ACCOUNT)


@given(st.text(max_size=50).filter(lambda code: code not in WORDS))
def test_an_unlisted_code_is_never_final(code: str) -> None:
    outcome = read_refusal("p", code, WORDS)
    assert (outcome.kind, outcome.scope) == (OutcomeKind.FAILED, Scope.UNLISTED)
    assert re.fullmatch(r"p_[A-Za-z0-9._-]{1,24}", outcome.reason)
    assert not re.search(r"\d{8}", outcome.reason)


def test_a_code_that_may_be_an_address_is_not_stored() -> None:
    assert read_refusal("twilio", 4915112345678, WORDS).reason == "twilio_unlisted"


def test_a_listed_word_has_its_wait_and_its_source() -> None:
    assert read_refusal("p", 200, WORDS).retry_after_s == 900.0
    assert read_refusal("p", 200, WORDS, asked_s=7.0).retry_after_s == 900.0
    assert read_refusal("p", 200, WORDS, asked_s=3600.0).retry_after_s == 3600.0
    assert WORDS["100"].source == "docs/100"


def rule(match: str, means: str, wait_s: float | None = None) -> Rule:
    given = {"match": match, "means": means, "wait_s": wait_s}
    vendor = {"adapter": "twilio", "channel": "sms", "rules": [given]}
    return read_rules(parse_settings({"vendors": {"a": vendor}}).vendors["a"].rules)[0]


def test_an_operators_rule_wins_over_our_list() -> None:
    """An operator's rule is searched in the reason and in the vendor's sentence, in any case, and wins over our
    own list.
    """
    said = read_refusal("p", 100, WORDS, text="Insufficient FUNDS on this account")
    assert said.kind is OutcomeKind.REJECTED
    by_text = apply_rules(said, [rule("insufficient funds", "account", 3600)])
    assert (by_text.scope, by_text.retry_after_s, by_text.reason) == (Scope.ACCOUNT, 3600.0, "p_100")
    assert apply_rules(said, [rule("^p_100:", "deferred")]).kind is OutcomeKind.DEFERRED
    assert apply_rules(said, [rule("other", "account")]) is said


def test_the_first_rule_that_fits_wins() -> None:
    said = read_refusal("p", 1, WORDS, text="x")
    assert apply_rules(said, [rule("x", "rate", 5), rule("x", "final")]) == Outcome.throttled("p_1", 5.0)


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(Outcome.accepted("id-x"), id="a yes is never undone"),
        pytest.param(Outcome.unknown("timeout"), id="silence has no words"),
        pytest.param(Outcome.failed("connect", local_origin=True), id="nobody spoke"),
    ],
)
def test_a_rule_reads_only_what_a_vendor_said(outcome: Outcome) -> None:
    assert apply_rules(outcome, [rule(".", "final")]) is outcome


def test_a_vendors_sentence_does_not_show_itself() -> None:
    """The representation of an outcome does not show the vendor's sentence, because that may hold an address and
    outcomes are logged.
    """
    said = read_refusal("p", 1, WORDS, text="+4915112345678 is wrong")
    assert "4915112345678" not in repr(said)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"match": "("}, "rules.0.match"),
        ({"match": ""}, "rules.0.match"),
        ({"means": "dead"}, "rules.0.means"),
        ({"wait_s": -1}, "rules.0.wait_s"),
        ({"wait": 1}, "rules.0.wait"),
    ],
)
def test_a_rule_that_cannot_be_read_names_its_field(changes: dict[str, object], named: str) -> None:
    given = {"match": "x", "means": "account", **changes}
    with pytest.raises(ConfigError, match=f"vendors.a.{named}"):
        parse_settings({"vendors": {"a": {"adapter": "twilio", "channel": "sms", "rules": [given]}}})
