"""A process in which couriers cannot run ends with an error before it is ready."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest

from actors.self_test import prove_channels, prove_courier
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.deliver.attempt import Delivery
from dispatcher.errors import SelfTestError


def settings(**changes: Any) -> Settings:
    vendors = {
        "a": {"adapter": "twilio", "channel": "sms", **changes},
        "b": {"adapter": "twilio", "channel": "sms"},
        "m": {"adapter": "sendgrid", "channel": "email"},
    }
    routes = [{"channel": "sms", "chain": ["a", "b"]}, {"channel": "email", "chain": ["m"]}]
    return parse_settings({"vendors": vendors, "routes": routes})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as it comes"),
        pytest.param({"rate_per_s": 0.01}, id="a contract of a call in 100 s"),
        pytest.param({"breaker": {"per": "country"}}, id="breakers by country"),
    ],
)
async def test_a_message_goes_through_each_channel(changes: dict[str, Any]) -> None:
    """The self-test of all channels passes in less than two seconds, because every start of a process runs it."""
    began_s = asyncio.get_running_loop().time()
    await prove_channels(settings(**changes))
    assert asyncio.get_running_loop().time() - began_s < 2.0


async def test_a_courier_that_cannot_run_is_one_sentence() -> None:
    """An exception in the courier becomes a `SelfTestError` of one line.

    One interpreter, for example, lacked `asyncio.timeout`.
    """

    async def lacking(*_: Any) -> None:
        raise AttributeError("module 'asyncio' has no attribute 'timeout'")

    said = "no message can be delivered by sms here: the courier of a left"
    with mock.patch.object(Delivery, "_prepare", lacking), pytest.raises(SelfTestError, match=said) as e:
        await prove_courier(settings(), "a", 0.3)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("method", ["_attempt", "decide", "render"])
async def test_a_step_that_fails_is_found(method: str) -> None:
    """The self-test fails if any one step of a delivery raises an error."""
    broken = mock.patch.object(Delivery, method, mock.Mock(side_effect=TypeError("of a later version")))
    with broken, pytest.raises(SelfTestError):
        await prove_courier(settings(), "m", 0.3)


async def test_a_loop_that_ends_is_told_at_once() -> None:
    """A courier whose loop ends is reported at once, although the self-test may wait for 60 seconds."""
    broken = mock.patch("dispatcher.deliver.courier.Courier.admit", mock.AsyncMock(side_effect=TypeError("no")))
    with broken, pytest.raises(SelfTestError, match=r"\(TypeError: no\)"):
        await asyncio.wait_for(prove_courier(settings(), "a", 60), 5)
