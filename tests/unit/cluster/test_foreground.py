"""The service continues if its output streams can no longer be written."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path

import pytest

from cluster.local import delivery_warnings, haproxy_wrapper
from cluster.local.foreground import LIBRARY_LOG, leave_quietly, libraries_to, say
from cluster.local.up import Options, Up

GONE = {"a pipe": errno.EPIPE, "a terminal": errno.EIO, "a full disk": errno.ENOSPC}


class Gone(io.TextIOBase):
    """A stream whose every write raises `OSError` with the given number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, _: str) -> int:
        raise OSError(self._number, os.strerror(self._number))


class Events:
    """Stands in for the event log. Each read returns one event."""

    def read(self) -> list[str]:
        return ["12:00:00 warning breaker_opened vendor=sms-a"]


@pytest.mark.parametrize("number", GONE.values(), ids=GONE)
def test_a_foreground_that_nobody_reads_ends_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With broken stdout and stderr, nothing raises: neither events and warnings, nor a reload or `say`.

    So the service continues.
    """
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Gone(number))
    up = Up(Options(tmp_path))
    up._events = Events()  # type: ignore[assignment]
    up._show_events()
    monkeypatch.setattr(delivery_warnings, "read_directly", lambda *_: {"channels_without_vendor": ["sms"]})
    delivery_warnings.DeliveryWarnings(up._url).show()
    up._reload()
    say("ready", error=False)


def test_a_closed_stream_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager may start a program with a closed stderr. `say` then raises nothing."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    say("redis died")


def test_the_end_of_a_program_whose_reader_left_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `leave_quietly`, flushing a broken stdout raises nothing. Python would otherwise exit with status 120."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        stream.write("ready\n")
        leave_quietly()
        stream.flush()


def test_an_error_is_shown_after_the_streams_are_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """During a start the output of the libraries goes into a file. If the start fails, the streams are restored first,
    so the error appears on the terminal and not in the file.
    """
    with pytest.raises(OSError, match="no Ray"), libraries_to(tmp_path / LIBRARY_LOG):
        raise OSError("no Ray")
    print("dispatcher: no Ray", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "dispatcher: no Ray\n"


def test_without_a_place_for_the_log_the_service_starts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """If the log file cannot be created, the service starts without it. For example, the disk is full."""
    (tmp_path / "logs").write_text("a file")
    with libraries_to(tmp_path / "logs" / LIBRARY_LOG):
        os.write(2, b"native\n")
        say("ready", error=False)
    assert capfd.readouterr() == ("ready\n", "")


@pytest.mark.parametrize("number", GONE.values(), ids=GONE)
def test_the_wrapper_of_haproxy_does_not_depend_on_its_reader(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The HAProxy wrapper reports an event without an error even if its stderr is broken.

    Otherwise the wrapper and HAProxy would end.
    """
    monkeypatch.setattr(sys, "stderr", Gone(number))
    haproxy_wrapper.tell("haproxy ended unasked")
