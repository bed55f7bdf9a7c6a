"""API keys in a file.

A key is shown once, and only its SHA-256 digest is stored. Digests are compared in constant time.

A key is `nd_PREFIX_SECRET`: 8 characters of prefix, and 43 characters that encode 32 random bytes. Such a secret cannot
be guessed, so a plain digest is enough. A row of the file is {"prefix", "digest", "tenant", "created_ms", "scopes",
"expires_ms" or absent}. A row without scopes was written before keys had scopes; its key may send and read.

The file may change while the service runs; the change is read within `RELOAD_S` seconds. When the first key is written,
a mark is put beside the file. While the mark exists, calls need a key, even if the file is lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from dispatcher.core.accepting.tenant_name import tenant_fault
from dispatcher.errors import ConfigError

RELOAD_S = 2.0
SCOPES = ("send", "read", "templates", "operate")
BEFORE_SCOPES = ("send", "read")
"""The scopes of a key that was made before keys had scopes, and the default scopes of a new key."""
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError)
_DIGEST = re.compile("[0-9a-f]{64}")
_ABSENT = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


@dataclass(frozen=True, slots=True)
class Grant:
    """The tenant that a key belongs to, and what the key allows."""

    tenant: str
    scopes: frozenset[str]


class StoredKey(TypedDict, total=False):
    """A key's row as the file has it. Rows of earlier releases have fewer fields."""

    prefix: str
    digest: str
    tenant: str
    created_ms: int
    scopes: list[str]
    expires_ms: int


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One row of the key file.

    `scoped` is False if the row names no scopes, because it was written by a version that had none.
    """

    prefix: str
    digest: str
    tenant: str
    created_ms: int
    scopes: tuple[str, ...]
    expires_ms: int | None
    scoped: bool


class ApiKeys:
    """The keys of one file. Before the file has its first key, no call needs a key.

    `up` allows a service without keys only on the loopback address.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_prefix: dict[str, KeyRow] = {}
        self._required = False
        self._read_s = -RELOAD_S
        self._version = (-1, -1, -1)

    @classmethod
    def load(cls, path: Path, required: bool = False) -> ApiKeys:
        """Return the keys of the file at `path`. With `required`, calls need a key even if the file has none.

        `required` is True for an address that other machines can reach.
        """
        keys = cls(path)
        keys._required = required or _mark(path).exists()
        keys._refresh()
        return keys

    @property
    def required(self) -> bool:
        """Return True if calls need a key.

        Once the answer is True, it stays True: losing or emptying the file lets nobody in.
        """
        self._refresh()
        return self._required

    @property
    def usable(self) -> bool:
        """Return True if at least one key has not expired."""
        self._refresh()
        return any(_alive(row) for row in self._by_prefix.values())

    def grant(self, header: str | None) -> Grant | None:
        """Return what the key in `header` (`Bearer KEY`) allows, or None if it is missing, unknown or expired."""
        self._refresh()
        scheme, _, given_key = (header or "").partition(" ")
        key = given_key.strip(" ")  # RFC 9110, section 11.4: one space or more
        prefix = key.split("_")[1] if scheme.lower() == "bearer" and key.count("_") >= 2 else ""
        row = self._by_prefix.get(prefix)
        given = hashlib.sha256(key.encode()).hexdigest()
        same = hmac.compare_digest(given, row.digest if row else _ABSENT)  # the same work for an unknown prefix
        return Grant(row.tenant, frozenset(row.scopes)) if same and row and row.tenant and _alive(row) else None

    def verify(self, header: str | None) -> str | None:
        """Return the tenant of the key in `header` (`Bearer KEY`), or None if it is missing, unknown or expired."""
        found = self.grant(header)
        return found.tenant if found else None

    def _refresh(self) -> None:
        now_s = time.monotonic()
        if now_s - self._read_s < RELOAD_S:
            return
        self._read_s = now_s
        try:
            now = self._path.stat()
            version = (now.st_mtime_ns, now.st_ino, now.st_size)  # two changes may share one tick of the clock
            if version != self._version:
                rows = [_row(row) for row in json.loads(self._path.read_text("utf-8-sig"))["keys"]]
                self._by_prefix = {row.prefix: row for row in rows}
                self._version = version
                if rows:
                    self._required = True
                    _leave_mark(self._path)
        except FileNotFoundError:
            return
        except _DAMAGED:
            self._required = True  # the keys that were read before stay valid; without any, no call is allowed


def new_key(path: Path, tenant: str, scopes: Sequence[str] = BEFORE_SCOPES, expires_ms: int | None = None) -> str:
    """Make a key for `tenant`, append its digest to the file, and return the key. Only the returned text holds the key.

    Only the file's owner can read the file (0600). Several processes may make keys at the same time. Raises
    `ConfigError` for a bad scope or tenant, or if the file cannot be read or written. Nothing was changed then.
    """
    with _changing(path) as rows:
        key, row = _made(tenant, scopes, expires_ms)
        rows.append(row)
    return key


