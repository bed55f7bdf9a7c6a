"""Sends requests of proxies, scanners and attackers byte for byte.

No request gets a 5xx, and each 202 means that the trigger was stored.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from typing import Any

import pytest

from cluster.local.service import Service
from tests.serve.test_http import GOOD, ask

pytestmark = pytest.mark.serve

BODY = json.dumps(GOOD).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
CODED = b"Transfer-Encoding: chunked\r\n"


def asked(
    body: bytes = BODY,
    *,
    line: bytes = b"POST /v1/triggers",
    more: bytes = b"",
    length: bytes | None = b"",
    last: bool = True,
) -> bytes:
    """Return one request as bytes. `length` replaces the body's own length, and None leaves Content-Length out."""
    declared = b"" if length is None else b"Content-Length: %s\r\n" % (length or b"%d" % len(body))
    end = b"Connection: close\r\n" if last else b""
    head = line + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head + end + declared + more + b"\r\n" + body


def heard(service: Service, sent: bytes) -> bytes:
    """Send the bytes and return everything that comes until the service closes the connection."""
    got = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(sent)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while part := connection.recv(65_536):
                got += part
    return got


def statuses(got: bytes) -> list[int]:
    return [int(rest[:3]) for rest in got.split(b"HTTP/1.1 ")[1:] if rest[:3].isdigit()]


def changed(**parts: Any) -> bytes:
    return json.dumps({**GOOD, **parts}).encode()


def data(**parts: Any) -> bytes:
    return changed(data={**GOOD["data"], **parts})


def number(text: bytes) -> bytes:
    return BODY.replace(b'"1.00"', text)


