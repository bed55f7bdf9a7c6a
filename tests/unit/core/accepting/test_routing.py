"""Checks which chain a notification gets, and which vendor of the chain comes first."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.config.settings import RouteSettings
from dispatcher.core.accepting.routing import (
    Traffic,
    choose_chain,
    is_hidden,
    order_chain,
    possible_chains,
    rank_routes,
)
from dispatcher.core.life.decide import decide_mailbox
from dispatcher.errors import CallerError


def route(*chain: str, split: dict[str, int] | None = None, channel: str = "sms", **match: list[str]) -> RouteSettings:
    return RouteSettings.model_validate(
        {"channel": channel, "chain": list(chain), "split": split or {}, "match": dict(match)}
    )


ROUTES = [
    route("a", "b"),
    route("never"),
    route("vip", tenant=["gold"], priority=["high"]),
    route("nordic", "b", country=["NO", "SE"]),
    route("codes", event=["login.code"]),
    route("codes-no", event=["login.code"], country=["NO"]),
    route("mail", channel="email", tenant=["gold"]),
]


def traffic(channel: str = "sms", event: str = "e", tenant: str = "t", **more: Any) -> Traffic:
    return Traffic(channel, event, tenant, more.get("country"), more.get("priority", "normal"))


@pytest.mark.parametrize(
    ("found", "chain"),
    [
        (traffic(tenant="gold", country="NO", priority="high"), ("vip",)),
        (traffic(tenant="gold", country="NO"), ("nordic", "b")),
        (traffic(country="SE", priority="high"), ("nordic", "b")),
        (traffic(country="DE"), ("a", "b")),
        (traffic(priority="bulk"), ("a", "b")),
        (traffic("email", tenant="gold"), ("mail",)),
        (traffic(event="login.code"), ("codes",)),
        (traffic(event="login.code", country="SE"), ("codes",)),
        (traffic(event="login.code", country="NO"), ("codes-no",)),
        (traffic(event="login.code", tenant="gold", priority="high"), ("codes",)),
    ],
)
def test_event_counts_before_tenant_before_country(found: Traffic, chain: tuple[str, ...]) -> None:
    """A route is used only if every list of its match fits.

    If several routes fit, a route for the event wins over a route for the tenant, and a route for the tenant wins over
    a route for the country. The order of the routes in the file does not matter.
    """
    assert choose_chain(ROUTES, found, "0-t.0") == chain


@given(st.permutations(range(len(ROUTES))), st.sampled_from(["e", "login.code"]), st.sampled_from([None, "NO", "DE"]))
def test_the_order_of_the_file_decides_only_among_equals(order: list[int], event: str, country: str | None) -> None:
    """The order of routes in the file matters only between routes with the same match, where the first wins."""
    found = traffic(event=event, country=country)
    shuffled = [ROUTES[index] for index in order]
    used = rank_routes(shuffled, found)[0]
    same = [one for one in shuffled if one.channel == "sms" and one.match == used.match]
    assert used is same[0]
    assert used.match == rank_routes(ROUTES, found)[0].match


@pytest.mark.parametrize(("channel", "tenant"), [("push", "t"), ("email", "t")])
def test_without_a_route_the_request_is_refused(channel: str, tenant: str) -> None:
    """A notification that no route carries is refused with CallerError."""
    with pytest.raises(CallerError, match=f"no route carries {channel}"):
        choose_chain(ROUTES, traffic(channel, tenant=tenant), "0-t.0")


# Splits --------------------------------------------------------------------------------------------------------------

WEIGHTS = st.lists(st.integers(1, 100), min_size=2, max_size=5).map(
    lambda weights: {f"v{index}": weight for index, weight in enumerate(weights)}
)


def first_usable(chain: tuple[str, ...], down: set[str]) -> str:
    found = decide_mailbox(chain, (), lambda name: name not in down, lambda _: False, known=lambda _: True)
    assert found is not None
    return found


def shares(split: dict[str, int], down: set[str], seed: str) -> Counter[str]:
    used = route(*split, "rest", split=split)
    return Counter(first_usable(order_chain(used, f"0-{seed}{n}.0"), down) for n in range(10_000))


@pytest.mark.parametrize(
    ("split", "down", "expected"),
    [
        ({"a": 70, "b": 30}, set(), {"a": 70, "b": 30}),
        ({"a": 70, "b": 30}, {"a"}, {"b": 100}),
        ({"a": 50, "b": 30, "c": 20}, {"a"}, {"b": 60, "c": 40}),
        ({"a": 1, "b": 1, "c": 2}, {"c"}, {"a": 50, "b": 50}),
        ({"a": 70, "b": 30}, {"a", "b"}, {"rest": 100}),
    ],
)
def test_a_split_is_met_within_two_percent(split: dict[str, int], down: set[str], expected: dict[str, float]) -> None:
    """Each vendor of a split gets its part of 10,000 notifications within two percent.

    If a vendor is down, its part is divided among the others by weight.
    """
    counts = shares(split, down, "t")
    assert set(counts) == set(expected)
    assert all(abs(counts[name] - 100 * percent) <= 200 for name, percent in expected.items()), counts


@given(WEIGHTS, st.integers(), st.text("abcdefgh234567", min_size=26, max_size=26))
def test_a_split_moves_only_the_notifications_of_the_vendor_that_is_down(
    split: dict[str, int], seed: int, tid: str
) -> None:
    """A route splits its notifications among vendors. The same id always gives the same order of vendors, each once.

    If one vendor is down, only the notifications that it would have got change their vendor.
    """
    used = route(*split, "rest", split=split)
    chain = order_chain(used, f"0-{tid}.0")
    assert chain == order_chain(used, f"0-{tid}.0")
    assert sorted(chain) == sorted(used.chain) and chain[-1] == "rest"
    down = random.Random(seed).choice(sorted(split))
    assert first_usable(chain, {down}) == (chain[0] if chain[0] != down else chain[1])


@given(WEIGHTS)
def test_a_raised_weight_takes_from_others_only(split: dict[str, int]) -> None:
    """If a vendor's weight is raised, the vendor keeps all its notifications and gets some of the other vendors'.

    No notification moves between the other vendors.
    """
    raised = {**split, "v0": split["v0"] * 2}
    for n in range(200):
        before = order_chain(route(*split, split=split), f"0-t{n}.0")[0]
        after = order_chain(route(*split, split=raised), f"0-t{n}.0")[0]
        assert after in (before, "v0")


def test_the_plan_knows_who_shares_a_place() -> None:
    """A route has a split. For each vendor of the split there is one possible chain, which begins with that vendor.

    The others of the split follow by weight, and then the rest of the route's chain.
    """
    used = route("rest", "a", "b", "c", split={"a": 1, "b": 5, "c": 3})
    assert possible_chains(used) == (("b", "c", "a", "rest"), ("c", "b", "a", "rest"), ("a", "b", "c", "rest"))
    assert possible_chains(route("a", "b")) == (("a", "b"),)


SOME = st.lists(st.sampled_from(["NO", "DE", "SE"]), unique=True, max_size=3)


@given(SOME, SOME, SOME, SOME)
def test_a_route_is_hidden_if_and_only_if_no_message_takes_it(
    countries: list[str], tenants: list[str], others: list[str], more: list[str]
) -> None:
    """`is_hidden` is compared with the routes that messages really get. Each combination of country and tenant is
    tried, also with values that neither route names.

    The later route is hidden if and only if no message gets it.
    """
    earlier, later = route("a", country=countries, tenant=tenants), route("b", country=others, tenant=more)
    messages = [traffic(country=c, tenant=t) for c, t in product(["NO", "DE", "SE", "FI"], ["NO", "DE", "SE", "t"])]
    taken = any(rank_routes([earlier, later], one)[:1] == [later] for one in messages)
    assert is_hidden(later, earlier) == (not taken)
