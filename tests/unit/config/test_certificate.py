"""A certificate that callers would refuse is refused before it is used, in one sentence with its field and file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.serialization import PrivateFormat

from dispatcher.config import certificate as module
from dispatcher.config.certificate import Pair, read_pair
from dispatcher.errors import ConfigError
from tests.key_pairs import KeyPair, issue, write

ROOT = issue("root", authority=True, days=(-1, 400))
MIDDLE = issue("middle", ROOT, authority=True, days=(-1, 400))
OURS = issue("localhost", MIDDLE)
SHORT = issue("middle", ROOT, authority=True, days=(-3, -1), key=MIDDLE.key)
OTHER = issue("localhost", MIDDLE)
EXCHANGE = issue(issuer=ROOT, key=x25519.X25519PrivateKey.generate())
SMALL = issue(key=rsa.generate_private_key(65537, 1024))
"""An RSA key that is too small for TLS. It is quick to make, as the keys on elliptic curves are."""


def read(folder: Path, certificate: bytes, key: bytes | None = None, now_s: float | None = None) -> Pair:
    path = write(folder / "c.pem", certificate)
    return read_pair(path, None if key is None else write(folder / "k.pem", key), now_s or time.time())


@pytest.mark.parametrize("files", [1, 2])
def test_a_chain_and_its_key_are_read(tmp_path: Path, files: int) -> None:
    """A chain and its key are read from one file or from two.

    The result has the order that HAProxy needs, without an empty line.
    """
    chain = OURS.pem + MIDDLE.pem
    found = read(tmp_path, chain + OURS.key_pem()) if files == 1 else read(tmp_path, chain, OURS.key_pem())
    assert found.pem == chain + OURS.key_pem()
    assert b"\n\n" not in found.pem
    assert found.ends_s == OURS.certificate.not_valid_after_utc.timestamp()
    assert found.warnings == ()


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_every_usual_form_of_a_key_is_read(tmp_path: Path, form: PrivateFormat) -> None:
    """`BEGIN PRIVATE KEY` and `BEGIN EC PRIVATE KEY` are read, also with remarks and curve parameters around them."""
    key = b"Bag Attributes\n-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    found = read(
        tmp_path, b"subject=CN = localhost\n\n" + OURS.pem.replace(b"\n", b"\r\n"), key + OURS.key_pem(form=form)
    )
    assert found.pem == OURS.pem + OURS.key_pem()


def expired(pair: KeyPair = OURS) -> float:
    return pair.certificate.not_valid_after_utc.timestamp() + 1


REFUSED: dict[str, tuple[bytes, bytes | None, float | None, str]] = {
    "no certificate": (OURS.key_pem(), None, None, "tls.certificate: {c}: holds no certificate in PEM form"),
    "damaged": (
        OURS.pem[:300] + OURS.pem[310:],
        OURS.key_pem(),
        None,
        "tls.certificate: {c}: holds a certificate that",
    ),
    "no key": (OURS.pem, None, None, "tls.certificate: {c}: holds no private key in PEM form"),
    "no key in its file": (OURS.pem, OURS.pem, None, "tls.key: {k}: holds no private key in PEM form"),
    "cut key": (OURS.pem, OURS.key_pem()[:-30], None, "tls.key: {k}: holds no private key in PEM form"),
    "damaged key": (OURS.pem, OURS.key_pem().replace(b"MIGHAgEA", b"MIGHAgEB"), None, "tls.key: {k}: holds a key that"),
    "encrypted": (OURS.pem, OURS.key_pem(b"secret"), None, "tls.key: {k}: the key is encrypted, and nobody"),
    "encrypted in the old form": (
        *(OURS.pem, OURS.key_pem(b"secret", PrivateFormat.TraditionalOpenSSL), None),
        "tls.key: {k}: the key is encrypted, and nobody",
    ),
    "another key": (OURS.pem, OTHER.key_pem(), None, "tls.key: {k}: the key does not belong to the certificate in {c}"),
    "upside down": (
        *(MIDDLE.pem + OURS.pem, OURS.key_pem(), None),
        "tls.certificate: {c}: the key belongs to certificate 2, which must be the first",
    ),
    "a stranger in the chain": (
        *(OURS.pem + ROOT.pem, OURS.key_pem(), None),
        "tls.certificate: {c}: certificate 2 did not issue certificate 1; first comes",
    ),
    "expired": (OURS.both, None, expired(), "tls.certificate: {c}: the certificate was valid until 2"),
    "expired above": (
        *(OURS.pem + SHORT.pem, OURS.key_pem(), None),
        "tls.certificate: {c}: certificate 2 was valid until 2",
    ),
    "too early": (
        OURS.both,
        None,
        time.time() - 2 * 86_400,
        "tls.certificate: {c}: the certificate is not valid before 2",
    ),
    "no key for signatures": (EXCHANGE.both, None, None, "tls.certificate: {c}: TLS needs a key of the kind RSA"),
    "small": (SMALL.both, None, None, "tls.certificate: {c}: the RSA key has 1024 bits, at least 2048 are needed"),
    "huge": (OURS.both + b"x" * 1_000_001, None, None, "tls.certificate: {c}: has more than 1000000 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_callers_would_refuse_is_refused(tmp_path: Path, name: str) -> None:
    """A certificate or key that TLS callers would refuse raises ConfigError. One line names the field and the file."""
    certificate, key, now_s, why = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, certificate, key, now_s)
    assert str(caught.value).startswith(why.format(c=tmp_path / "c.pem", k=tmp_path / "k.pem"))
    assert "\n" not in str(caught.value)


def missing(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (missing, "cannot be read: No such file or directory"),
        (folder, "is no regular file"),
        (pipe, "is no regular file"),
    ],
)
@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, which: str, spoil: Callable[[Path], None], why: str
) -> None:
    """A missing file, a folder or a pipe in the place of the certificate or the key is refused with field, path
    and reason.
    """
    certificate, key = write(tmp_path / "c.pem", OURS.pem), write(tmp_path / "k.pem", OURS.key_pem())
    path = certificate if which == "certificate" else key
    spoil(path)
    with pytest.raises(ConfigError) as caught:
        read_pair(certificate, key, time.time())
    assert str(caught.value) == f"tls.{which}: {path}: {why}"


def test_a_chain_that_haproxy_cannot_take_while_it_runs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain and key of more than BYTES_MAX bytes are refused, because HAProxy's admin socket could not receive
    them.
    """
    monkeypatch.setattr(module, "BYTES_MAX", len(OURS.both) - 1)
    with pytest.raises(ConfigError, match=f"have {len(OURS.both)} bytes, and at most"):
        read(tmp_path, OURS.both)
    monkeypatch.setattr(module, "BYTES_MAX", len(OURS.both))
    assert read(tmp_path, OURS.both).pem == OURS.both


