"""The judge's verdicts are right. Most tests give it a small list of deliveries with one fault."""

from __future__ import annotations

import math
from importlib import resources
from typing import Any

import pytest
import yaml

from actors.assembly import breaker_config
from cluster.rehearsal.checkouts import checkouts
from cluster.rehearsal.demo import BREAKER, QUIET_S, SICK, Outage, figures, outage_of
from cluster.rehearsal.load import Posted, percentile
from cluster.rehearsal.verdict import ORDER, Verdict, judge
from dispatcher.config.settings import BreakerSettings
from tests.unit.cluster.ledgers import CHANNELS, FIRST, SECOND, ledger, posted, said


def verdict_of(**changes: list[dict[str, Any]]) -> Verdict:
    return judge(posted(FIRST, SECOND), ledger(**changes), CHANNELS)


# ---- the witness


def test_a_whole_ledger_is_clean() -> None:
    """If everything acknowledged was received once, the verdict is clean. Delivery times count from the due time."""
    verdict = verdict_of()
    assert verdict.clean
    assert (verdict.accepted, verdict.expected, verdict.delivered, verdict.repeats) == (2, 4, 4, 0)
    assert verdict.by_vendor == {"sms-a": 2, "sms-b": 0, "email-a": 2, "email-b": 0}
    assert sorted(verdict.delivery_s) == [1.0, 1.0, 3.0, 3.0]


def test_what_was_acknowledged_and_never_received_is_lost() -> None:
    """Two messages of an order were acknowledged, and vendors received only one. The other counts as lost, under its
    name order/channel.

    The received one counts as delivered.
    """
    verdict = verdict_of(sms_a=[said(SECOND)])
    assert (verdict.lost, verdict.delivered, verdict.clean) == ([f"{FIRST}/sms"], 3, False)


def test_received_twice_by_one_vendor_is_duplicated() -> None:
    """Three deliveries of one message by one vendor are two repeats. The earliest one gives the delivery time."""
    verdict = verdict_of(sms_a=[said(FIRST, 104.0), said(FIRST, 101.0), said(FIRST, 105.0), said(SECOND)])
    assert (verdict.duplicated, verdict.repeats, verdict.clean) == ({f"{FIRST}/sms": 2}, 2, False)
    assert (verdict.delivered, verdict.delivered_at[f"{FIRST}/sms"]) == (4, 101.0)


def test_received_once_by_each_of_two_vendors_is_duplicated() -> None:
    """One message received by two vendors of a channel is a repeat, because the customer has two messages."""
    verdict = verdict_of(sms_b=[said(FIRST, 100.5)])
    assert (verdict.duplicated, verdict.clean) == ({f"{FIRST}/sms": 1}, False)
    assert verdict.delivered_at[f"{FIRST}/sms"] == 100.5


def test_the_same_order_on_two_channels_is_no_duplicate() -> None:
    """An SMS and an e-mail of one order are two messages and no repeat."""
    assert verdict_of().duplicated == {}


def test_a_message_by_the_fallback_is_delivered() -> None:
    """A message counts as delivered whichever vendor of its channel received it."""
    verdict = verdict_of(sms_a=[said(SECOND)], sms_b=[said(FIRST)])
    assert verdict.clean
    assert verdict.by_vendor["sms-b"] == 1


@pytest.mark.parametrize(
    "text", ["", "Your order is paid.", "Your order {}", "Your order N1 is paid.", "Your order M000001 is paid."]
)
def test_a_wrong_text_delivers_nothing(text: str) -> None:
    """A delivery whose text has no valid order number does not count, so its order is lost."""
    wrong = {**said(FIRST), "text": text}
    verdict = verdict_of(sms_a=[wrong, said(SECOND)])
    assert (verdict.lost, verdict.by_vendor["sms-a"], verdict.clean) == ([f"{FIRST}/sms"], 1, False)


def test_the_text_of_another_order_is_both_a_loss_and_a_repeat() -> None:
    """Two customers have one order each. The vendor receives two messages, and both have the text of the second order.
    The first order is lost, and the second order is repeated.
    """
    verdict = verdict_of(sms_a=[said(SECOND), said(SECOND)])
    assert (verdict.lost, verdict.duplicated) == ([f"{FIRST}/sms"], {f"{SECOND}/sms": 1})


def test_the_wrong_channel_is_no_delivery() -> None:
    """The text of an order's SMS arrives as an e-mail. The SMS counts as lost, and the e-mail of the order as
    repeated.
    """
    verdict = verdict_of(sms_a=[said(SECOND)], email_b=[said(FIRST)])
    assert (verdict.lost, verdict.duplicated) == ([f"{FIRST}/sms"], {f"{FIRST}/email": 1})


