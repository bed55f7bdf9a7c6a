"""The bytes of a mail. The recipient sees exactly the given text.

Headers are written here and not by the standard library's `email`. In Python 3.10 to 3.12, `email` decodes encoded
words in its input, and a line end inside becomes a header of its own (CVE-2024-6923). Here, a text that is not plain,
short ASCII becomes encoded words (RFC 2047). So nothing in it can end a line or be decoded twice.

Every line is ASCII and at most 78 bytes long. So no relay has to convert or wrap a line, and RFC 6152 is not needed.
Every boundary begins with `=_`, which no encoded part can contain.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256

LINE_MAX = 78
"""The longest line in characters (RFC 5322, section 2.1.1)."""

_ENCODED_BYTES = 45
"""The bytes in one encoded word. They become 60 characters of base64, and the word at most 75 (RFC 2047, section 2)."""

_PLAIN = re.compile(r"[\x21-\x7e]{1,60}(?: [\x21-\x7e]{1,60})*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_QUOTABLE_NAME = re.compile(r"[\x20-\x7e]{1,60}")
_QP = {code: f"={code:02X}" for code in range(256) if not 33 <= code <= 126 or code == 61} | {9: "\t", 32: " "}
_NOT_IN_7BIT = re.compile(r"[^\t\n\x20-\x7e]|[ \t]$|^From |=_", re.MULTILINE)


def header(name: str, text: str) -> str:
    """Return one header with free text, folded into lines, without the last line end."""
    if "=?" not in text and _PLAIN.fullmatch(text):
        return _folded(name, text.split(" "))
    return _folded(name, _encoded_words(text))


def address_header(name: str, address: str, display_name: str = "") -> str:
    """Return one header with one address. `address` must be plain ASCII without spaces and angle brackets."""
    if not display_name:
        return f"{name}: {address}"
    if "=?" not in display_name and len(display_name) <= 60 and _PLAIN_NAME.fullmatch(display_name):
        return _folded(name, [display_name, f"<{address}>"])
    if "=?" not in display_name and _QUOTABLE_NAME.fullmatch(display_name):
        quoted = re.sub(r'([\\"])', r"\\\1", display_name)
        return _folded(name, [f'"{quoted}"', f"<{address}>"])
    return _folded(name, [*_encoded_words(display_name), f"<{address}>"])


def write_mail(headers: Sequence[str], mark: str, text: str, html: str | None = None) -> bytes:
    """Return a whole mail, with CRLF line ends.

    `headers` come from `header` and `address_header`. `mark` is any text that is different for each mail; the boundary
    is made from it. Raises UnicodeEncodeError for a lone surrogate, which no mail can contain.
    """
    lines = [*headers, "MIME-Version: 1.0"]
    if html is None:
        lines += _part("plain", text)
    else:
        boundary = f"=_{sha256(mark.encode()).hexdigest()[:32]}"
        lines += ["Content-Type: multipart/alternative;", f' boundary="{boundary}"', ""]
        lines += [f"--{boundary}", *_part("plain", text), f"--{boundary}", *_part("html", html), f"--{boundary}--"]
    return "\r\n".join([*lines, ""]).encode("ascii")


def _part(subtype: str, text: str) -> list[str]:
    text = text.replace("\r\n", "\n")
    encoding, lines = _body(text)
    charset = "us-ascii" if encoding == "7bit" else "utf-8"
    return [f"Content-Type: text/{subtype}; charset={charset}", f"Content-Transfer-Encoding: {encoding}", "", *lines]


def _body(text: str) -> tuple[str, list[str]]:
    """Return the transfer encoding of `text`, and its encoded lines.

    If `text` does not end with a line end, quoted-printable adds none.
    """
    lines = text.split("\n")
    if not _NOT_IN_7BIT.search(text) and all(len(line) <= LINE_MAX for line in lines):
        return "7bit", lines[:-1] if lines[-1] == "" else lines
    utf8 = text.encode("utf-8")
    if sum(byte > 126 for byte in utf8) * 6 > len(utf8):  # base64 is the shorter
        encoded = b64encode(utf8.replace(b"\n", b"\r\n")).decode("ascii")
        return "base64", [encoded[at : at + 76] for at in range(0, len(encoded), 76)]
    out: list[str] = []
    for line in utf8.decode("latin-1").split("\n"):
        out += _quoted_printable(line)
    return "quoted-printable", out[:-1] if out[-1] == "" else [*out[:-1], f"{out[-1]}="]


def _quoted_printable(line: str) -> list[str]:
    """Encode one line as quoted-printable, and return it as lines of at most 76 characters (RFC 2045, section 6.7).

    Each character of `line` stands for one byte (latin-1).
    """
    encoded = line.translate(_QP)
    if encoded.startswith("From "):
        encoded = f"=46{encoded[1:]}"
    if encoded[-1:] in (" ", "\t"):
        encoded = f"{encoded[:-1]}={ord(encoded[-1]):02X}"
    lines, at = [], 0
    while len(encoded) - at > 75:
        end = at + 75
        cut = encoded.rfind("=", end - 2, end)
        end = end if cut < 0 else cut
        lines.append(f"{encoded[at:end]}=")
        at = end
    return [*lines, encoded[at:]]


def _encoded_words(text: str) -> list[str]:
    words, chunk = [], b""
    for character in text:
        one = character.encode("utf-8")
        if len(chunk) + len(one) > _ENCODED_BYTES:
            words.append(chunk)
            chunk = b""
        chunk += one
    return [f"=?utf-8?b?{b64encode(word).decode('ascii')}?=" for word in [*words, chunk] if word]


def _folded(name: str, words: Sequence[str]) -> str:
    lines, line = [], f"{name}:"
    for word in words:
        if len(line) + 1 + len(word) > LINE_MAX and line.strip():
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line])