def test_the_first_end_in_the_chain_counts(tmp_path: Path) -> None:
    """The validity of a chain ends when the first of its certificates ends. A chain in which one certificate has
    expired is refused.
    """
    short = issue("short", ROOT, authority=True, days=(-1, 30))
    ours = issue("localhost", short)
    assert (
        read(tmp_path, ours.pem + short.pem, ours.key_pem()).ends_s == short.certificate.not_valid_after_utc.timestamp()
    )
    with pytest.raises(ConfigError, match="certificate 2 was valid until 2"):
        read(tmp_path, ours.pem + short.pem, ours.key_pem(), expired(short))


def test_what_will_fail_soon_is_a_warning(tmp_path: Path) -> None:
    """Three things cause a warning: a certificate that expires within three weeks, a certificate that names no host,
    and a key file that every user can read.
    """
    ends_s = OURS.certificate.not_valid_after_utc.timestamp()
    assert read(tmp_path, OURS.both, now_s=ends_s - 21 * 86_400).warnings == ()
    (soon,) = read(tmp_path, OURS.both, now_s=ends_s - 21 * 86_400 + 10).warnings
    assert soon == f"tls.certificate: {tmp_path / 'c.pem'}: is valid for only 21 more days"
    nameless = issue("localhost", hosts=())
    (none,) = read(tmp_path, nameless.both).warnings
    assert none == f"tls.certificate: {tmp_path / 'c.pem'}: names no host (subjectAltName), so callers will refuse it"
    key = write(tmp_path / "k.pem", OURS.key_pem())
    for mode, count in ((0o640, 0), (0o604, 1)):
        key.chmod(mode)
        warnings = read_pair(write(tmp_path / "c.pem", OURS.pem), key, time.time()).warnings
        assert [text.startswith(f"tls.key: {key}: every user of this machine") for text in warnings] == [True] * count
