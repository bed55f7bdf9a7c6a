"""The URL of a service is made from its host and port."""

from __future__ import annotations

import pytest

from cluster.local.readiness import url_of


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_an_address_is_written_as_a_url_wants_it(host: str, url: str) -> None:
    """An IPv6 address gets brackets.

    A service that listens on all addresses is reached by loopback of the same family.
    """
    assert url_of(host, 8000) == url
