"""Makes certificates and keys for the tests of the HTTPS listener.

The keys are on elliptic curves, because an RSA key takes a second.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

Key: TypeAlias = "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | x25519.X25519PrivateKey"


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its key, with their PEM forms."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self, password: bytes = b"", form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
        how: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, form, how)

    @property
    def both(self) -> bytes:
        return self.pem + self.key_pem()

    @property
    def serial(self) -> int:
        return self.certificate.serial_number


def issue(
    name: str = "localhost",
    issuer: KeyPair | None = None,
    *,
    days: tuple[float, float] = (-1.0, 90.0),
    authority: bool = False,
    hosts: tuple[str, ...] = ("localhost",),
    key: Key | None = None,
) -> KeyPair:
    """Make a certificate that is valid from `days[0]` to `days[1]`, in days from now.

    The certificate is signed by `issuer`, or by its own key if `issuer` is None.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    begins, ends = (now + datetime.timedelta(days=days_) for days_ in days)
    signer = key if issuer is None else issuer.key
    assert not isinstance(signer, x25519.X25519PrivateKey), "this kind signs nothing"
    mine = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        issuer_name=mine if issuer is None else issuer.certificate.subject,
        subject_name=mine,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begins,
        not_valid_after=ends,
    ).add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    )
    if authority:
        others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        none = dict.fromkeys((*others, "crl_sign", "encipher_only", "decipher_only"), False)
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, **none), critical=True)
    elif hosts:
        names = [x509.DNSName(host) for host in hosts] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return KeyPair(builder.sign(signer, hashes.SHA256()), key)


def write(path: Path, *parts: bytes) -> Path:
    """Write a file that only its owner may read.

    The file appears in one step, as a program that renews certificates does it.
    """
    draft = path.with_name(path.name + ".draft")
    draft.write_bytes(b"".join(parts))
    draft.chmod(0o600)
    draft.rename(path)
    return path