def test_what_nobody_posted_is_unexpected() -> None:
    """A delivery of an order that was never posted makes the verdict not clean, though nothing is lost or repeated."""
    verdict = verdict_of(email_b=[said("N000777")])
    assert (verdict.unexpected, verdict.lost, verdict.duplicated) == (["N000777/email"], [], {})
    assert not verdict.clean


def test_what_was_never_acknowledged_cannot_be_lost() -> None:
    """A trigger that was never acknowledged cannot be lost.

    If its messages arrive, the trigger counts as recovered and not as unexpected.
    """
    posts = [*posted(FIRST), *posted(SECOND, accepted=False), *posted("N000003", accepted=False)]
    verdict = judge(posts, ledger(), CHANNELS)
    assert (verdict.accepted, verdict.unacknowledged, verdict.recovered) == (1, 2, 1)
    assert verdict.clean
    assert verdict.expected == 2


def test_the_demos_own_order_numbers_are_found() -> None:
    """The judge finds the order numbers that the demo posts, also one with seven digits."""
    for key, body in (*checkouts(2), *checkouts(1, start=1_234_567)):
        found = ORDER.search(f"Your order {body['data']['order']} is paid.")
        assert found is not None
        assert found.group(1) == key


# ---- the outage


def test_an_outage_is_read_from_the_sick_vendors_calls() -> None:
    """A vendor's call log has an outage. Four figures are read from it.

    They are the first failure, the last call of the first group of failures, the number of probes, and the recovery.
    """
    calls = [(99.0, "accepted"), (100.0, "accepted"), (100.2, "http_500"), (100.4, "http_500"), (100.9, "http_500")]
    calls += [(104.0, "http_500"), (109.0, "http_500"), (115.0, "accepted"), (116.0, "accepted")]
    outage = outage_of(calls, failing_s=100.1, healed_s=112.0)
    assert (outage.first_failure_s, outage.last_burst_s, outage.cut_off_s) == (100.2, 100.9, pytest.approx(0.7))
    assert (outage.probes, outage.recovered_s) == (2, 115.0)


def test_one_failure_alone_is_a_cut_off_of_nothing() -> None:
    """With a single failed call, the time until the cut-off is 0."""
    outage = outage_of([(100.2, "http_500")], 100.0, 110.0)
    assert (outage.cut_off_s, outage.probes, outage.recovered_s) == (0.0, 0, None)


def test_a_vendor_that_saw_no_failure_had_no_outage() -> None:
    """Without a failed call after the fault began, all times of the outage are None."""
    outage = outage_of([(50.0, "http_500"), (100.0, "accepted")], 99.0, 110.0)
    assert (outage.first_failure_s, outage.cut_off_s, outage.recovered_s) == (None, None, None)


@pytest.mark.parametrize(("gap_s", "probes"), [(QUIET_S - 0.01, 0), (QUIET_S, 1)])
def test_a_quiet_time_ends_the_burst(gap_s: float, probes: int) -> None:
    """An outage has two failed calls. If at least `QUIET_S` lie between them, the second call is a probe.

    If less time lies between them, the second call still belongs to the burst of failures, and the vendor counts as cut
    off only after it.
    """
    outage = outage_of([(100.0, "http_500"), (100.0 + gap_s, "http_500")], 100.0, 110.0)
    assert outage.probes == probes
    assert outage.cut_off_s == pytest.approx(0.0 if probes else gap_s)


def failures(at_s: float, count: int) -> list[tuple[float, str]]:
    return [(at_s + n / 100, "http_500") for n in range(count)]


@pytest.mark.parametrize(
    ("later", "cut_off_s", "probes"),
    [
        pytest.param(failures(101, 5), 0.09, 5, id="as many as half-open lets through"),
        pytest.param(failures(101, 6), 1.05, 0, id="one more is traffic"),
        pytest.param(failures(101, 300), 3.99, 0, id="called at full rate again after a second"),
        pytest.param([*failures(101, 5), *failures(104, 6), *failures(108, 5)], 4.05, 5, id="left, and called again"),
        pytest.param([(100.9, "accepted"), *failures(101, 35)], 0.09, 35, id="a yes: the stages after the probes"),
        pytest.param([(100.9, "accepted"), *failures(101, 36)], 1.35, 0, id="more than the stages judge"),
        pytest.param([*failures(101, 6), (101.06, "accepted")], 1.05, 0, id="a yes that came after them"),
        pytest.param([(100.05, "accepted"), *failures(101, 6)], 1.05, 0, id="a yes from before"),
    ],
)
def test_later_calls_are_probes_only_if_they_are_few(
    later: list[tuple[float, str]], cut_off_s: float, probes: int
) -> None:
    """After a vendor was cut off, a later group of its failed calls may be probes or ordinary calls.

    The group counts as probes only if it has no more calls than a recovering breaker allows.
    """
    outage = outage_of(sorted([*failures(100, 10), *later]), 99.9, 130.0)
    assert (outage.cut_off_s, outage.probes) == (pytest.approx(cut_off_s), probes)


