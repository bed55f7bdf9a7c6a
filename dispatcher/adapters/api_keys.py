"""API keys: shown once, stored as SHA-256 digests under a prefix, compared in constant time.

A key is `nd_<8 prefix>_<43 of 32 random bytes>`: high entropy, so a plain digest is enough. The file may change while
we run; a changed one is read again within `RELOAD_S`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from pathlib import Path

RELOAD_S = 2.0
_ABSENT = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


class ApiKeys:
    """The keys of one file. Without a key in it, none is required (loopback only; `up` refuses anything else)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_prefix: dict[str, tuple[str, str]] = {}
        self._required = False
        self._read_s = -RELOAD_S
        self._mtime_ns = -1

    @classmethod
    def load(cls, path: Path, required: bool = False) -> ApiKeys:
        """`required`: an address that others can reach needs a key whatever becomes of the file."""
        keys = cls(path)
        keys._required = required
        keys._refresh()
        return keys

    @property
    def required(self) -> bool:
        """Whether calls need a key. Once true it stays so: losing or emptying the file must not open the door."""
        self._refresh()
        return self._required

    @property
    def usable(self) -> bool:
        """Whether any key opens anything."""
        self._refresh()
        return bool(self._by_prefix)

    def verify(self, header: str | None) -> str | None:
        """The tenant of an `Authorization: Bearer KEY` header; None when it opens nothing."""
        self._refresh()
        scheme, _, key = (header or "").partition(" ")
        prefix = key.split("_")[1] if scheme.lower() == "bearer" and key.count("_") >= 2 else ""
        tenant, digest = self._by_prefix.get(prefix, ("", _ABSENT))  # the same work for an unknown prefix
        given = hashlib.sha256(key.encode()).hexdigest()
        return tenant if hmac.compare_digest(given, digest) and tenant else None

    def _refresh(self) -> None:
        now_s = time.monotonic()
        if now_s - self._read_s < RELOAD_S:
            return
        self._read_s = now_s
        try:
            mtime_ns = self._path.stat().st_mtime_ns
            if mtime_ns != self._mtime_ns:
                rows = json.loads(self._path.read_text())["keys"]
                self._by_prefix = {row["prefix"]: (row["tenant"], row["digest"]) for row in rows}
                self._required = self._required or bool(rows)
                self._mtime_ns = mtime_ns
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, OSError):
            self._required = True  # there is a file: the keys known before go on, and without any nobody comes in


def new_key(path: Path, tenant: str) -> str:
    """A new key of `tenant`; its digest is appended to the file (0600). The key itself is only in the answer."""
    prefix = secrets.token_hex(4)
    key = f"nd_{prefix}_{secrets.token_urlsafe(32)}"
    rows = json.loads(path.read_text())["keys"] if path.exists() else []
    digest = hashlib.sha256(key.encode()).hexdigest()
    rows.append({"prefix": prefix, "digest": digest, "tenant": tenant, "created_ms": time.time_ns() // 1_000_000})
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"keys": rows}, file)
    draft.rename(path)
    return key
