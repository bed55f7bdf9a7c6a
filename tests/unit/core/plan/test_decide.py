"""Checks the supervisor's decision: which vendor gets new work, which vendor drains each mailbox, which actor
probes, and why.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from dispatcher.core.plan.decide import Survey, decide
from dispatcher.core.plan.sharing import Share
from dispatcher.core.plan.values import Override, Plan, Report, VendorPlan
from tests.unit.core.plan.plans import NAMES, config, planned, report


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"overrides": {"a": Override("a", "close", "ada", "looked at it")}}, "a operator says close (looked at it)"),
        ({"mailboxes": {"old": 3}}, "a drains a, old"),
        ({"reports": (report("a"), report("a", number=2))}, "a rate a/1 5/s, a/2 0/s"),
        ({"reports": (report("a", "open", reason="slow rate"), report("b"))}, "a closed → open (slow rate)"),
        (
            {
                "before": (report("a", "half_open"), report("a", "half_open", number=2), report("b")),
                "reports": (report("a", "half_open", number=2), report("b")),
            },
            "a probed by a/2",
        ),
        (
            {
                "before": (report("a", "open", reason="slow rate"), report("b")),
                "reports": (report("a", "open", reason="stalled"), report("b")),
            },
            "a open: stalled",
        ),
        ({"reports": (report("a", "open"), report("b", "open"))}, "a without a drainer: open, no healthy fallback"),
    ],
)
def test_a_reason_says_what_changed(changes: dict[str, Any], reason: str) -> None:
    """The reason of a plan names each change, in words for a person who reads the history."""
    well = (report("a"), report("b"))
    words: dict[str, Any] = {"before": well, "reports": well, "mailboxes": {}, "overrides": {}, **changes}
    names = config("a", "b", rate_per_s=10.0)
    live = {"a/1", "a/2", "b/1"}
    before = decide(Survey(words["before"], live=live), names, Plan(), 1)
    plan = decide(
        Survey(words["reports"], mailboxes=words["mailboxes"], overrides=words["overrides"], live=live),
        names,
        before,
        1,
    )
    assert reason in plan.reason.split("; ")


def test_after_a_roll_back_the_plan_is_still_read() -> None:
    """A plan or an override with fields of a later version is read, and those fields are ignored at any depth."""
    plan = decide(Survey([report("a")], live={"a/1"}), config("a", rate_per_s=10.0), Plan(), 1)
    later = plan.to_dict()
    later["colour"] = later["vendors"]["a"]["colour"] = later["vendors"]["a"]["shares"]["a/1"]["colour"] = "blue"
    assert Plan.from_dict(later) == plan
    assert Override.from_dict({"vendor": "a", "state": "open", "colour": "blue"}) == Override("a", "open")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param(["closed", "open"], "closed", id="one open replica among healthy ones only stops itself"),
        pytest.param(["open", "open"], "open", id="all open"),
        pytest.param(["open", "half_open"], "half_open", id="one probes"),
        pytest.param(["forced_open"], "open", id="forced"),
        pytest.param(["disabled"], "closed", id="without a breaker"),
    ],
)
def test_a_vendor_is_judged_by_all_its_replicas(states: list[str], expected: str) -> None:
    """The plan's state of a vendor follows from the breakers of all its actors."""
    reports = [report("a", state, n) for n, state in enumerate(states)]
    assert planned(*reports, config=config("a")).vendors["a"].state == expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [("open", "open"), ("half_open", "half_open"), ("closed", "closed"), ("forced_open", "closed"), (None, "closed")],
)
def test_nobody_is_judged_by_silence(before: str | None, expected: str) -> None:
    """A vendor without any report keeps the state that it has in the previous plan.

    If the previous plan says `forced_open`, and the operator's override is gone, the vendor is closed.
    """
    previous = Plan() if before is None else Plan(3, 0, {"a": VendorPlan("a", before, before == "closed", ("a",))}, {})
    assert planned(config=config("a"), previous=previous).vendors["a"].state == expected


def test_the_next_in_the_chain_adopts() -> None:
    """The mailbox of a vendor that is down goes to a vendor behind it in the chain.

    If there is none, the mailbox goes to a vendor before it, and never to a vendor of another chain.
    """
    pair = config("a", "b", "c", "x", chains=(("a", "b", "c"), ("x",)))
    assert planned(report("b", "open"), config=pair).vendors["c"].drains == ("c", "b")
    assert planned(report("b", "open"), report("c", "open"), config=pair).vendors["a"].drains == ("a", "b", "c")
    downs = [report(name, "open") for name in "abc"]
    plan = planned(*downs, config=pair)
    assert sorted(plan.undrained) == ["a", "b", "c"]
    assert plan.vendors["x"].drains == ("x",)


