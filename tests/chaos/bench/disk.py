"""Simulates a power cut without cutting power: the kernel tells which bytes of a file are on disk.

SIGKILL does not test durability, because the page cache survives the process. `cachestat` (Linux 6.5 and newer) counts
the pages of a file that are dirty or being written. A file without such pages would be complete after a power cut. This
does not test what the disk itself does with a flushed write.
"""

from __future__ import annotations

import ctypes
import os
import signal
import tempfile
import time
from pathlib import Path

CACHESTAT = 451  # the same number on every architecture
_libc = ctypes.CDLL(None, use_errno=True)


def unwritten_pages(path: Path) -> int:
    """Return how many pages of `path` a power cut would lose now. Raises OSError if the kernel cannot tell."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        whole = (ctypes.c_uint64 * 2)(0, 0)
        found = (ctypes.c_uint64 * 5)()  # cached, dirty, writeback, evicted, recently evicted
        if _libc.syscall(CACHESTAT, descriptor, ctypes.byref(whole), ctypes.byref(found), 0) != 0:
            raise OSError(ctypes.get_errno(), "cachestat")
        return int(found[1] + found[2])
    finally:
        os.close(descriptor)


def can_tell(folder: Path) -> bool:
    """Return True if the kernel can count the dirty pages of files in `folder`.

    Kernels before Linux 6.5 cannot count them. No kernel can on an overlay or memory file system.
    """
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"x" * 8192)
        file.flush()
        try:
            before = unwritten_pages(Path(file.name))
            os.fdatasync(file.fileno())
            return before > 0 and unwritten_pages(Path(file.name)) == 0
        except OSError:
            return False


class PowerCut:
    """Simulates a power cut: watches a running server's append-only file, kills the server, and leaves only the
    bytes that were on disk.
    """

    def __init__(self, path: Path, pid: int) -> None:
        self._path, self._pid = path, pid
        self.durable_bytes = 0

    def look(self) -> bool:
        """Remember the file's length if all of the file is on disk now. Return True in that case."""
        size = self._path.stat().st_size
        if unwritten_pages(self._path) > 0:
            return False
        self.durable_bytes = max(self.durable_bytes, size)
        return True

    def cut(self) -> int:
        """Kill the server and truncate its file to the bytes that were on disk. Return how many bytes were lost.

        A server that syncs each write is often stopped between a write and its sync. No client was told yet that those
        bytes are stored. So the server may continue for a moment, and is stopped again, until the whole file is on disk
        at a stop. A server that syncs only now and then will hardly be found so. Its file is cut to the length that the
        last successful `look` found.
        """
        for _ in range(50):
            os.kill(self._pid, signal.SIGSTOP)
            _await_stop(self._pid)
            if self.look():
                break
            os.kill(self._pid, signal.SIGCONT)
            time.sleep(0.001)
        os.kill(self._pid, signal.SIGSTOP)
        os.kill(self._pid, signal.SIGKILL)
        size = self._path.stat().st_size
        os.truncate(self._path, self.durable_bytes)
        return size - self.durable_bytes


def _await_stop(pid: int) -> None:
    until = time.monotonic() + 2.0
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("T", "Z"):
        assert time.monotonic() < until, "it does not stop"
        time.sleep(0.0005)
