"""Mail addresses: each is one bare addr-spec, and its domain is in A-labels (ASCII form)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.wire.mail_address import is_email, with_ascii_domain


@pytest.mark.parametrize(
    "address",
    ["ada@example.com", "a.b+c@x.test", "o'brien@mail.example.co.uk", "x@xn--bcher-kva.example", "A_1@EXAMPLE.COM"],
)
def test_ordinary_addresses_are_accepted(address: str) -> None:
    """An ordinary address is accepted: dot-separated words, an @, and a domain."""
    assert is_email(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "@x.test",
        "ada@",
        "ada@localhost",
        "a@x.test,b@y.test",
        "a@x.test;b@y.test",
        "a@x.test b@y.test",
        "Ada <a@x.test>",
        "<a@x.test>",
        '"a b"@x.test',
        "a@x.test>\r\nRCPT TO:<evil@y.test",
        "a@x.test\r\nBcc: b@y.test",
        "a@x.test\n",
        "a@x.test SIZE=1 BODY=8BITMIME",
        "a\x00@x.test",
        "a@x\x00.test",
        ".a@x.test",
        "a..b@x.test",
        "a@-x.test",
        "a@x..test",
        "a@x.test.",
        "a@[127.0.0.1]",
        "a@127.0.0.1",
        "ä@x.test",
        "a@x.test\u2028",
        "a(comment)@x.test",
        "x" * 65 + "@x.test",
        "a@" + "x." * 126 + "test",
        "@" * 254,
        "a@" + "a" * 250,
        "=?utf-8?q?=40evil.com=00?=@x.test",
        "a=?x@x.test",
    ],
)
def test_anything_more_than_one_address_is_refused(address: str) -> None:
    """An address with a list, display name, quote, comment, control character or SMTP parameter is refused."""
    assert not is_email(address)


@given(st.text(max_size=30), st.text(max_size=30))
def test_an_accepted_address_holds_nothing_that_breaks_a_header(local: str, domain: str) -> None:
    """Any generated address that is accepted is ASCII, has one @, and has no character that separates addresses or
    headers.
    """
    address = f"{local}@{domain}"
    if is_email(address):
        assert address.isascii()
        assert not set(address) & set(' ,;:<>()[]"\\\r\n\t\0')
        assert address.count("@") == 1


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Ada@EXAMPLE.com", "Ada@EXAMPLE.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@BÜCHER.Example", "ada@xn--bcher-kva.example"),
        ("ada@bu\u0308cher.example", "ada@xn--bcher-kva.example"),
        ("ada@straße.example", "ada@xn--strae-oqa.example"),
        ("ada@例え.テスト", "ada@xn--r8jz45g.xn--zckzah"),
        ("ada@例え。テスト", "ada@xn--r8jz45g.xn--zckzah"),
        ("ada@пример.рф", "ada@xn--e1afmkfd.xn--p1ai"),
        ("ada@مثال.إختبار", "ada@xn--mgbh0fb.xn--kgbechtv"),
        ("ada@ουτοπία.gr", "ada@xn--kxae4bafwg.gr"),
        ("ada@xn--ls8h.la", "ada@xn--ls8h.la"),
    ],
)
def test_an_international_domain_is_sent_in_a_labels(address: str, sent: str) -> None:
    """An international domain is turned into A-labels, because relays refuse the other form (zammad 2401, bitwarden
    1512).

    The local part stays as it is (scout.rt 344).
    """
    assert with_ascii_domain(address) == sent
    assert with_ascii_domain(sent) == sent


@pytest.mark.parametrize(
    "address",
    [
        "ädä@bücher.example",
        "ada@💩.la",
        "ada@bücher..example",
        "ada@-bücher.example",
        "ada@bücher",
        "ada@bücher.example.",
        "ada@bücher.127",
        "ada@127.0.0.１",
        "ada@\u212aelvin.example",
        "ada@ｅxample.com",
        "ada@ⓔxample.bücher.example",
        "ada@ex\u00adample.com",
        "ada@example。com",
        "ada@\u2100.example",
        "ada@x\u200d.bücher.example",
        "ada@xn--bücher.example",
        "ada@bücher.example,b@x.test",
        "ada@bücher.example\n",
        "ada@bücher.example SIZE=1",
        "ada@b@bücher.example",
        "<ada@bücher.example>",
        "ada＠bücher.example",
        "ada@" + "ü" * 63 + ".example",
        "ada@" + "ü" * 100_000,
        "ada@\ud800.example",
    ],
)
def test_what_is_no_international_domain_is_refused(address: str) -> None:
    """An invalid domain is refused. A domain is also refused if its conversion to A-labels gives another domain in
    plain ASCII letters.

    A shop that compares addresses itself would take these two spellings for two addresses.
    """
    assert with_ascii_domain(address) is None