def test_a_chain_that_begins_with_the_mailbox_names_its_adopter() -> None:
    """If a vendor is down, its mailbox goes to the next vendor of the chain that begins with the vendor that is down.

    So two vendors of a split adopt each other's mailbox.
    """
    split = config("a", "b", "c", chains=(("a", "b", "c"), ("b", "a", "c")))
    assert planned(report("b", "open"), config=split).vendors["a"].drains == ("a", "b")


def test_the_mailbox_of_a_removed_vendor_is_drained() -> None:
    """The mailbox of a removed vendor is drained by any healthy vendor.

    Without a healthy vendor the mailbox is listed as undrained, with the reason.
    """
    assert planned(config=config("b", "a"), mailboxes={"old": 3}).vendors["a"].drains == ("a", "old")
    assert "removed" in planned(report("a", "open"), config=config("a"), mailboxes={"old": 3}).undrained["old"]


def test_one_replica_probes() -> None:
    """Vendor a is half open with two incarnations, and vendor b has adopted its mailbox. The plan names one incarnation
    of a as the prober.

    Vendor a drains both mailboxes, because the prober claims from its own mailbox and from that of the adopter.
    """
    plan = planned(report("a", "half_open", 1), report("a", "half_open", 2), config=config("a", "b"))
    assert plan.vendors["a"].prober == "a/1"
    assert plan.vendors["a"].drains == ("a", "b")
    assert plan.vendors["b"].drains == ("b", "a")


def test_the_rate_is_shared_out() -> None:
    """A contract rate is divided among all live actors of the vendor, and the sum is never higher than the rate."""
    plan = planned(report("a", number=1), report("a", number=2), config=config("a", rate_per_s=10.0))
    assert plan.vendors["a"].shares == {"a/1": Share(5.0, 5.0), "a/2": Share(5.0, 5.0)}
    assert planned(config=config("a", rate_per_s=10.0)).vendors["a"].shares == {}
    assert planned(report("a"), config=config("a")).vendors["a"].shares is None


def test_a_share_survives_the_wire() -> None:
    """A plan with shares is written as JSON and read again. The result equals the plan."""
    plan = planned(report("a"), config=config("a", "b", rate_per_s=10.0))
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_pools_follow_their_work() -> None:
    """A pool is sized for all mailboxes that its vendor drains.

    The vendor that adopted a backlog gets a larger pool. The pool of the vendor that is down does not grow.
    """
    busy = [report("a", "open"), report("b", number=1, calls_per_s=500.0, latency_s=0.1)]
    plan = planned(*busy, config=config("a", "b"), mailboxes={"a": 2000, "b": 0})
    assert [plan.vendors[name].replicas for name in ("a", "b")] == [1, 2]
    later = planned(*busy, config=config("a", "b"), mailboxes={"a": 0, "b": 0})
    assert [later.vendors[name].replicas for name in ("a", "b")] == [1, 1]


@pytest.mark.parametrize(("state", "live", "expected"), [("half_open", 1, 1), ("half_open", 3, 3), ("open", 3, 1)])
def test_a_vendor_that_hangs_gets_no_more_actors(state: str, live: int, expected: int) -> None:
    """A vendor hangs: each of its calls lasts the whole time-out. It gets no more actors, although its backlog is long
    and its actors send little.
    """
    reports = [report("a", state, number=n, calls_per_s=20.0, latency_s=10.0) for n in range(live)]
    plan = planned(*reports, config=config("a"), mailboxes={"a": 5000})
    assert plan.vendors["a"].replicas == expected


def test_before_the_first_plan_every_vendor_may_be_tried() -> None:
    """Before the first plan every vendor is usable.

    After the first plan only vendors that get new work are usable, and an unknown vendor is not.
    """
    assert Plan().usable("anything")
    plan = planned(report("a", "open"), config=config("a", "b"))
    assert [plan.usable(name) for name in ("a", "b", "unknown")] == [False, True, False]


