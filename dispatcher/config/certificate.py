"""Reads the certificate and the private key of the API's HTTPS listener, and refuses a pair that callers would refuse.

`config check`, `up`, `deploy` and each reload use the same rules (docs/adr/0037-tls-at-the-edge.md):

- The files hold PEM. The key is not encrypted, because nobody is there to type a password at a restart.
- The key belongs to the first certificate. Each further certificate belongs to the issuer of the certificate before it
  (RFC 8446, 4.4.2).
- Every certificate is valid now. An RSA key has 2,048 bits or more, because OpenSSL accepts no smaller key.
- All certificates and the key together have at most `BYTES_MAX` bytes.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from dispatcher.errors import ConfigError

BYTES_MAX = 15_000
"""The most bytes of the chain and the key in PEM. HAProxy reads a new pair into one buffer of 16,384 bytes.

A chain of four with the largest usual RSA keys (4,096 bits) has some 12,000.
"""
FILE_BYTES_MAX = 1_000_000
RSA_BITS_MIN = 2_048
ENDS_SOON_S = 21 * 86_400.0
"""The seconds before the end of a certificate in which operators are warned.

Certificates are usually renewed when a third of their life is left, which is 30 days of 90.
"""

_KINDS = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)
_KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain and its key.

    Attributes:
        pem: the chain and then the key, in PEM without an empty line.
        ends_s: the earliest expiry of a certificate in the chain, in seconds of wall time.
        warnings: sentences about what works today and may fail later, or is unwise.
    """

    pem: bytes
    ends_s: float
    warnings: tuple[str, ...]


def read_pair(certificate: Path, key: Path | None, now_s: float) -> Pair:
    """Read the files and return the pair. `key` is None if the file of the certificate also holds the key.

    `now_s` is the wall time in seconds. Raises ConfigError with one sentence that names the field and the file.
    """
    content = _read("tls.certificate", certificate)
    chain = _chain(certificate, content)
    field, path = ("tls.certificate", certificate) if key is None else ("tls.key", key)
    pem = _key(f"{field}: {path}", content if key is None else _read(field, path), chain, certificate)
    for fault in (*_order_faults(chain), *_time_faults(chain, now_s)):
        raise ConfigError(f"tls.certificate: {certificate}: {fault}")
    whole = b"".join(one.public_bytes(Encoding.PEM) for one in chain) + pem
    if len(whole) > BYTES_MAX:
        rule = f"at most {BYTES_MAX} can be replaced while HAProxy runs; leave out what callers already have"
        raise ConfigError(f"tls.certificate: {certificate}: the chain and the key have {len(whole)} bytes, and {rule}")
    ends_s = min(one.not_valid_after_utc for one in chain).timestamp()
    warnings = [*_chain_warnings(chain, ends_s - now_s)]
    found = [f"tls.certificate: {certificate}: {warning}" for warning in warnings]
    if path.stat().st_mode & stat.S_IROTH:
        found.append(f"{field}: {path}: every user of this machine can read the key; remove that right (chmod o-r)")
    return Pair(whole, ends_s, tuple(found))


def _read(field: str, path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for a writer, and gives its text once
            raise ConfigError(f"{field}: {path}: is no regular file")
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its name is not allowed"
        raise ConfigError(f"{field}: {path}: cannot be read: {why}") from None
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(f"{field}: {path}: has more than {FILE_BYTES_MAX} bytes")
    return content


def _chain(path: Path, content: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ConfigError(f"tls.certificate: {path}: holds no certificate in PEM form")
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ConfigError(f"tls.certificate: {path}: holds a certificate that cannot be read") from None


def _key(where: str, content: bytes, chain: list[x509.Certificate], certificate: Path) -> bytes:
    """Return the private key of `certificate` in PEM. `where` is the place that an error names: a field and its
    file.
    """
    found = _KEY.search(content)
    if found is None:
        raise ConfigError(f"{where}: holds no private key in PEM form")
    if b"ENCRYPTED" in found[0]:  # of either form: the words stand in the first or in the second line
        raise ConfigError(f"{where}: the key is encrypted, and nobody can type its password at a restart")
    try:
        key = load_pem_private_key(found[0], None)
        mine = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        theirs = [one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in chain]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{where}: holds a key that cannot be read") from None
    if not isinstance(key, _KINDS):
        raise ConfigError(f"{where}: TLS needs a key of the kind RSA, ECDSA or EdDSA")
    if mine != theirs[0]:
        if mine in theirs:
            place = f"certificate {theirs.index(mine) + 1}"
            raise ConfigError(f"tls.certificate: {certificate}: the key belongs to {place}, which must be the first")
        raise ConfigError(f"{where}: the key does not belong to the certificate in {certificate}")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < RSA_BITS_MIN:
        raise ConfigError(f"{where}: the RSA key has {key.key_size} bits, at least {RSA_BITS_MIN} are needed")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _order_faults(chain: list[x509.Certificate]) -> Iterator[str]:
    for number, (one, issuer) in enumerate(pairwise(chain), 1):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            yield (
                f"certificate {number + 1} did not issue certificate {number};"
                " first comes the server's, then each one that issued the one before"
            )


def _time_faults(chain: list[x509.Certificate], now_s: float) -> Iterator[str]:
    now = datetime.fromtimestamp(now_s, timezone.utc)
    for number, one in enumerate(chain, 1):
        which = "the certificate" if number == 1 else f"certificate {number}"
        if one.not_valid_after_utc <= now:
            yield f"{which} was valid until {_day(one.not_valid_after_utc)}"
        if one.not_valid_before_utc > now:
            yield f"{which} is not valid before {_day(one.not_valid_before_utc)}"


def _chain_warnings(chain: list[x509.Certificate], left_s: float) -> Iterator[str]:
    if left_s < ENDS_SOON_S:
        yield f"is valid for only {left_s / 86_400:.0f} more days"
    try:
        chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        yield "names no host (subjectAltName), so callers will refuse it"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
