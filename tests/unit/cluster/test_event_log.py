"""The events of all actors are copied into one file, and the foreground shows warnings and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.local import event_log
from cluster.local.event_log import EventLog, text_of


def line(level: str, event: str, **fields: object) -> str:
    return json.dumps({**fields, "event": event, "level": level, "timestamp": "2026-01-02T03:04:05.123456Z"}) + "\n"


@pytest.fixture
def actors(tmp_path: Path) -> Path:
    folder = tmp_path / "ray"
    folder.mkdir()
    return folder


def test_warnings_are_shown_and_all_events_are_kept(actors: Path, tmp_path: Path) -> None:
    """All events of an actor are kept in the file, and only the warning is shown. Other lines are left out."""
    log = EventLog(actors, tmp_path / "logs")
    with (actors / "worker-56hexdigits-01000000-77.err").open("w") as file:
        file.write("some warning of a library\n" + line("info", "term_begun", term=3))
        file.write(line("warning", "breaker_changed", vendor="sms-a", state="open"))
    (shown,) = log.read()
    assert shown.endswith(" warning breaker_changed vendor=sms-a state=open")
    kept = [json.loads(text)["event"] for text in log.file.read_text().splitlines()]
    assert kept == ["term_begun", "breaker_changed"]


def test_nothing_is_read_twice_or_by_half(actors: Path, tmp_path: Path) -> None:
    """No line is read twice, and an unfinished line is read when it is complete.

    A new actor's file is read from its beginning.
    """
    log, first, second = EventLog(actors, tmp_path / "logs"), actors / "worker-a.err", actors / "worker-b.err"
    whole = line("error", "store_broke")
    first.write_text(whole[:20])
    assert log.read() == []
    first.write_text(whole)
    second.write_text(line("warning", "delivery_stalled", vendor="a"))
    assert [text.split()[2] for text in log.read()] == ["store_broke", "delivery_stalled"]
    assert log.read() == []


def test_a_storm_is_one_line(actors: Path, tmp_path: Path) -> None:
    """A hundred warnings come at once. At most `SHOWN_MAX` lines are shown, and one more line says how many others the
    log file has.
    """
    log = EventLog(actors, tmp_path / "logs")
    (actors / "worker-a.err").write_text(line("warning", "notification_dead") * 100)
    shown = log.read()
    assert len(shown) == event_log.SHOWN_MAX + 1
    assert shown[-1] == f"… and 80 more in {tmp_path / 'logs' / 'events.jsonl'}"


def test_the_file_is_turned_over(actors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is renamed when it is full, and only `FILES_MAX` old files are kept."""
    monkeypatch.setattr(event_log, "BYTES_MAX", 300)
    log = EventLog(actors, tmp_path / "logs")
    for number in range(20):
        with (actors / "worker-a.err").open("a") as file:
            file.write(line("info", "entries_taken", count=number) * 2)
        log.read()
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["events.jsonl", *(f"events.jsonl.{number}" for number in range(1, event_log.FILES_MAX + 1))]
    assert json.loads(log.file.read_text().splitlines()[-1])["count"] == 19


def test_what_cannot_be_written_is_shown_all_the_same(
    actors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the file cannot be written, for example on a full disk, the warning is still shown."""
    log = EventLog(actors, tmp_path / "logs")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EventLog, "_keep", full)
    (actors / "worker-a.err").write_text(line("error", "outcome_refused"))
    assert len(log.read()) == 1


def test_an_event_without_a_time_is_shown() -> None:
    """An event whose timestamp cannot be read is shown with the timestamp as it is."""
    assert text_of({"event": "x", "level": "error", "timestamp": "soon", "count": 2}) == "soon error x count=2"


def test_the_haproxy_wrapper_is_heard_too(actors: Path, tmp_path: Path) -> None:
    """The events of the HAProxy wrapper are shown too, but only those written after the log was opened."""
    node = tmp_path / "runtime" / "56hexdigits"
    node.mkdir(parents=True)
    old, new = node / "a.s.1.1.stderr.log", node / "a.s.1.2.stderr.log"
    old.write_text(line("warning", "certificate_refused", reason="long ago"))
    log = EventLog(actors, tmp_path / "logs", tmp_path / "runtime")
    assert log.read() == []
    new.write_text("[NOTICE] haproxy\n" + line("warning", "certificate_refused", reason="it does not fit"))
    (shown,) = log.read()
    assert shown.endswith(" warning certificate_refused reason=it does not fit")
