"""The priority of a process, thread by thread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, threading, time
from serve_app.priority import set_niceness
threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
set_niceness(10)
threads = os.listdir("/proc/self/task")
print(len(threads) > 1, {os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in threads}, flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no Linux")
def test_every_thread_gives_way() -> None:
    """Linux has a niceness for each thread, and Ray's threads are there before the actor is."""
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert found.stdout == "True {10}\n"