def test_a_plan_says_what_changed() -> None:
    """The first plan has the reason "first plan". The next plan names the changed states and drainers."""
    first = planned(config=config("a", "b"))
    second = planned(report("a", "open", reason="http_500"), config=config("a", "b"), previous=first)
    assert first.reason == "first plan"
    assert "a closed → open (http_500)" in second.reason
    assert "b drains b, a" in second.reason


def test_a_vendor_without_an_actor_is_drained_by_its_fallback() -> None:
    """A vendor whose last actor is dead is absent: it gets nothing new, and another vendor drains its mailbox
    until a new actor reports.
    """
    both = planned(report("a"), report("b"), config=config("a", "b"))
    gone = decide(Survey([report("b")], absent={"a"}), config("a", "b"), both, 2000)
    assert gone.vendors["a"].state == "absent"
    assert not gone.usable("a")
    assert gone.vendors["b"].drains == ("b", "a")
    back = decide(Survey([report("a", number=2), report("b")], absent=set()), config("a", "b"), gone, 3000)
    assert back.vendors["a"].state == "closed"
    assert back.vendors["b"].drains == ("b",)


def test_an_operator_cannot_close_a_vendor_that_has_no_actor() -> None:
    """An operator's `close` leaves a vendor without an actor absent, because nobody could send.

    An operator's `open` makes the vendor forced open.
    """
    both = planned(report("a"), report("b"), config=config("a", "b"))
    for word, state in (("close", "absent"), ("open", "forced_open")):
        plan = decide(
            Survey([report("b")], overrides={"a": Override("a", word)}, absent={"a"}), config("a", "b"), both, 2000
        )
        assert plan.vendors["a"].state == state


def test_before_its_first_report_a_vendor_keeps_its_state() -> None:
    """A vendor has no report any more, or none yet. The next plan keeps the state that the previous plan gave it."""
    both = planned(report("a"), report("b"), config=config("a", "b"))
    assert decide(Survey([report("b")]), config("a", "b"), both, 2000).vendors["a"].state == "closed"


def test_what_no_healthy_vendor_can_drain_one_that_recovers_does() -> None:
    """No vendor of a chain is healthy: one is half open, and one is open. The half-open vendor then drains both
    mailboxes.
    """
    plan = planned(report("a", "half_open"), report("b", "open"), config=config("a", "b"))
    assert plan.vendors["a"].drains == ("a", "b")
    assert plan.undrained == {}
    assert plan.recovering("a")
    assert not plan.usable("a")


def test_the_evidence_of_many_replicas_is_summed() -> None:
    """The windows of all actors of a vendor are added.

    At each of four actors, five of nine calls failed. This opens the vendor. Two such actors do not open it, and
    neither do four actors with four failures each.
    """
    window = {"n": 9, "failed": 5, "slow": 0}
    many = [report("a", number=n, window=window) for n in range(4)]
    plan = planned(*many, report("b"), config=config("a", "b"))
    assert plan.vendors["a"].state == "open"
    assert plan.vendors["b"].drains == ("b", "a")
    few = planned(*many[:2], report("b"), config=config("a", "b"))
    assert few.vendors["a"].state == "closed"
    good = [report("a", number=n, window={"n": 9, "failed": 4}) for n in range(4)]
    assert planned(*good, report("b"), config=config("a", "b")).vendors["a"].state == "closed"


def test_one_replica_is_judged_by_its_own_breaker_alone() -> None:
    plan = planned(report("a", window={"n": 100, "failed": 100}), report("b"), config=config("a", "b"))
    assert plan.vendors["a"].state == "closed"


def quarantine(*reports: Report, names: tuple[str, ...] = ("a", "b"), **changes: Any) -> Plan:
    previous = changes.pop("previous", Plan())
    return decide(Survey(reports, **{"quarantined": {"a"}, **changes}), config(*names), previous, 1000)


def test_a_quarantined_pool_gets_no_work_while_another_can_do_it() -> None:
    """A quarantined vendor gets no new work, and another vendor drains its mailbox.

    When the quarantine ends, the vendor gets new work and its mailbox again.
    """
    reports = (report("a"), report("b"))
    plan = quarantine(*reports)
    assert (plan.vendors["a"].state, plan.vendors["a"].accepts_new, plan.vendors["a"].drains) == (
        "quarantined",
        False,
        (),
    )
    assert set(plan.vendors["b"].drains) == {"a", "b"}
    for after in (quarantine(*reports, previous=plan, quarantined=()), quarantine(previous=plan, quarantined=())):
        assert after.vendors["a"].accepts_new
        assert after.vendors["a"].drains == ("a",)


