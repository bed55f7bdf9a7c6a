"""Writes the lines that `dispatcher up` shows. If a line cannot be written, the service continues without it.

For example, `up | grep -m1 ready` closes its pipe, a closed terminal answers EIO, and a log file may be on a full disk.

Ray and other libraries write to stdout and stderr too, also from native code. `libraries_to` sends what they write to a
file, so that an operator reads only our sentences.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click

LIBRARY_LOG = "ray.log"
"""The file in the log directory with what Ray and other libraries write in the process of `up`."""

BYTES_MAX = 10_000_000
"""When the file of `libraries_to` is longer than this at a start, it is renamed, and a new file begins."""

_terminal: dict[int, TextIO] = {}
"""The streams that `say` writes to while `libraries_to` is in force, by file descriptor."""


def say(text: str, *, error: bool = True) -> None:
    """Write one line to stderr, or to stdout if `error` is False. A line that cannot be written is lost."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed
        click.echo(text, file=_terminal.get(2 if error else 1), err=error)


@contextlib.contextmanager
def libraries_to(file: Path) -> Iterator[None]:
    """Until the context ends, append everything that is written to stdout and stderr to `file`, except lines of `say`.

    If the file cannot be opened, what libraries write is lost. If this process was started without stdout or without
    stderr, the missing stream is left alone.
    """
    opened = _opened(file)
    _flush()
    for number, stream in ((1, sys.__stdout__), (2, sys.__stderr__)):
        if stream is not None:  # without a stream, the descriptor may belong to another file by now
            encoding = stream.encoding or "utf-8"
            kept = os.dup(number)
            _terminal[number] = os.fdopen(kept, "w", buffering=1, encoding=encoding, errors="backslashreplace")
            os.dup2(opened, number)
    os.close(opened)
    try:
        yield
    finally:
        _flush()
        for number, terminal in _terminal.items():
            os.dup2(terminal.fileno(), number)
            with contextlib.suppress(OSError):
                terminal.close()
        _terminal.clear()


def _opened(file: Path) -> int:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if file.exists() and file.stat().st_size > BYTES_MAX:
            file.replace(file.with_name(f"{file.name}.1"))
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # AttributeError: there is no such stream
            stream.flush()


def leave_quietly() -> None:
    """Flush stdout and stderr. A stream that cannot be flushed is replaced, because it would fail again at exit."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # this process was started without it
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
