"""Tests a stop signal that reaches the whole process group, as `kill -- -PGID` and some service managers and containers
send it. The service still ends in order.
"""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest

from cluster.local.service import Service
from tests.chaos.running import wait_for
from tests.leftovers import short_folder

pytestmark = [pytest.mark.chaos, pytest.mark.long]

STOP_S_MAX = 55.0
"""The most seconds for the stop. An idle machine takes 15 s, most of which Ray waits for its own processes."""


def test_a_signal_to_the_whole_group_ends_everything() -> None:
    """SIGTERM to the whole group also reaches Ray's own processes.

    `up` still exits with 0 within `STOP_S_MAX`, and no process is left.
    """
    service = Service(short_folder("nd-test-") / "state")
    try:
        service.start()
        up = service._process
        assert up is not None
        began_s = time.monotonic()
        os.killpg(os.getpgid(up.pid), signal.SIGTERM)
        assert up.wait(STOP_S_MAX) == 0
        wait_for(lambda: service.all_pids() == [], 10)
        print(f"stopped after {time.monotonic() - began_s:.1f} s")
    finally:
        assert service.clean_up() == []
        shutil.rmtree(service.state.path.parent, ignore_errors=True)