def test_the_judge_knows_the_sandboxes_breaker() -> None:
    """The judge tells probes from ordinary calls by the settings of the breaker. Its copy of these settings equals
    sandbox.yaml.
    """
    text = (resources.files("cluster") / "sandbox.yaml").read_text()
    for vendor in (SICK, "sms-b"):
        said = BreakerSettings(**yaml.safe_load(text)["vendors"][vendor]["breaker"])
        assert breaker_config(said, BREAKER.probe_lease_ms / 1500) == BREAKER


def test_a_success_before_it_was_healed_is_no_recovery() -> None:
    """The recovery is the first accepted call after the vendor was healed.

    Calls that were already open when the fault began do not count.
    """
    outage = outage_of([(100.05, "accepted"), (100.2, "http_500"), (120.0, "accepted")], 100.0, 110.0)
    assert outage.recovered_s == 120.0


def test_the_right_text_to_the_wrong_customer_is_seen() -> None:
    """A message to another customer's address is misdirected.

    Different spellings of a number or address are the same recipient.
    """
    posts = posted(FIRST, SECOND)
    for post in posts:
        post.recipient = {"phone": "+4915112345678", "email": "Ada@example.com"}
    mail = {"email_a": [{**said(key), "to": "<ada@example.com>"} for key in (FIRST, SECOND)]}
    right = ledger(sms_b=[], sms_a=[said(FIRST), {**said(SECOND), "to": "4915112345678"}], **mail)
    assert judge(posts, right, CHANNELS).clean
    wrong = ledger(sms_a=[said(FIRST), {**said(SECOND), "to": "+4915112345679"}], **mail)
    assert judge(posts, wrong, CHANNELS).misdirected == [f"{SECOND}/sms"]
    assert not judge(posts, wrong, CHANNELS).clean


# ---- the report


def summary_of(posts: list[Posted], **changes: list[dict[str, Any]]) -> dict[str, Any]:
    return figures(posts, judge(posts, ledger(**changes), CHANNELS), Outage(100.0, 110.0), 20.04)


def test_the_figures_are_those_of_the_ledger() -> None:
    """The summary has the counts of the verdict. It also has the times from due to acknowledged and from due to
    delivered, in ms.
    """
    posts = posted(FIRST, SECOND)
    outage = Outage(100.0, 110.0, first_failure_s=100.2, last_burst_s=100.55, probes=3, recovered_s=114.25)
    summary = figures(posts, judge(posts, ledger(), CHANNELS), outage, 20.04)
    assert summary == {
        "posted": 2,
        "accepted": 2,
        "expected notifications": 4,
        "delivered": 4,
        "delivered per vendor": {"sms-a": 2, "sms-b": 0, "email-a": 2, "email-b": 0},
        "lost": 0,
        "duplicates": 0,
        "to somebody else, or never posted": 0,
        "accept p50 ms": 5.0,
        "accept p99 ms": 5.0,
        "delivery p50 ms": 1000,
        "delivery p99 ms": 3000,
        "first failure to last call on the dead vendor s": 0.35,
        "probes while it was dead": 3,
        "recovered after s": 4.25,
        "start to ready s": 20.0,
        "stalled": [],
    }


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([1.0], 0.99, 1.0), ([3.0, 1.0, 2.0], 0.5, 2.0), (list(range(1, 101)), 0.99, 99), (list(range(1, 101)), 1.0, 100)],
)
def test_a_percentile_is_the_smallest_value_that_covers_the_share(
    values: list[float], share: float, expected: float
) -> None:
    """A percentile is one of the values, never an average of two, and never beyond the largest."""
    assert percentile(values, share) == expected


def test_a_percentile_of_nothing_is_not_a_number() -> None:
    """Without values the percentile is NaN, so that nobody takes it for a fast time."""
    assert math.isnan(percentile([], 0.5))
