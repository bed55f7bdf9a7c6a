"""The HAProxy wrapper watches the files of certificate and key, and gives a new pair to HAProxy."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.local import haproxy_tls
from cluster.local.certificate_check import check
from cluster.local.haproxy_tls import AGAIN_S, Edge
from dispatcher.operate.listener_certificate import HEADER, read_header
from tests.key_pairs import KeyPair, issue, write

FIRST, SECOND = issue(), issue()


class Admin:
    """Stands in for HAProxy's admin socket: gives a fixed answer to each command, or refuses the connection."""

    def __init__(self) -> None:
        self.asked, self.commit, self.away, self.deaf = list[str](), b"Committing.\nSuccess!\n", False, False

    def __call__(self, question: bytes) -> bytes:
        if self.away or (self.deaf and question.startswith(b"set map")):
            raise ConnectionRefusedError
        self.asked.append(question.decode())
        return self.commit if question.startswith(b"commit") else b"Transaction created!\n"


class Checked:
    """Stands in for the check process that the wrapper starts. Certificate and key are checked in this process."""

    def __init__(self, command: list[str], **_: object) -> None:
        assert command[1:4] == ["-I", "-m", "cluster.local.certificate_check"]
        self.said = check(Path(command[4]), command[5], command[6:]) or ""
        self.returncode = 1 if self.said else 0

    def poll(self) -> int:
        return self.returncode

    def communicate(self, timeout: float | None) -> tuple[bytes, None]:
        return self.said.encode(), None


