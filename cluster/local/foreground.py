"""Writes the lines that `dispatcher up` shows. If a line cannot be written, the service continues without it.

For example, `up | grep -m1 ready` closes its pipe, a closed terminal answers EIO, and a log file may be on a full disk.
"""

from __future__ import annotations

import contextlib
import os
import sys

import click


def say(text: str, *, error: bool = True) -> None:
    """Write one line to stderr, or to stdout if `error` is False. A line that cannot be written is lost."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed
        click.echo(text, err=error)


def leave_quietly() -> None:
    """Flush stdout and stderr. A stream that cannot be flushed is replaced, because it would fail again at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
