"""Tests the answer of replicas that are no intake to an HTTP request that reaches them by mistake."""

from __future__ import annotations

from typing import Any

import pytest

from serve_app.shells import SupervisorShell, VendorShell


@pytest.mark.parametrize("shell", [VendorShell, SupervisorShell])
async def test_a_replica_that_is_no_intake_accepts_nothing(shell: Any) -> None:
    """A trigger that reaches the port of another replica is refused, and its caller tries again."""
    answer = await shell.__call__(None)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
