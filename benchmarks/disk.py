"""How long the disk itself takes: a small append and its fdatasync, beside whatever else is measured.

An accept cannot be faster than the write it rests on. A tail of accepts that comes with the same tail here is the
disk's, or of whoever else writes to it.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

PERIOD_S = 0.05
BYTES = b"x" * 1000


class Disk:
    """Within `with`: one append of 1,000 bytes every 50 ms, to a file in `folder`. `took_ms` holds what each took."""

    def __init__(self, folder: Path) -> None:
        self.took_ms: list[float] = []
        self._path = folder / "fdatasync"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)

    def __enter__(self) -> Disk:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while not self._stop.wait(PERIOD_S):
                began_s = time.perf_counter()
                os.write(fd, BYTES)
                os.fdatasync(fd)
                self.took_ms.append((time.perf_counter() - began_s) * 1000)
        finally:
            os.close(fd)
