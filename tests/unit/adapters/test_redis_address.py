"""Checks that a Redis URL is parsed completely before anything connects. If the URL is wrong, the error is one sentence
without a secret.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.adapters.redis.address import parse
from dispatcher.errors import ConfigError


def test_a_url_of_sentinels_is_read_whole() -> None:
    """Hosts, service, database and both logins are read from a URL of sentinels.

    A host without a port has the sentinels' port (kombu 1253).
    """
    found = parse(
        "redis+sentinel://u:p%23ss@a.test,b.test:5,[::1]:6/orders/2?sentinel_username=s&sentinel_password=x%26"
    )
    assert found.sentinels == (("a.test", 26379), ("b.test", 5), ("::1", 6))
    assert (found.service, found.tls, found.options) == (
        "orders",
        False,
        {"username": "u", "password": "p#ss", "db": 2},
    )
    assert found.login == {"username": "s", "password": "x&"} == found.sentinel_options


def test_tls_is_for_sentinels_and_servers(tmp_path: Path) -> None:
    """The TLS options of a URL are used for the sentinels and for the servers."""
    (tmp_path / "ca.pem").write_text("x")
    found = parse(f"rediss+sentinel://a.test/orders?ssl_ca_certs={tmp_path}/ca.pem&ssl_check_hostname=no")
    assert found.tls
    assert found.sentinel_options == {"ssl_ca_certs": f"{tmp_path}/ca.pem", "ssl_check_hostname": False}
    assert found.options == found.sentinel_options


def test_one_server_or_a_socket() -> None:
    """A URL of one server or of a Unix socket gives host, port, TLS, password, database and path."""
    found = parse("rediss://u:p@shop.test/3")
    assert (found.host, found.port, found.tls, found.options["db"]) == ("shop.test", 6379, True, 3)
    assert parse("redis://:p%40ss@shop.test:1?db=4").options == {"password": "p@ss", "db": 4}
    assert parse("unix:///run/a%20b.sock?db=1").path == "/run/a b.sock"


def test_no_secret_is_shown() -> None:
    """The representation of an address shows no password, because it may land in a traceback or a log."""
    assert "secret" not in repr(parse("redis+sentinel://u:secret@a.test/orders?sentinel_password=secret"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sentinel://a.test/orders", "must begin with redis://"),
        ("redis+sentinel://a.test:26379", "must name the service that the sentinels watch"),
        ("redis+sentinel://a.test/", "must name the service that the sentinels watch"),
        ("redis+sentinel:///orders", "must have a host"),
        ("redis+sentinel://a.test,,b.test/orders", "must have a host"),
        ("redis+sentinel://a.test;b.test:1:2/orders", "percent-encoded"),
        ("redis+sentinel://a.test/orders/x", "number of a database"),
        ("redis://a.test,b.test/0", "only redis+sentinel://HOST,HOST/SERVICE does"),
        ("redis://a.test?sentinel_password=ss", "needs sentinels"),
        ("redis://a.test?ssl_ca_certs=/absent", "ssl_ca_certs needs TLS"),
        ("rediss://a.test?ssl_ca_certs=/absent", "ssl_ca_certs: /absent cannot be read: FileNotFoundError"),
        ("rediss://a.test?ssl_cert_reqs=maybe", "ssl_cert_reqs must be none, optional or required"),
        ("rediss://a.test?ssl_check_hostname=perhaps", "ssl_check_hostname must be yes or no"),
        ("redis://a.test?socket_timeout=1", "option socket_timeout is not known, allowed: db"),
        ("redis://a.test?db=x", "db must be the number of a database"),
        ("redis://a.test?client_name=", "client_name has no value"),
        ("unix:///run/redis.sock?ssl_ca_certs=/x", "ssl_ca_certs needs TLS"),
    ],
)
def test_each_fault_is_one_sentence(url: str, words: str) -> None:
    """A URL has a fault. ConfigError says in one line which rule it breaks."""
    with pytest.raises(ConfigError, match=words.replace("+", r"\+")) as refused:
        parse(url)
    assert "\n" not in str(refused.value)
