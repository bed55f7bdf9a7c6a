"""Copies the log events of all actors into one file, and returns warnings and errors for the foreground.

Each actor writes JSON lines to its stderr, and so does the HAProxy wrapper. Ray keeps each stderr in a file below /tmp.
The lines are copied to `events.jsonl` in the log directory. When that file would exceed `BYTES_MAX`, it is renamed and
a new one begins. `FILES_MAX` older files are kept.
"""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from pathlib import Path

from dispatcher.core.json_object import JsonObject

BYTES_MAX = 10_000_000
FILES_MAX = 5
READ_BYTES_MAX = 1_000_000
"""The most bytes that one call reads from one actor's file. The next call reads on."""

SHOWN_MAX = 20
"""The most lines that one call returns. Ten thousand failed messages must not print ten thousand lines."""

SHOWN_LEVELS = ("warning", "error", "critical")


class EventLog:
    """Reads the events that actors have logged. Each call of `read` continues where the previous call ended."""

    def __init__(self, actors: Path, folder: Path, haproxy: Path | None = None) -> None:
        """Prepare to read the stderr of actors and of HAProxy wrappers, and to copy their events to the log directory
        `folder`.

        Ray keeps the stderr of its workers in the folder `actors`. Serve keeps the stderr of our HAProxy wrappers below
        the folder `haproxy`. These files are older than this run, so only lines that are written after this call are
        read. `folder` is made if it is missing.
        """
        self._actors, self._haproxy = actors, haproxy
        self.file = folder / "events.jsonl"
        self._read: dict[Path, int] = {path: path.stat().st_size for path in self._wrappers()}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def read(self) -> list[str]:
        """Copy the events that actors have logged since the last call to the installation's file of events.

        Return a line for each of these events of level warning or above. If the file cannot be written, for example
        because the disk is full, the events are not copied.
        """
        found = [line for path in self._files() for line in self._lines(path)]
        events = [(line, event) for line in found if (event := _event(line)) is not None]
        with contextlib.suppress(OSError):  # a full disk must not end the service that logs
            self._keep("".join(f"{line}\n" for line, _ in events))
        shown = [text_of(event) for _, event in events if event.get("level") in SHOWN_LEVELS]
        if len(shown) > SHOWN_MAX:
            shown[SHOWN_MAX:] = [f"… and {len(shown) - SHOWN_MAX} more in {self.file}"]
        return shown

    def _files(self) -> list[Path]:
        return [*sorted(self._actors.glob("worker-*.err")), *self._wrappers()]

    def _wrappers(self) -> list[Path]:
        return [] if self._haproxy is None else sorted(self._haproxy.glob("*/*.stderr.log"))

    def _lines(self, path: Path) -> list[str]:
        """Return the new complete lines of one file."""
        begin = self._read.get(path, 0)
        try:
            if path.stat().st_size <= begin:
                return []
            with path.open("rb") as file:
                file.seek(begin)
                data = file.read(READ_BYTES_MAX)
        except OSError:
            return []
        end = data.rfind(b"\n") + 1
        if not end and len(data) == READ_BYTES_MAX:
            end = len(data)  # no event is so long
        self._read[path] = begin + end
        return data[:end].decode(errors="replace").splitlines()

    def _keep(self, text: str) -> None:
        if not text:
            return
        if self.file.exists() and self.file.stat().st_size + len(text) > BYTES_MAX:
            for number in range(FILES_MAX - 1, 0, -1):
                older = self.file.with_name(f"{self.file.name}.{number}")
                if older.exists():
                    older.replace(self.file.with_name(f"{self.file.name}.{number + 1}"))
            self.file.replace(self.file.with_name(f"{self.file.name}.1"))
        with self.file.open("a", encoding="utf-8") as file:
            file.write(text)


def _event(line: str) -> JsonObject | None:
    """Return the event in a line, or None if the line is not one of our events."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "event" in found else None


def text_of(event: JsonObject) -> str:
    """Return an event as one readable line: local time, level, name, fields."""
    rest = {name: value for name, value in event.items() if name not in ("event", "level", "timestamp", "exception")}
    moment = str(event.get("timestamp", ""))
    with contextlib.suppress(ValueError):
        moment = f"{datetime.fromisoformat(moment.replace('Z', '+00:00')).astimezone():%H:%M:%S}"
    parts = [
        moment,
        str(event.get("level", "")),
        str(event["event"]),
        *(f"{name}={value}" for name, value in rest.items()),
    ]
    return " ".join(part for part in parts if part)
