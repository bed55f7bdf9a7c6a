"""E-mail addresses: exactly one bare address, with a domain that every relay and provider can handle.

An international domain has two spellings, `bücher.example` and `xn--bcher-kva.example` (its A-labels, IDNA 2008). Both
are the same address. Every address is stored, compared, counted and sent in A-labels, because few relays support
SMTPUTF8 (RFC 6531).
"""

from __future__ import annotations

import re

import idna

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDR_SPEC = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@(?:{_LABEL}\.)+(?![0-9]+$){_LABEL}")
_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490, section 3.1
ADDRESS_CHARS_MAX = 254
"""The longest address in characters (RFC 5321, section 4.5.3.1.3, without the brackets of a path)."""


def is_email(address: str) -> bool:
    """Return True if `address` is exactly one bare address of dot-atoms: no quotes, commas, spaces or display name."""
    if len(address) > ADDRESS_CHARS_MAX:
        return False
    match = _ADDR_SPEC.fullmatch(address)
    # An encoded word is no part of an address (RFC 2047, section 5): some readers decode it into another address.
    return match is not None and len(match[1]) <= 64 and "=?" not in match[1]


def with_ascii_domain(address: str) -> str | None:
    """Return the address with its domain in A-labels. Return None if it is not exactly one bare address.

    An address in ASCII is returned unchanged.
    """
    local, at, domain = address.rpartition("@")
    if not domain.isascii() and local.isascii() and len(address) <= ADDRESS_CHARS_MAX:
        address = f"{local}{at}{ascii_domain(domain)}"
    return address if is_email(address) else None


def ascii_domain(domain: str) -> str:
    """Return an international domain in A-labels and lower case, or "" if the domain is not valid.

    Each character is first mapped as browsers and mail programs map it (UTS 46): `Ü` becomes `ü`, for example. If the
    mapping turns a label into plain ASCII, the domain is refused. For example, the Kelvin sign U+212A becomes an
    ordinary `k`. For a caller that compares addresses, `kelvin.example` with the Kelvin sign and `kelvin.example` in
    ASCII are two addresses. So a message to the first must not reach the second.
    """
    try:
        encoded = idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError:  # an IDNAError is one
        return ""
    foreign = [not label.isascii() for label in _DOTS.split(domain)]
    mapped = [label.startswith("xn--") for label in encoded.split(".")]
    kept = len(foreign) == len(mapped) and any(foreign) and all(a <= b for a, b in zip(foreign, mapped, strict=True))
    return encoded if kept else ""
