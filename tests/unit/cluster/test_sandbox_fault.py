"""The sandbox's vendors misbehave as a test asks, towards the named recipients only."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.rehearsal.sandbox.fault import Fault, FaultError

SPAIN, GERMANY = "+34612345678", "+4915112345678"


def fault(**body: Any) -> Fault:
    return Fault.parse(body, 50.0)


@pytest.mark.parametrize("mode", ["error", "hang", "slow", "throttle", "reset", "garbage", "drip", "reject"])
def test_a_fault_befalls_only_recipients_that_begin_so(mode: str) -> None:
    """With `to`, every fault mode applies only to recipients that begin with its value.

    Without `to` it applies to all.
    """
    of_spain = fault(mode=mode, to="+34")
    assert (of_spain.now(SPAIN), of_spain.now(GERMANY)) == (mode, "none")
    assert fault(mode=mode).now(GERMANY) == mode
    assert fault(mode=mode, to="bad").now("bad-box@example.com") == mode


def test_one_such_recipient_among_several_is_enough() -> None:
    """A fault applies to recipients whose address begins with the fault's `to`.

    If an SMTP message has several recipients, one such recipient is enough for the fault.
    """
    assert fault(mode="hang", to="bad").now("ada@example.com", "bad@example.com") == "hang"
    assert fault(mode="hang", to="bad").now("ada@example.com", "not.bad@example.com") == "none"


def test_with_a_ratio_it_befalls_a_part_of_them() -> None:
    assert fault(mode="error", to="+34", ratio=0).now(SPAIN) == "none"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param({"mode": "error", "to": "34"}, "to: must be how", id="digits without +"),
        pytest.param({"mode": "error", "to": "+"}, "to: must be how", id="no digit"),
        pytest.param({"mode": "error", "to": "+049"}, "to: must be how", id="no country begins with 0"),
        pytest.param({"mode": "error", "to": "+" + "1" * 16}, "to: must be how", id="longer than any number"),
        pytest.param({"mode": "error", "to": ""}, "to: must be how", id="empty"),
        pytest.param({"mode": "error", "to": 34}, "to: must be how", id="a number of JSON"),
        pytest.param({"mode": "error", "to": None}, "to: must be how", id="null"),
        pytest.param({"mode": "error", "to": "+34\n"}, "to: must be how", id="a line's end"),
        pytest.param({"mode": "none", "to": "+34"}, "to: goes with a mode other than none", id="of a healthy vendor"),
        pytest.param({"to": "+34"}, "to: goes with a mode other than none", id="without a mode"),
        pytest.param({"mode": "error", "prefix": "+34"}, "prefix: is no field of a fault", id="another name"),
    ],
)
def test_a_wrong_one_is_refused_with_field_and_rule(body: dict[str, Any], error: str) -> None:
    with pytest.raises(FaultError) as caught:
        Fault.parse(body, 50.0)
    assert str(caught.value).startswith(error)