def list_keys(path: Path) -> list[KeyRow]:
    """Return the rows of all keys, the oldest first. Raises `ConfigError` if the file cannot be read."""
    return [_row(row) for row in _rows(path)]


def revoke_key(path: Path, prefix: str) -> KeyRow:
    """Remove the key with this prefix and return its row. Within `RELOAD_S` seconds the service refuses the key.

    Raises `ConfigError` if there is no such key.
    """
    with _changing(path) as rows:
        found = _find(rows, prefix)
        rows.remove(found)
    return _row(found)


def rotate_key(path: Path, prefix: str, keep_s: int) -> tuple[str, KeyRow]:
    """Make a new key with the tenant, the scopes and the expiry of the key with this `prefix`, which is the old key.

    Return the new key and the old key's row. The old key expires after `keep_s` seconds, or at its own expiry if that
    is earlier. Raises `ConfigError` if there is no such key or it has expired.
    """
    with _changing(path) as rows:
        found = _find(rows, prefix)
        old = _row(found)
        if not _alive(old):
            raise ConfigError(f"{prefix}: has expired; make a new key instead")
        key, row = _made(old.tenant, old.scopes, old.expires_ms)
        rows.append(row)
        end_ms = _now_ms() + keep_s * 1000
        found["expires_ms"] = min(end_ms, old.expires_ms or end_ms)
    return key, _row(found)


def _made(tenant: str, scopes: Sequence[str], expires_ms: int | None) -> tuple[str, StoredKey]:
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise ConfigError(f"scope: must be one or more of {', '.join(SCOPES)}")
    if (fault := tenant_fault(tenant)) is not None:
        raise ConfigError(f"tenant: {fault}")
    prefix = secrets.token_hex(4)
    key = f"nd_{prefix}_{secrets.token_urlsafe(32)}"
    row: StoredKey = {
        "prefix": prefix,
        "digest": hashlib.sha256(key.encode()).hexdigest(),
        "tenant": tenant,
        "created_ms": _now_ms(),
        "scopes": [scope for scope in SCOPES if scope in scopes],
    }
    return key, row if expires_ms is None else {**row, "expires_ms": expires_ms}


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[StoredKey]]:
    """Yield the file's rows as a list that the block may change.

    The file is written if the block ends without an error. Only one process at a time is inside the block. Raises
    `ConfigError` if the file cannot be written. The file is then unchanged.
    """
    try:
        with _locked(path) as rows:
            yield rows
            _leave_mark(path)
            _write(path, json.dumps({"keys": rows}))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[list[StoredKey]]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _rows(path)
    finally:
        os.close(lock)


def _write(path: Path, text: str) -> None:
    """Write the key file so that only its owner can read it.

    After a crash the file has either the old text or the new text, never a part of one.
    """
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def _rows(path: Path) -> list[StoredKey]:
    try:
        rows = json.loads(path.read_text("utf-8-sig"))["keys"]
        for row in rows:
            _row(row)
    except FileNotFoundError:
        return []
    except _DAMAGED as error:
        raise ConfigError(f"{path}: cannot be read as a file of keys ({type(error).__name__})") from None
    return list(rows)


def _row(row: StoredKey) -> KeyRow:
    """Return a stored row of the key file as a `KeyRow`. A scope that this release does not know is left out.

    If the row cannot be read, an error of one of the types in `_DAMAGED` is raised.
    """
    if not _DIGEST.fullmatch(row["digest"]) or not all(isinstance(row[name], str) for name in ("prefix", "tenant")):
        raise ValueError("no row of ours")
    scopes = row.get("scopes")
    expires_ms = row.get("expires_ms")
    return KeyRow(
        prefix=row["prefix"],
        digest=row["digest"],
        tenant=row["tenant"],
        created_ms=int(row.get("created_ms", 0)),
        scopes=BEFORE_SCOPES if scopes is None else tuple(scope for scope in SCOPES if scope in scopes),
        expires_ms=None if expires_ms is None else int(expires_ms),
        scoped=scopes is not None,
    )


def _find(rows: list[StoredKey], prefix: str) -> StoredKey:
    named = prefix.split("_")[1] if prefix.startswith("nd_") else prefix
    for row in rows:
        if row["prefix"] == named:
            return row
    raise ConfigError(f"{named}: no key has this prefix; see `dispatcher key list`")


def _alive(row: KeyRow) -> bool:
    return row.expires_ms is None or _now_ms() < row.expires_ms


def _mark(path: Path) -> Path:
    return path.with_suffix(".required")


def _leave_mark(path: Path) -> None:
    """Create the empty file beside the key file which says that calls need a key, even if the key file is removed
    later.

    If this user may not write to the folder, the file is not created. Such a user cannot remove the key file either.
    """
    with contextlib.suppress(OSError):
        _mark(path).touch(mode=0o600)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
