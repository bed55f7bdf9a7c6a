"""Tests the priority (niceness) of processes and of their threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.local.ray_settings import may_raise

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
    """`set_niceness` lowers the priority of every thread of the process. On Linux each thread has its own."""
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert found.stdout == "True {10}\n"


SHELL = """
import asyncio, os, sys
from unittest import mock
import serve_app.shells as shells

heavy = {"actors.vendor", "actors.intake", "actors.supervisor", "serve_app.asgi", "fastapi"}
early = heavy & set(sys.modules)

class Note:
    at = {}
    def find_spec(self, name, path=None, target=None):
        self.at.setdefault(name, os.nice(0))

sys.meta_path.insert(0, Note())
os.nice(int(sys.argv[2]))
settings = {
    "vendors": {"a": {"adapter": "twilio", "channel": "sms", "options": {
        "account_sid": "AC1", "auth_token": "x", "sender": "+4915112345678"}}},
    "routes": [{"channel": "sms", "chain": ["a"]}],
}
runtime = {"redis_url": "redis://127.0.0.1:1/0", "warnings": ""}
kind = sys.argv[1]
words = {"VendorShell": (settings, "a", runtime, 5.0)}.get(kind, (settings, runtime))

async def start():
    with mock.patch.object(shells, "identity", lambda: {"niceness": os.nice(0)}):
        shell = object.__new__(getattr(shells, kind))
        await shell.__init__(*words)
    return shell._actor._identity

found = asyncio.run(start())
module = {"VendorShell": "actors.vendor", "IntakeShell": "serve_app.asgi"}.get(kind, "actors.supervisor")
print(early or "nothing", Note.at[module], found["niceness"], flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no Linux")
@pytest.mark.parametrize(
    ("kind", "begun", "read_at", "runs_at"),
    [
        ("VendorShell", 0, 10, 10),
        ("VendorShell", 10, 10, 10),
        ("IntakeShell", 10, 10, 0),
        ("SupervisorShell", 10, 10, 0),
    ],
)
def test_a_shell_reads_its_code_behind_accepting(kind: str, begun: int, read_at: int, runs_at: int) -> None:
    """A process that Serve starts as a shell (a class without the actor's code) imports the code with niceness 10.

    So intake is not slowed by the import. After it, the process gets the niceness of its actor.
    """
    if runs_at < begun and not may_raise():
        pytest.skip("priorities may not be raised here")
    words = [sys.executable, "-c", SHELL, kind, str(begun)]
    found = subprocess.run(words, capture_output=True, text=True)
    assert found.stdout == f"nothing {read_at} {runs_at}\n", found.stderr
