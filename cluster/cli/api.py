"""The client of the operators' commands: one service's HTTP API, and the words of a command line that go to it."""

from __future__ import annotations

import functools
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

import click

from cluster.direct import FAULTS, open_directly
from dispatcher.errors import CallerError, DispatcherError
from dispatcher.wire.json import parse_json

Function = TypeVar("Function", bound=Callable[..., Any])

DEPTH_MAX = 64
"""Deeper than any limit of the service, which judges what it gets."""


class ApiError(DispatcherError):
    """The service answered with a problem, or did not answer."""


class Answer(dict[str, Any]):
    """A JSON object that the service answered. A missing field means that something else answered."""

    def __missing__(self, field: str) -> Any:
        raise ApiError(f"the answer has no {field}: is the address that of a dispatcher?")


class Api:
    """A client of one service. Raises ApiError for an address or a key that cannot be used; it shows neither."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = _base(url)
        self._key = None if key is None else header_value("--key", key.strip())

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Return the answer's JSON. Raises ApiError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, dict(headers or {}), method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self._key:
            request.add_header("Authorization", f"Bearer {self._key}")
        try:
            with self._open(request) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise ApiError(_problem(error)) from None
        except ValueError:
            raise ApiError(f"{self._url} answers with something else than JSON: is it a dispatcher?") from None
        except FAULTS as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise ApiError(f"{self._url} does not answer: {why}") from None
        return Answer(found) if isinstance(found, dict) else found

    def _open(self, request: urllib.request.Request) -> Any:
        name = urllib.parse.urlsplit(self._url).hostname or ""
        if name in ("localhost", "::1") or name.startswith("127."):
            return open_directly(request, 30)
        return urllib.request.urlopen(request, timeout=30)


def _base(url: str) -> str:
    """Return the address without a slash at its end. Raises ApiError, which shows no part of it."""
    rule = "--url: must be http://HOST:PORT or https://HOST:PORT, without user and password"
    try:
        found = urllib.parse.urlsplit(url)
        usable = found.scheme in ("http", "https") and found.hostname and "@" not in found.netloc
        number = found.port
    except ValueError:
        raise ApiError(rule) from None
    if not usable or number == 0 or not url.isascii() or any(letter <= " " for letter in url):
        raise ApiError(rule)
    return url.rstrip("/")


def header_value(option: str, given: str) -> str:
    """Return what was given, if a header can carry it. Raises ApiError naming the option, never the value."""
    if not (given.isascii() and given.isprintable()):
        raise ApiError(f"{option}: must be printable ASCII characters")
    return given


def quoted(given: str) -> str:
    """Return one part of a path or a query, whatever bytes the shell gave."""
    return urllib.parse.quote(given, safe="", errors="surrogateescape")


def _problem(error: urllib.error.HTTPError) -> str:
    try:
        found = json.load(error)
        hint = ". Give it as --key or in $DISPATCHER_KEY" if error.code == 401 else ""
        return f"{error.code} {found.get('title', '')}: {found.get('detail') or found.get('reason', '')}{hint}"
    except (*FAULTS, AttributeError):
        return f"{error.code} {error.reason}"


def remote(function: Function) -> Function:
    """Adds the options that say where the service is, and passes an `Api`."""

    @functools.wraps(function)
    def wrapped(url: str, key: str | None, **arguments: Any) -> Any:
        return function(Api(url, key), **arguments)

    for option in (
        click.option("--key", envvar="DISPATCHER_KEY", help="API key; also $DISPATCHER_KEY"),
        click.option("--url", envvar="DISPATCHER_URL", default="http://127.0.0.1:8000", show_default=True),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def read_json(text: str | bytes, name: str) -> Any:
    """Read JSON in UTF-8, with a byte order mark or without. Raises ApiError naming where it came from.

    It is as strict as the service: what a lenient reader would drop here, such as a key's first value, is told.
    """
    given = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    try:
        return parse_json(given.removeprefix(b"\xef\xbb\xbf"), DEPTH_MAX, name)
    except CallerError as error:
        raise ApiError(f"{name}: is not JSON: {error.rule}") from None