def test_a_quarantined_pool_drains_where_nobody_else_is_left() -> None:
    """If no other vendor works, a quarantined vendor drains all mailboxes, because slow work with repeats is better
    than none.

    If another vendor is half open, that vendor drains them instead.
    """
    plan = quarantine(report("a"), report("b", "open"))
    assert set(plan.vendors["a"].drains) == {"a", "b"}
    assert not plan.undrained
    assert plan.vendors["a"].accepts_new is False
    plan = quarantine(report("a"), report("b", "half_open"))
    assert plan.vendors["a"].drains == ()


def test_an_operator_ends_a_quarantine() -> None:
    """A vendor is quarantined. An operator's override `close` ends the quarantine, and `open` keeps the vendor cut off.

    An override whose time is over changes nothing.
    """
    plan = quarantine(report("a"), report("b"), overrides={"a": Override("a", "close")})
    assert plan.vendors["a"].drains == ("a",)
    plan = quarantine(report("a"), report("b"), overrides={"a": Override("a", "open")})
    assert plan.vendors["a"].state == "forced_open"
    plan = quarantine(report("a"), report("b"), overrides={"a": Override("a", "close", until_ms=1)})
    assert plan.vendors["a"].state == "quarantined"


@pytest.mark.parametrize(
    ("unreached", "suspects"),
    [
        pytest.param({"a": 3, "b": 9, "c": 1}, ("a", "b", "c"), id="three of four"),
        pytest.param({"a": 3, "b": 9}, (), id="half is not more than half"),
        pytest.param({"a": 3, "b": 9, "c": 0}, (), id="one of the three that are down was reached"),
    ],
)
def test_our_own_network_is_suspect_when_most_vendors_are_not_reached(
    unreached: dict[str, int], suspects: tuple[str, ...]
) -> None:
    """If more than half of the vendors are not reached, the plan lists them, and the plan's reason names our own
    network. A vendor that is reached keeps draining.
    """
    reports = [report(v, "open" if v in unreached else "closed", unreached=unreached.get(v, 0)) for v in NAMES]
    before = planned(*(report(v) for v in NAMES), config=config(*NAMES))
    plan = planned(*reports, config=config(*NAMES), previous=before)
    assert plan.unreached == suspects
    assert ("own network" in plan.reason) == bool(suspects)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert "d" in plan.vendors["d"].drains
    reached = planned(*(report(v) for v in NAMES), config=config(*NAMES), previous=plan)
    assert reached.unreached == ()
    assert ("no longer" in reached.reason) == bool(suspects)


def test_one_vendor_alone_does_not_make_our_network_suspect() -> None:
    """With a single vendor, our own network is not suspected, because one vendor proves nothing."""
    assert planned(report("a", "open", unreached=20), config=config("a")).unreached == ()


def test_a_suspicion_is_published_though_nothing_else_changes() -> None:
    """All vendors are down, and now the reports say that they were not even reached. The plan suspects our own network.

    This plan differs from the plan before, although no assignment has changed. So it is published.
    """
    opened = planned(report("a", "open"), report("b", "open"), config=config("a", "b"))
    told = (report("a", "open", unreached=1), report("b", "open", unreached=1))
    assert not planned(*told, config=config("a", "b"), previous=opened).same_assignment(opened)


@pytest.mark.parametrize(
    ("window", "refuted", "state"),
    [
        pytest.param({"n": 0, "failed": 0}, 10, "open", id="ten that another accepted, and nothing else"),
        pytest.param({"n": 0, "failed": 0}, 9, "closed", id="nine are no verdict yet"),
        pytest.param({"n": 30, "failed": 0}, 20, "closed", id="most of its calls succeed"),
        pytest.param({"n": 20, "failed": 0}, 20, "open", id="half of its calls"),
    ],
)
def test_what_another_vendor_accepted_is_evidence_against_who_refused_it(
    window: dict[str, int], refuted: int, state: str
) -> None:
    """Vendor a refused ten messages with codes that no list explains, and vendor b accepted them. The plan then cuts
    vendor a off.

    If most of a's calls succeed, a stays in use.
    """
    refusing, accepting = report("a", window=window), report("b", contradicted={"a": refuted})
    plan = planned(refusing, accepting, config=config("a", "b"))
    assert (plan.vendors["a"].state, plan.vendors["b"].state) == (state, "closed")


