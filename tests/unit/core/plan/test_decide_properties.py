"""Checks the plan for any set of reports: each mailbox has a drainer or a reason why not, and vendors never adopt each
other's mailboxes in a circle.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.plan.decide import Survey, decide
from dispatcher.core.plan.values import Override, Plan, PlanConfig, Report
from tests.unit.core.plan.plans import NAMES, STATES, config, report

configs = st.builds(
    lambda names, chains: config(*names, chains=tuple(tuple(n for n in c if n in names) for c in chains)),
    names=st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
    chains=st.lists(st.permutations(NAMES), max_size=3),
)
report_lists = st.lists(
    st.builds(report, st.sampled_from(NAMES), st.sampled_from(STATES), st.integers(1, 3)),
    unique_by=lambda r: r.incarnation,
)
override_maps = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        lambda s, u: Override("x", s, until_ms=u), st.sampled_from(["open", "close"]), st.sampled_from([None, 5])
    ),
)
box_maps = st.dictionaries(st.sampled_from((*NAMES, "removed")), st.integers(0, 10_000))


@given(report_lists, configs, box_maps, override_maps)
def test_every_mailbox_has_a_drainer_or_a_stated_hold(
    reports: list[Report], config: PlanConfig, mailboxes: dict[str, int], overrides: dict[str, Override]
) -> None:
    """Each mailbox, also of a removed vendor, has a drainer or is listed as undrained with a reason.

    No mailbox has two healthy drainers.
    """
    plan = decide(Survey(reports, mailboxes=mailboxes, overrides=overrides), config, Plan(), 1000)
    for mailbox in {*mailboxes, *config.vendors}:
        drainers = [v.name for v in plan.vendors.values() if v.state == "closed" and mailbox in v.drains]
        recovering = [v.name for v in plan.vendors.values() if v.state == "half_open" and mailbox in v.drains]
        assert len(drainers) <= 1
        assert bool(drainers or recovering) == (mailbox not in plan.undrained)
        assert plan.undrained.get(mailbox, "a reason")


@given(report_lists, configs, box_maps, override_maps)
def test_an_adopter_is_healthy_in_the_same_plan(
    reports: list[Report], config: PlanConfig, mailboxes: dict[str, int], overrides: dict[str, Override]
) -> None:
    """An open vendor drains nothing.

    A half-open vendor drains its own mailbox, its adopter's mailbox, and mailboxes that no healthy vendor
    drains. Only closed vendors get new work.
    """
    plan = decide(Survey(reports, mailboxes=mailboxes, overrides=overrides), config, Plan(), 1000)
    for entry in plan.vendors.values():
        if entry.state in ("open", "forced_open"):
            assert entry.drains == ()
        if entry.state == "half_open":
            assert entry.drains[0] == entry.name
            for box in entry.drains[1:]:
                adopts_mine = box in plan.vendors and entry.name in plan.vendors[box].drains
                assert adopts_mine or not any(v.state == "closed" and box in v.drains for v in plan.vendors.values())
        assert entry.accepts_new == (entry.state == "closed")


@given(report_lists, configs, box_maps, override_maps)
def test_adoption_has_no_circle(
    reports: list[Report], config: PlanConfig, mailboxes: dict[str, int], overrides: dict[str, Override]
) -> None:
    """A healthy vendor never drains the mailbox of another healthy vendor. So two vendors never drain each other's
    mailboxes.
    """
    plan = decide(Survey(reports, mailboxes=mailboxes, overrides=overrides), config, Plan(), 1000)
    healthy = [entry for entry in plan.vendors.values() if entry.state == "closed"]
    adopted = {box for entry in healthy for box in entry.drains if box != entry.name}
    assert adopted.isdisjoint(entry.name for entry in healthy)


@given(report_lists, configs, st.sampled_from(["open", "close"]))
def test_an_override_wins(reports: list[Report], config: PlanConfig, word: str) -> None:
    """An operator's override decides a vendor's state until its time is over, whatever the breakers report."""
    name = next(iter(config.vendors))
    plan = decide(Survey(reports, overrides={name: Override(name, word, "ada", "why")}), config, Plan(), 1000)
    assert plan.vendors[name].state == ("forced_open" if word == "open" else "closed")
    assert (plan.vendors[name].override, plan.vendors[name].reason) == (word, "why")
    late = decide(Survey(reports, overrides={name: Override(name, word, until_ms=1000)}), config, Plan(), 1000)
    assert late.vendors[name].state == decide(Survey(reports), config, Plan(), 1000).vendors[name].state


@given(report_lists, report_lists, configs, box_maps, box_maps, override_maps, override_maps, st.booleans())
def test_every_change_of_a_plan_has_a_reason(
    reports: list[Report],
    later: list[Report],
    config: PlanConfig,
    mailboxes: dict[str, int],
    more: dict[str, int],
    overrides: dict[str, Override],
    words: dict[str, Override],
    limited: bool,
) -> None:
    """A plan has a reason exactly if its assignment differs from the plan before."""
    if limited:
        config = PlanConfig({n: replace(v, rate_per_s=10.0) for n, v in config.vendors.items()}, config.chains)
    live = {r.incarnation for r in (*reports, *later)}
    before = decide(Survey(reports, mailboxes=mailboxes, overrides=overrides, live=live), config, Plan(), 1)
    plan = decide(Survey(later, mailboxes=more, overrides=words, live=live), config, before, 1)
    assert bool(plan.reason) == (not plan.same_assignment(before))


@given(report_lists, configs, box_maps, override_maps)
def test_a_plan_travels(
    reports: list[Report], config: PlanConfig, mailboxes: dict[str, int], overrides: dict[str, Override]
) -> None:
    """A plan that is written and read again is equal. A second decision from the same facts changes no assignment."""
    plan = decide(Survey(reports, mailboxes=mailboxes, overrides=overrides), config, Plan(), 1000)
    assert Plan.from_dict(plan.to_dict()) == plan
    again = decide(Survey(reports[::-1], mailboxes=mailboxes, overrides=overrides), config, plan, 1000)
    assert again.same_assignment(plan)
    assert again.epoch == plan.epoch + 1