REFUSED = {
    "two lengths": asked(more=b"Content-Length: 3\r\n"),
    "a length with a sign": asked(length=b"+%d" % len(BODY)),
    "a negative length": asked(length=b"-1"),
    "a length beyond 64 bits": asked(length=b"99999999999999999999"),
    "an unknown coding": asked(CHUNKED, length=None, more=b"Transfer-Encoding: xchunked\r\n"),
    "chunked, then more": asked(CHUNKED, length=None, more=CODED + b"Transfer-Encoding: identity\r\n"),
    "a space before the colon": asked(CHUNKED, length=None, more=b"Transfer-Encoding : chunked\r\n"),
    "a chunk size that is none": asked(b"zz\r\n" + CHUNKED, length=None, more=CODED),
    "a negative chunk": asked(b"-1\r\n" + CHUNKED, length=None, more=CODED),
    "a chunk beyond 64 bits": asked(b"fffffffffffffffff\r\n" + BODY, length=None, more=CODED),
    "a bare CR in a header": asked(more=b"X-A: b\rc\r\n"),
    "a NUL in a header": asked(more=b"X-A: b\0c\r\n"),
    "two hundred headers": asked(more=b"".join(b"X-%d: a\r\n" % n for n in range(200))),
    "a header of 30 KB": asked(more=b"X-A: " + b"a" * 30_000 + b"\r\n"),
    "CONNECT": asked(b"", line=b"CONNECT localhost:80"),
    "OPTIONS of everything": asked(b"", line=b"OPTIONS *"),
    "TRACE": asked(b"", line=b"TRACE /readyz"),
    "a method of 300 letters": asked(line=b"A" * 300 + b" /v1/triggers"),
    "a foreign authority": asked(b"", line=b"GET http://evil.example/readyz"),
    "a slash too many": asked(line=b"POST /v1/triggers/"),
    "two slashes": asked(b"", line=b"GET //v1/plan"),
    "an encoded parent": asked(b"", line=b"GET /v1/%2e%2e/plan"),
    "a NUL in an id": asked(b"", line=b"GET /v1/triggers/%00"),
    "an id that is no UTF-8": asked(b"", line=b"GET /v1/triggers/%ff%zz"),
    "half a surrogate in a query": asked(b"", line=b"GET /v1/triggers?idempotency_key=%ed%a0%80"),
    "a path of 20 KB": asked(b"", line=b"GET /v1/triggers/" + b"a" * 20_000),
    "a limit of 5,000 digits": asked(b"", line=b"GET /v1/plan?limit=" + b"9" * 5_000),
    "a moment that is infinite": asked(b"", line=b"GET /v1/dead-letters?since=Infinity"),
    "1,001 ids": asked(b"", line=b"GET /v1/dead-letters?ids=" + b",".join(b"0-a.%d" % n for n in range(1_001))),
    "a cursor that nobody gave": asked(b"", line=b"GET /v1/dead-letters?cursor=%00%ff*"),
    "a version beyond 64 bits": asked(b"", line=b"GET /v1/templates/failed-sms?version=" + b"9" * 30),
    "a key named twice": asked(b'{"event":"x",' + BODY[1:]),
    "deep data": asked(BODY[:-1] + b',"data":' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
    "1e400": asked(number(b"1e400")),
    "a number of 5,000 digits": asked(number(b"1" * 5_000)),
    "a hexadecimal number": asked(number(b"0x10")),
    "Infinity": asked(number(b"Infinity")),
    "half a surrogate": asked(BODY.replace(b'"Ada"', b'"\\ud800"')),
    "a NUL in a text": asked(data(name="a\0b")),
    "UTF-16": asked(json.dumps(GOOD).encode("utf-16")),
    "Latin-1": asked(BODY.replace(b"Ada", b"\xfc")),
    "a second value": asked(BODY + b"{}"),
    "a comment": asked(b"/* x */" + BODY),
    "nothing": asked(b""),
    "null": asked(b"null"),
    "a header in an address": asked(changed(recipient={**GOOD["recipient"], "email": "a@x.de\r\nBcc: b@x.de"})),
    "an address literal": asked(changed(recipient={**GOOD["recipient"], "email": "a@[127.0.0.1]"})),
    "full-width digits": asked(changed(recipient={**GOOD["recipient"], "phone": "+４９１５１１２３４５６７８"})),
    "a header in a subject": asked(data(order="N1\r\nBcc: evil@x.de")),
    "the end of time": asked(changed(send_at="9999-12-31T23:59:59Z")),
    "beyond the end of time": asked(changed(send_at="9999-12-31T23:59:59-14:00")),
    "before the first year": asked(changed(send_at="0001-01-01T00:00:00+14:00")),
    "a leap second": asked(changed(send_at="2031-06-30T23:59:60Z")),
    "a moment without an offset": asked(changed(send_at="2031-06-30T10:00:00")),
    "an endless life": asked(changed(expires_in_s=10**30)),
    "a life that is true": asked(changed(expires_in_s=True)),
    "a key of 10 KB": asked(more=b"Idempotency-Key: " + b"k" * 10_000 + b"\r\n"),
    "an empty key": asked(more=b"Idempotency-Key: \r\n"),
    "a quote that stays open": asked(more=b'Idempotency-Key: "a\\\r\n'),
    "two keys": asked(changed(idempotency_key="a"), more=b"Idempotency-Key: b\r\n"),
}

ACCEPTED = {
    "chunks": asked(CHUNKED, length=None, more=CODED),
    "a chunk with an extension": asked(CHUNKED.replace(b"\r\n", b";a=b\r\n", 1), length=None, more=CODED),
    "a byte order mark": asked(b"\xef\xbb\xbf" + BODY),
    "a trailer": asked(CHUNKED[:-2] + b"Idempotency-Key: x\r\n\r\n", length=None, more=CODED),
    "a folded header": asked(more=b"X-A: b\r\n c\r\n"),
    "an expectation": asked(more=b"Expect: 200-ok\r\n"),
    "an upgrade to HTTP/2": asked(more=b"Upgrade: h2c\r\nHTTP2-Settings: AAAA\r\n"),
    "a negative nought": asked(number(b"-0.0")),
    "zero-width letters": asked(data(name="\u200b" * 20)),
    "no characters": asked(data(name="\uffff\U0010ffff")),
    "a locale of 5,000 letters": asked(changed(recipient={**GOOD["recipient"], "locale": "xx-YY-" + "z" * 5_000})),
    "a key like a pattern": asked(changed(idempotency_key="{nd:0}*" + str(time.time_ns()))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_request_is_the_clients_fault(service: Service, name: str) -> None:
    """A wrong request gets exactly one answer, a 4xx, and the connection is closed."""
    assert [status // 100 for status in statuses(heard(service, REFUSED[name]))] == [4]


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_odd_request_is_accepted_and_stored(service: Service, name: str) -> None:
    """An unusual but valid request gets a 202, and the trigger that the answer names is stored."""
    got = heard(service, ACCEPTED[name])
    assert statuses(got)[-1] == 202
    assert stored(service, got) == 1


def stored(service: Service, got: bytes) -> int:
    """Return how many of the triggers that the answers name exist."""
    ids = {found.decode() for found in re.findall(rb'"id":"([^".]+)"', got)}
    return sum(ask(service, "GET", f"/v1/triggers/{tid}").status == 200 for tid in ids)


@pytest.mark.parametrize("length", [b"%d" % len(CHUNKED), b"4"])
def test_a_length_and_a_coding_smuggle_nothing(service: Service, length: bytes) -> None:
    """A request has both Content-Length and Transfer-Encoding. Its end is found by Transfer-Encoding.

    The bytes after that end are not answered as a second request (RFC 9112, section 6.1).
    """
    hidden = asked(b"", line=b"GET /readyz")
    got = heard(service, asked(CHUNKED, length=length, more=CODED, last=False) + hidden)
    assert (statuses(got), stored(service, got)) == ([202], 1)


def test_two_requests_in_one_write_get_two_answers(service: Service) -> None:
    """Two requests sent in one write (pipelining) get two answers, and both triggers are stored."""
    got = heard(service, asked(last=False) + asked())
    assert (statuses(got), stored(service, got)) == ([202, 202], 2)


def test_head_answers_as_get_does(service: Service) -> None:
    """HEAD has the status and Content-Length of GET, and no body."""
    got = heard(service, asked(b"", line=b"HEAD /readyz"))
    assert statuses(got) == [200] and got.endswith(b"\r\n\r\n") and b"content-length: 0" not in got.lower()


def test_events_of_768_kb_are_read(service: Service) -> None:
    """A receipt of 768 KB, as SendGrid sends it, is read.

    The answer is 404, because `receipts` is not configured, and not 413.
    """
    events = json.dumps([{"event": "delivered", "nid": "0-a.0", "ntoken": "x" * 60}] * 7_500).encode()
    assert statuses(heard(service, asked(events, line=b"POST /v1/receipts/email-a"))) == [404]
