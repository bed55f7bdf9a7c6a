"""Checks the reading of a request header. In it HAProxy describes the TLS certificate of the machine that received the
request.
"""

from __future__ import annotations

import pytest

from dispatcher.operate.listener_certificate import WARN_S, ListenerCertificate, read_header

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1800000000,current", ListenerCertificate(1_800_000_000, False)),
        ("1800000000,refused", ListenerCertificate(1_800_000_000, True)),
        *(
            (text, None)
            for text in (None, "", ",current", "1,2", "-1,current", "1,current,refused", "9" * 13 + ",current")
        ),
    ],
)
def test_another_form_is_no_certificate(text: str | None, found: ListenerCertificate | None) -> None:
    """A header of any other form is read as no certificate, because on a machine without HTTPS anybody may send it."""
    assert read_header(text) == found


def test_an_operator_is_told_three_weeks_before_the_end() -> None:
    """A warning appears when the certificate ends within three weeks, and when renewed files are refused."""
    end_s = NOW_MS // 1000 + WARN_S
    assert list(ListenerCertificate(end_s, False).warnings(NOW_MS)) == []
    (soon,) = ListenerCertificate(end_s, False).warnings(NOW_MS + 86_400_000)
    assert soon == "the certificate of this machine is valid for only 20 more days"
    (over,) = ListenerCertificate(1, False).warnings(NOW_MS)
    assert over == "the certificate of this machine is valid for only 0 more days"
    (refused,) = ListenerCertificate(end_s, True).warnings(NOW_MS)
    assert "certificate_refused" in refused
