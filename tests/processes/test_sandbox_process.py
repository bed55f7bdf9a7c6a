"""The sandbox vendors in a process of their own: started in one place, and told when they do not start."""

from __future__ import annotations

import urllib.request

import pytest

from cluster.rehearsal.sandbox.process import start_sandbox
from dispatcher.errors import ConfigError


def test_a_started_sandbox_listens() -> None:
    """Its address answers as soon as the call returns."""
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
    """No traceback about JSON that did not come, and no process is left."""
    with pytest.raises(ConfigError, match="the sandbox did not start"):
        start_sandbox("--no-such-option")
