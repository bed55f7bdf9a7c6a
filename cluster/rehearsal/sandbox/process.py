"""Starts the sandbox vendors in a process of their own. The sandbox ends when the process that started it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

from dispatcher.errors import ConfigError


class StartedSandbox(NamedTuple):
    """The process of a sandbox, the address of its HTTP vendors, and the port of its SMTP server."""

    process: subprocess.Popen[str]
    url: str
    smtp_port: int


def start_sandbox(*options: str) -> StartedSandbox:
    """Start the sandbox on free ports and wait until it listens. Raises ConfigError if it does not start."""
    ports = ["--port", "0", "--smtp-port", "0", "--die-with-parent"]
    command = [sys.executable, "-m", "cluster.rehearsal.sandbox", *ports, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None, "a pipe was asked for"
    line = process.stdout.readline()
    if not line:
        process.kill()
        process.wait()
        raise ConfigError("the sandbox did not start")
    told = json.loads(line)
    return StartedSandbox(process, f"http://127.0.0.1:{told['http_port']}", int(told["smtp_port"]))
