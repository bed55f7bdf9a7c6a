"""The lines that `dispatcher up` shows in the foreground. The service goes on where nobody takes them any more.

`up | grep -m1 ready` closes its pipe, a closed terminal answers EIO, and a log file may be on a full disk.
"""

from __future__ import annotations

import contextlib
import os
import sys

import click


def say(text: str, *, error: bool = True) -> None:
    """Write one line to stderr, or to stdout without `error`. A line that cannot be written is lost."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed
        click.echo(text, err=error)


def leave_quietly() -> None:
    """Flush what was said. A stream that cannot be flushed is replaced: Python would fail at its end as well."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
