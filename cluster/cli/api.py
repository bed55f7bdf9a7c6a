"""The HTTP client of the operators' commands, and functions that turn command-line arguments into parts of a
request.
"""

from __future__ import annotations

import functools
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cluster.direct import FAULTS, open_directly
from dispatcher.core.json_object import JsonObject
from dispatcher.errors import CallerError, DispatcherError
from dispatcher.operate.over_cells.missing_cells import HEADER as MISSING_CELLS
from dispatcher.wire.json import parse_json

Function = TypeVar("Function", bound=Callable[..., Any])

DEPTH_MAX = 64
"""How deep JSON may be nested here. The service has lower limits and checks them itself."""


class ApiError(DispatcherError):
    """The service answered with an error or did not answer, or a command-line argument cannot be sent."""


class Answer(JsonObject):
    """A JSON object that the service answered. Reading a missing field raises ApiError.

    A missing field means that the address belongs to another program.
    """

    def __missing__(self, field: str) -> Any:
        raise ApiError(f"the answer has no {field}: is the address that of a dispatcher?")


class Api:
    """A client of one service.

    The constructor raises ApiError if the address or the key cannot be used. The message shows neither of them.
    """

    def __init__(self, url: str, key: str | None, ca_file: Path | None = None) -> None:
        """Prepare a client for the service at `url`, with the API key `key` if one is needed.

        `ca_file` is a file of certificates. For an https address the client trusts these certificates, and not those of
        the system.
        """
        self._url = _base(url)
        self._trust = None if ca_file is None else _trust(ca_file)
        self._key = None if key is None else header_value("--key", key.strip())

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Call the service and return the JSON of its answer.

        If the answer lacks the data of a cell that is away, a warning is printed on standard error.

        Raises ApiError if the service answers with an error, answers something other than JSON, or does not answer in
        30 s.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, dict(headers or {}), method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self._key:
            request.add_header("Authorization", f"Bearer {self._key}")
        try:
            with self._open(request) as answer:
                missing = answer.headers.get(MISSING_CELLS)
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise ApiError(_problem(error)) from None
        except ValueError:
            raise ApiError(f"{self._url} answers with something else than JSON: is it a dispatcher?") from None
        except FAULTS as error:
            why = " ".join(str(error).split()) or type(error).__name__
            hint = "; --ca-file names the certificate to trust" if "CERTIFICATE_VERIFY_FAILED" in why else ""
            raise ApiError(f"{self._url} does not answer: {why}{hint}") from None
        if missing:
            click.echo(f"WARNING: without cell {missing}, which is away", err=True)
        return Answer(found) if isinstance(found, dict) else found

    def _open(self, request: urllib.request.Request) -> Any:
        name = urllib.parse.urlsplit(self._url).hostname or ""
        if name in ("localhost", "::1") or name.startswith("127."):
            return open_directly(request, 30, self._trust)
        return urllib.request.urlopen(request, timeout=30, context=self._trust)


def _trust(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ValueError):  # an error of ssl is an OSError
        raise ApiError(f"--ca-file: {ca_file} holds no certificate in PEM form, or cannot be read") from None


def _base(url: str) -> str:
    """Return the address `url` without a slash at its end.

    Raises ApiError if it is not an allowed address. The message shows no part of it.
    """
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
    """Return `given` unchanged if an HTTP header can carry it.

    Raises ApiError otherwise. The message names the option and never shows the value.
    """
    if not (given.isascii() and given.isprintable()):
        raise ApiError(f"{option}: must be printable ASCII characters")
    return given


def quoted(given: str) -> str:
    """Return `given` quoted as one part of a URL's path or query. Bytes that are not valid UTF-8 are allowed."""
    return urllib.parse.quote(given, safe="", errors="surrogateescape")


def _problem(error: urllib.error.HTTPError) -> str:
    try:
        found = json.load(error)
        hint = ". Give it as --key or in $DISPATCHER_KEY" if error.code == 401 else ""
        return f"{error.code} {found.get('title', '')}: {found.get('detail') or found.get('reason', '')}{hint}"
    except (*FAULTS, AttributeError):
        return f"{error.code} {error.reason}"


def remote(function: Function) -> Function:
    """Add the options `--url`, `--key` and `--ca-file` to a command. The command gets an `Api` in their place."""

    @functools.wraps(function)
    def wrapped(url: str, key: str | None, ca_file: Path | None, **arguments: Any) -> Any:
        return function(Api(url, key, ca_file), **arguments)

    for option in (
        click.option(
            "--ca-file",
            envvar="DISPATCHER_CA_FILE",
            type=click.Path(dir_okay=False, path_type=Path),
            help="The certificates to trust with https, in PEM. It can also be in $DISPATCHER_CA_FILE. "
            "Without it, those of the system.",
        ),
        click.option("--key", envvar="DISPATCHER_KEY", help="The API key. It can also be in $DISPATCHER_KEY."),
        click.option(
            "--url",
            envvar="DISPATCHER_URL",
            default="http://127.0.0.1:8000",
            show_default=True,
            help="The address of the service. It can also be in $DISPATCHER_URL.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def read_json(text: str | bytes, name: str) -> Any:
    """Read JSON in UTF-8, with or without a byte order mark. The rules are as strict as the service's.

    For example, a key that appears twice is refused here, while a lenient reader would drop its first value.
    Raises ApiError, whose message begins with `name` (a file or an option).
    """
    given = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    try:
        return parse_json(given.removeprefix(b"\xef\xbb\xbf"), DEPTH_MAX, name)
    except CallerError as error:
        raise ApiError(f"{name}: is not JSON: {error.rule}") from None
