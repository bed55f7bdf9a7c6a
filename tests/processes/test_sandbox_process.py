"""Tests the start of the sandbox vendors in a process of their own."""

from __future__ import annotations

import urllib.request

import pytest

from cluster.rehearsal.sandbox.process import start_sandbox
from dispatcher.errors import ConfigError


def test_a_started_sandbox_listens() -> None:
    """When `start_sandbox` returns, the sandbox answers at its address."""
    process, url, smtp_port = start_sandbox("--latency-ms", "0")
    try:
        heal = urllib.request.Request(f"{url}/_sandbox/sms-a/fault", b'{"mode": "none"}', method="PUT")
        with urllib.request.urlopen(heal, timeout=10.0) as answer:
            assert answer.status == 200
        assert smtp_port > 0
    finally:
        process.kill()
        process.communicate()


def test_a_sandbox_that_does_not_start_is_told_in_a_sentence() -> None:
    """The sandbox gets an unknown option and does not start. ConfigError says so."""
    with pytest.raises(ConfigError, match="the sandbox did not start"):
        start_sandbox("--no-such-option")