def hurried(plan: Plan) -> set[str]:
    return {name for name, entry in plan.vendors.items() if entry.probe_within_s is not None}


@pytest.mark.parametrize(
    ("states", "mailboxes", "due", "expected"),
    [
        pytest.param({"a": "open", "b": "open"}, {"a": 1}, {}, "ab", id="work in a mailbox"),
        pytest.param({"a": "open", "b": "open"}, {}, {"b": 1}, "ab", id="work between two tries"),
        pytest.param({"a": "open", "b": "open"}, {"c": 1}, {}, "", id="none of this chain"),
        pytest.param({"a": "open", "b": "closed"}, {"a": 1}, {}, "", id="somebody works"),
        pytest.param({"a": "open", "b": "half_open"}, {"a": 1}, {}, "a", id="one recovers already"),
        pytest.param({"a": "open", "b": "forced_open"}, {"a": 1}, {}, "a", id="an operator's word stays"),
    ],
)
def test_open_vendors_probe_soon_while_work_waits_for_them(
    states: dict[str, str], mailboxes: dict[str, int], due: dict[str, int], expected: str
) -> None:
    """Work waits, and no vendor of its chain is healthy. The plan then tells the open vendors of the chain to probe
    soon.

    In any other case, open vendors wait as long as their breakers say.
    """
    of = config("a", "b", "c", chains=(("a", "b"), ("c",)))
    overrides = {name: Override(name, "open") for name, state in states.items() if state == "forced_open"}
    reports = [report(name, state) for name, state in states.items()]
    plan = decide(Survey([*reports, report("c")], mailboxes=mailboxes, overrides=overrides, due=due), of, Plan(), 1000)
    assert hurried(plan) == set(expected)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_a_plan_says_why_it_hurries() -> None:
    """Work begins to wait for an open vendor, so the plan makes this vendor probe sooner. Nothing else changes, and the
    plan still has a reason.

    When the work is gone, the next plan lets the vendor wait as before, and this plan has a reason too.
    """
    before = planned(report("a", "open"), config=config("a"))
    plan = planned(report("a", "open"), config=config("a"), mailboxes={"a": 1}, previous=before)
    assert plan.reason == "a probes within 20 s: work waits"
    after = planned(report("a", "open"), config=config("a"), previous=plan)
    assert after.reason == "a probes after its own wait"


@pytest.mark.parametrize("breaker", ["closed", "half_open", "open", "disabled"])
def test_a_receipt_that_refuses_our_account_opens_the_vendor(breaker: str) -> None:
    """A receipt refuses our account. The plan opens the vendor's breaker at once.

    A half-open breaker stays half open. A breaker that is disabled, or that an operator closed, stays closed. The
    plan's reason names the beginning and the end of such refusals.
    """
    two = config("a", "b")
    survey = Survey([report("a", breaker), report("b")], refused=[{"a": {"": 1}}])
    plan = decide(survey, two, Plan(), 0)
    assert plan.vendors["a"].account_refused and not plan.vendors["b"].account_refused
    assert plan.vendors["a"].state == {"closed": "open", "disabled": "closed"}.get(breaker, breaker)
    override = {"a": Override("a", "close")}
    assert decide(replace(survey, overrides=override), two, Plan(), 0).vendors["a"].state == "closed"
    quiet = decide(replace(survey, refused=()), two, plan, 1)
    assert not quiet.vendors["a"].account_refused
    assert "no receipt refuses our account any more" in quiet.reason
    assert "a refuses our account, by its receipts" in decide(survey, two, quiet, 2).reason


def test_ten_receipts_cut_off_a_country_and_not_the_vendor() -> None:
    """Vendor a has refused ten messages to the US by receipts, counted over all intake replicas. The plan then lists
    the US among the countries that a refuses.

    After nine such receipts this list is empty. In both cases the plan does not cut off vendor a as a whole.
    """
    two = config("a", "b")

    def heard(before: Plan, *counts: int) -> Plan:
        refused = [{"a": {"US": count, "CA": 1}} for count in counts]
        return decide(Survey([report("a"), report("b")], refused=refused), two, before, 0)

    few = heard(Plan(), 9)
    assert few.vendors["a"].countries_refused == ()
    plan = heard(few, 4, 6)
    assert (plan.vendors["a"].state, plan.vendors["a"].countries_refused) == ("closed", ("US",))
    assert "a does not reach, by its receipts: US" in plan.reason
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
