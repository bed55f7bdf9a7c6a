"""`up` listens for HTTPS if it has a certificate. Otherwise it warns if it listens on a network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.local import haproxy_tls, https
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.errors import ConfigError
from tests.key_pairs import issue, write

PAIR = issue(days=(-1, 10))


def settings(folder: Path, **more: object) -> Settings:
    return parse_settings({"tls": {"certificate": str(write(folder / "c.pem", PAIR.both)), **more}})


def test_with_a_certificate_plain_http_is_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a certificate, HTTPS listens at the public host, and plain HTTP only on loopback.

    A near end of the certificate is a warning.
    """
    for name in haproxy_tls.VARIABLES:
        monkeypatch.setenv(name, "of another life")
    checked = list[tuple[str, int, str]]()
    monkeypatch.setattr(https, "check_port", lambda *asked: checked.append(asked))
    found = settings(tmp_path, port=8444, version_min="1.3")
    assert https.prepare(found, "0.0.0.0", 8000) == "http://127.0.0.1:8000"
    assert checked == [("0.0.0.0", 8444, "tls.port")]
    assert https.public_url(found, "192.0.2.7") == "https://192.0.2.7:8444"
    assert [os.environ[name] for name in haproxy_tls.VARIABLES] == [str(tmp_path / "c.pem"), "", "8444", "1.3"]
    assert f"WARNING: tls.certificate: {tmp_path / 'c.pem'}: is valid for only 10 more days" in capsys.readouterr().err


@pytest.mark.parametrize(("host", "count"), [("127.0.0.1", 0), ("0.0.0.0", 1)])
def test_without_a_certificate_a_network_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str, count: int
) -> None:
    """Without a certificate, listening on a network causes a warning about unencrypted keys.

    TLS variables of an earlier run are cleared.
    """
    for name in haproxy_tls.VARIABLES:
        monkeypatch.setenv(name, "of another life")
    assert https.prepare(parse_settings({}), host, 8000) == "http://127.0.0.1:8000"
    assert capsys.readouterr().err.count("keys and messages cross the network unencrypted") == count
    assert https.public_url(parse_settings({}), host) is None
    assert [os.environ[name] for name in haproxy_tls.VARIABLES] == [""] * 4


def test_both_listeners_need_a_port(tmp_path: Path) -> None:
    """If HTTPS and HTTP have the same port, the error names the field `tls.port`."""
    with pytest.raises(ConfigError, match=r"^tls\.port: 8000 is not allowed"):
        https.prepare(settings(tmp_path, port=8000), "127.0.0.1", 8000)


def test_a_reload_cannot_change_the_listener(tmp_path: Path) -> None:
    """A reload that changes the `tls` settings is refused, because only a start reads them.

    The files' contents may change.
    """
    before = settings(tmp_path)
    https.refuse_change(before, settings(tmp_path))
    for after in (settings(tmp_path, version_min="1.3"), parse_settings({})):
        with pytest.raises(ConfigError, match=r"^tls: it differs, and only a start reads it"):
            https.refuse_change(before, after)
