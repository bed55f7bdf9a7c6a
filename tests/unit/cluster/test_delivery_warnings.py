"""The foreground shows problems of delivery."""

from __future__ import annotations

from http.client import IncompleteRead

import pytest

from cluster.local.delivery_warnings import DeliveryWarnings


def test_the_foreground_tells_when_a_stall_begins_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The foreground prints one line when a stall begins and one when it ends.

    A service that does not answer changes nothing.
    """
    warnings = DeliveryWarnings("http://127.0.0.1:8000")
    stall = {"stalled": [{"vendor": "a", "channel": "sms"}], "channels_without_vendor": ["email"]}
    answers = [{"stalled": [], "channels_without_vendor": []}, stall, stall, OSError("away"), IncompleteRead(b""), {}]

    def read(*_: object) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("cluster.local.delivery_warnings.read_directly", read)
    for _ in range(6):
        warnings.show()
    assert capsys.readouterr().err.splitlines() == [
        "WARNING: delivery by a (sms) is stalled; `dispatcher status` says more",
        "WARNING: no vendor is left for email; `dispatcher status` says more",
        "over: delivery by a (sms) is stalled",
        "over: no vendor is left for email",
    ]
