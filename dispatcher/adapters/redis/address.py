"""Reads a Redis URL: the address of one server, of a unix socket, or of a service that sentinels watch.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB][?OPTION=VALUE&...]         one server; rediss:// with TLS
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/SERVICE[/DB]   sentinels; rediss+sentinel:// with TLS
    unix:///PATH                                                         a socket of this machine

USER and PASSWORD are the login at the Redis servers. The login at the sentinels is given by options. With
rediss+sentinel TLS is used for both. An error message never shows a part of the URL that could belong to a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from dispatcher.errors import ConfigError

SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "unix")
PORT, SENTINEL_PORT = 6379, 26379

TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")
TLS_OPTIONS = (*TLS_FILES, "ssl_cert_reqs", "ssl_check_hostname", "ssl_password")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
PLAIN_OPTIONS = ("db", "client_name", "username", "password")
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

ENCODE = "characters like # / ? @ [ in a user or password must be percent-encoded, as %23"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::([0-9]+))?")


Option = str | int | bool
"""The value of an option of redis-py's connections."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a Redis.

    Attributes:
        options: what redis-py needs to connect to the servers, such as login and TLS.
        tls: True if connections use TLS.
        host: the host of one server; empty for sentinels or a socket.
        path: the path of a socket; empty otherwise.
        sentinels: host and port of each sentinel.
        service: the name under which the sentinels watch the servers.
        login: user and password at the sentinels.
    """

    options: Mapping[str, Any] = field(repr=False)
    tls: bool = False
    host: str = ""
    port: int = PORT
    path: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    login: Mapping[str, Option] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> tuple[object, ...]:
        """Return what is equal for two addresses that name the same database of the same server by the same words."""
        return self.host, self.port, self.path, self.sentinels, self.service, self.options.get("db", 0)

    @property
    def sentinel_options(self) -> Mapping[str, Option]:
        """Return what redis-py needs to connect to the sentinels."""
        tls = {name: value for name, value in self.options.items() if name.startswith("ssl_")}
        return {**tls, **self.login}


def parse(url: str) -> Address:
    """Read a Redis URL. Raises `ConfigError` with one sentence that says what is wrong."""
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator:
        raise ConfigError(
            "must begin with redis://, rediss://, redis+sentinel://, rediss+sentinel:// or unix://,"
            " for example redis://localhost:6379"
        )
    place, _, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    if "#" in url or authority.count("@") > 1:
        raise ConfigError(f"cannot be read: {ENCODE}")
    login, _, hosts = authority.rpartition("@")
    tls = scheme.startswith("rediss")
    if scheme == "unix":
        if hosts or len(slash + path) < 2:
            raise ConfigError("must name a socket, as in unix:///run/redis.sock")
        return Address({**_login(login), **_options(query, scheme)}, path=unquote(slash + path))
    several = scheme.endswith("+sentinel")
    if "," in hosts and not several:
        raise ConfigError("names several hosts, which only redis+sentinel://HOST,HOST/SERVICE does")
    found = tuple(_host(text, SENTINEL_PORT if several else PORT) for text in hosts.split(","))
    service, _, database = path.partition("/") if several else ("", "", path)
    if several and not service:
        raise ConfigError("must name the service that the sentinels watch: redis+sentinel://HOST:26379/SERVICE")
    options: dict[str, Option] = {**_login(login), **_database(database), **_options(query, scheme)}
    theirs = {name.removeprefix("sentinel_"): options.pop(name) for name in SENTINEL_OPTIONS if name in options}
    if not several:
        return Address(options, tls=tls, host=found[0][0], port=found[0][1])
    return Address(options, tls=tls, sentinels=found, service=unquote(service), login=theirs)


def _host(text: str, default: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    if match is None:
        raise ConfigError(f"cannot be read: {ENCODE}")
    host, port = match[1].strip("[]"), int(match[2] or default)
    if not host or not port:
        raise ConfigError("must have a host, and a port from 1 to 65535")
    if port > 65535:
        raise ConfigError(f"must have a port from 1 to 65535; {ENCODE}")
    return unquote(host), port


def _login(text: str) -> dict[str, str]:
    if "[" in text:
        raise ConfigError(f"cannot be read: {ENCODE}")
    user, _, password = text.partition(":")
    found = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}


def _database(text: str) -> dict[str, int]:
    text = unquote(text).strip("/")
    if text and not text.isdecimal():
        raise ConfigError(f"must end in a port or the number of a database: {ENCODE}")
    return {"db": int(text)} if text else {}


def _options(query: str, scheme: str) -> dict[str, Option]:
    found: dict[str, Option] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = (unquote(part) for part in pair.partition("="))
        _refuse_option(name, scheme, shown="@" not in query)
        found[name] = _value(name, value)
    return found


def _refuse_option(name: str, scheme: str, *, shown: bool) -> None:
    known = (*PLAIN_OPTIONS, *TLS_OPTIONS, *SENTINEL_OPTIONS)
    if name not in known:
        what = f"option {name}" if shown and name.isidentifier() else "an option"
        raise ConfigError(f"{what} is not known, allowed: {', '.join(known)}")
    if name in TLS_OPTIONS and not scheme.startswith("rediss"):
        raise ConfigError(f"{name} needs TLS: begin with rediss:// or rediss+sentinel://")
    if name in SENTINEL_OPTIONS and not scheme.endswith("+sentinel"):
        raise ConfigError(f"{name} needs sentinels: begin with redis+sentinel://")


def _value(name: str, value: str) -> Option:
    if not value:
        raise ConfigError(f"{name} has no value")
    if name == "db":
        if not value.isdecimal():
            raise ConfigError("db must be the number of a database")
        return int(value)
    if name == "ssl_check_hostname":
        if value.lower() not in BOOLEANS:
            raise ConfigError("ssl_check_hostname must be yes or no")
        return BOOLEANS[value.lower()]
    if name == "ssl_cert_reqs" and value not in ("none", "optional", "required"):
        raise ConfigError("ssl_cert_reqs must be none, optional or required")
    if name in TLS_FILES:
        try:
            Path(value).stat()
            if name != "ssl_ca_path":
                Path(value).read_bytes()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{name}: {value} cannot be read: {type(error).__name__}") from None
    return value