class Rig:
    """A wrapper's `Edge` whose HAProxy runs with the certificate FIRST. `looks` lets seconds pass."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.admin, self.now_s = folder, Admin(), 1000.0
        self.renew(FIRST)
        self.edge = self.another()
        assert self.edge.prepare() is None

    def another(self) -> Edge:
        names = {haproxy_tls.CERTIFICATE: str(self.folder / "c.pem"), haproxy_tls.KEY: str(self.folder / "k.pem")}
        return Edge(str(self.folder / "h.cfg"), names)

    def renew(self, pair: KeyPair, key: KeyPair | None = None) -> None:
        write(self.folder / "c.pem", pair.pem)
        write(self.folder / "k.pem", (key or pair).key_pem())

    def looks(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1.0
            self.edge.look(self.admin, self.now_s)

    def copied(self) -> bytes:
        return Path(self.edge.copy).read_bytes().partition(b"\n")[2]

    def told(self) -> tuple[int, bool]:
        found = read_header(Path(self.edge.map).read_text().split()[1])
        assert found is not None
        return found.ends_s, found.refused


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    fake = SimpleNamespace(Popen=Checked, PIPE=-1, STDOUT=-2, DEVNULL=-3, TimeoutExpired=TimeoutError)
    monkeypatch.setattr(haproxy_tls, "subprocess", fake)
    yield Rig(tmp_path)


def events(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    return [(event["level"], event["event"]) for event in map(json.loads, capsys.readouterr().err.splitlines())]


def ends(pair: KeyPair) -> int:
    return int(pair.certificate.not_valid_after_utc.timestamp())


def test_files_that_stay_are_only_looked_at(rig: Rig) -> None:
    """If the files do not change for an hour, the wrapper sends nothing to HAProxy."""
    rig.looks(3600)
    assert rig.admin.asked == []
    assert rig.told() == (ends(FIRST), False)


def test_a_new_pair_is_handed_over_once(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """A new certificate with its key is sent to HAProxy once, and replaces the copy that HAProxy reads at its next
    start.
    """
    rig.renew(SECOND)
    rig.looks(10)
    put, commit, told = rig.admin.asked
    assert put == f"set ssl cert {rig.edge.copy} <<\n{(SECOND.pem + SECOND.key_pem()).decode()}\n"
    assert commit == f"commit ssl cert {rig.edge.copy}\n"
    assert told == f"set map {rig.edge.map} now {ends(SECOND)},current\n"
    assert rig.copied() == SECOND.pem + SECOND.key_pem()
    assert os.stat(rig.edge.copy).st_mode & 0o777 == 0o600
    assert not os.path.exists(rig.edge.draft)
    assert rig.told() == (ends(SECOND), False)
    assert events(capsys) == [("info", "certificate_replaced")]


def test_files_that_still_change_are_not_judged(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """The files are not checked while they still change.

    During a renewal, certificate and key do not fit for a moment.
    """
    for _ in range(5):
        rig.renew(SECOND, FIRST)
        rig.looks(1)
    rig.renew(SECOND)
    rig.looks(5)
    assert events(capsys) == [("info", "certificate_replaced")]


def test_what_does_not_fit_is_told_once_and_tried_again(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """The new certificate file does not fit the key file. This is logged once and checked again every `AGAIN_S`
    seconds.

    Meanwhile HAProxy keeps the former certificate.
    """
    rig.renew(SECOND, FIRST)
    rig.looks(int(3 * AGAIN_S))
    assert {question.split(" now ")[0] for question in rig.admin.asked} == {f"set map {rig.edge.map}"}
    assert len(rig.admin.asked) == 3
    assert rig.copied() == FIRST.pem + FIRST.key_pem()
    assert rig.told() == (ends(FIRST), True)
    assert events(capsys) == [("warning", "certificate_refused")]
    rig.renew(FIRST)
    rig.looks(5)
    assert rig.told() == (ends(FIRST), False)


def test_what_haproxy_refuses_does_not_become_the_copy(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """HAProxy refuses a new certificate. The file from which HAProxy starts again keeps the old one, because HAProxy
    could not start with the new one.
    """
    rig.admin.commit = b"Can't commit!\n"
    rig.renew(SECOND)
    rig.looks(5)
    assert rig.admin.asked[2] == f"abort ssl cert {rig.edge.copy}\n"
    assert rig.copied() == FIRST.pem + FIRST.key_pem()
    assert rig.told() == (ends(FIRST), True)
    assert events(capsys) == [("warning", "certificate_refused")]


def test_a_haproxy_that_is_being_started_again_gets_it_later(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """If HAProxy does not answer, the new certificate is sent again later, and does not count as refused."""
    rig.admin.away = True
    rig.renew(SECOND)
    rig.looks(10)
    assert rig.copied() == FIRST.pem + FIRST.key_pem()
    rig.admin.away = False
    rig.looks(5)
    assert rig.copied() == SECOND.pem + SECOND.key_pem()
    assert events(capsys) == [("info", "certificate_replaced")]


def test_what_intake_is_told_is_said_again_until_it_is_heard(rig: Rig) -> None:
    """The wrapper tells HAProxy the state of the certificate, and HAProxy passes it on to intake. If HAProxy does not
    answer the wrapper, the wrapper tells it again later.
    """
    rig.admin.deaf = True
    rig.renew(SECOND)
    rig.looks(10)
    assert len(rig.admin.asked) == 2
    rig.admin.deaf = False
    rig.looks(10)
    assert rig.admin.asked[2:] == [f"set map {rig.edge.map} now {ends(SECOND)},current\n"]


@pytest.mark.parametrize("mode", [0o620, 0o640, 0o602])
def test_a_copy_that_others_could_read_or_write_is_not_used(rig: Rig, mode: int) -> None:
    """If certificate and key do not fit, the earlier copy is used, unless other users could read or write that copy."""
    write(rig.folder / "c.pem", b"")
    assert rig.another().prepare() is None
    os.chmod(rig.edge.copy, mode)
    fault = rig.another().prepare()
    assert fault == f"tls.certificate: {rig.folder / 'c.pem'}: holds no certificate in PEM form"


@pytest.mark.parametrize(
    ("host", "place"),
    [("0.0.0.0", "*:8443"), ("::", ":::8443 v4v6"), ("192.0.2.7", "192.0.2.7:8443"), ("::1", "::1:8443")],
)
def test_https_listens_where_others_reach_it(rig: Rig, host: str, place: str) -> None:
    """The configuration line makes HAProxy listen for HTTPS at the given host. The line also names the lowest TLS
    version and HTTP/1.1.
    """
    line = rig.edge.listener(host)
    assert line.startswith(f"    bind {place} ssl crt {rig.edge.copy} alpn http/1.1 ssl-min-ver TLSv1.2 ciphers ")


def test_intake_reads_the_header_that_haproxy_sends(rig: Rig) -> None:
    """The wrapper and intake use the same header name, although neither program imports it from the other."""
    assert haproxy_tls.HEADER == HEADER
    assert f"http-request set-header {HEADER} %[str(now),map_str({rig.edge.map})]" in rig.edge.telling()
