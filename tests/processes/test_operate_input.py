"""Tests that operators' commands answer a wrong input with one sentence, and accept a key wherever they accept
an id.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner, Result

from cluster.cli.api import Api
from cluster.cli.main import main


@pytest.mark.parametrize(
    "words",
    [("templates", "put", "receipt", "FILE"), ("templates", "preview", "receipt", "--data", "{"), ("send", "FILE")],
)
def test_what_is_no_json_is_one_sentence(words: tuple[str, ...], tmp_path: Path) -> None:
    """The input is not JSON. The command ends with one sentence that names the file or the option, and sends
    nothing.
    """
    (tmp_path / "t.json").write_text("Dear {{ name }}")
    given = [str(tmp_path / "t.json") if word == "FILE" else word for word in words]
    with mock.patch.object(Api, "call") as call:
        done = CliRunner().invoke(main, given)
    assert done.exit_code == 1 and not call.called
    (line,) = done.output.splitlines()
    assert "is not JSON" in line and (given[-1] if "FILE" in words else "--data") in line


def test_an_order_is_cancelled_by_its_key() -> None:
    """`cancel key:ORDER` looks the trigger up by its key and cancels it by its id."""
    asked: list[tuple[str, str]] = []

    def call(self: Any, method: str, path: str, *_: Any) -> Any:
        asked.append((method, path))
        return {"id": "0-abc"}

    with mock.patch.object(Api, "call", call):
        assert CliRunner().invoke(main, ["cancel", "key:ORDER 1"]).exit_code == 0
    assert asked == [("GET", "/v1/triggers?idempotency_key=ORDER%201"), ("POST", "/v1/triggers/0-abc/cancel")]


def said(done: Result) -> str:
    """Return the one line that a refused command printed. Fail if it ended with an exception."""
    assert isinstance(done.exception, SystemExit), done.exception
    (line,) = done.output.splitlines()
    return line


ODD_FILES = {
    "latin1": ('{"text": "Grüße"}'.encode("latin-1"), "must be UTF-8"),
    "utf16": ('{"text": "Hi"}'.encode("utf-16"), "must be UTF-8"),
    "deep": (b"[" * 200_000, "must not be nested deeper than"),
    "twice": (b'{"text": "a", "text": "b"}', "must not name a key twice"),
    "nan": (b'{"text": NaN}', "must not contain NaN"),
    "half": (b'{"text": "\\ud800"}', "half a surrogate pair"),
    "empty": (b"", "must be JSON"),
}


@pytest.mark.parametrize("name", ODD_FILES)
@pytest.mark.parametrize("words", [("templates", "put", "receipt"), ("send",)], ids=["put", "send"])
def test_a_file_is_read_as_strictly_as_the_service_reads(words: tuple[str, ...], name: str, tmp_path: Path) -> None:
    """A file that the service would refuse is refused by the command too, with one sentence and without a call.

    A lenient reader would send another text than the file's.
    """
    text, rule = ODD_FILES[name]
    (tmp_path / "t.json").write_bytes(text)
    with mock.patch.object(Api, "call") as call:
        line = said(CliRunner().invoke(main, [*words, str(tmp_path / "t.json")]))
    assert rule in line and "t.json" in line and not call.called


def test_a_file_of_windows_is_utf8_whatever_the_locale_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A UTF-8 file with a byte order mark is read as UTF-8 in any locale, and the mark is left out."""
    monkeypatch.setenv("LC_ALL", "de_DE.ISO-8859-1")
    (tmp_path / "t.json").write_bytes(b"\xef\xbb\xbf" + '{"text": "Grüße"}\r\n'.encode())
    with mock.patch.object(Api, "call", return_value={}) as call:
        assert CliRunner().invoke(main, ["templates", "put", "receipt", str(tmp_path / "t.json")]).exit_code == 0
    assert call.call_args.args == ("PUT", "/v1/templates/receipt", {"text": "Grüße"})


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "localhost:8000", "http://[::1", "http://localhost:80x", "http://localhost:0", "http://",
     "file:///etc/hostname", "http://ops:s3cret@localhost:8000", "http://localhost:8000/\r\nX: s3cret"],
)  # fmt: skip
def test_an_address_that_is_none_is_one_sentence(url: str) -> None:
    """A wrong address is refused with one sentence that names the option and shows no part of the address."""
    line = said(CliRunner().invoke(main, ["status", "--url", url]))
    assert "--url: must be http://HOST:PORT" in line and "s3cret" not in line


@pytest.mark.parametrize("key", ["nd_1_s3\ncret", "nd_1_s3cret€", "nd_1_s3\x7fcret"])
def test_a_key_that_no_header_can_carry_is_not_shown(key: str) -> None:
    """A key with characters that a header cannot carry is refused. The message does not show it.

    Such a key came from a file or a variable that holds more than the key.
    """
    line = said(CliRunner().invoke(main, ["status"], env={"DISPATCHER_KEY": key}))
    assert "--key: must be printable ASCII" in line and "cret" not in line


def test_an_idempotency_key_that_no_header_can_carry_is_refused(tmp_path: Path) -> None:
    """An idempotency key outside printable ASCII is refused, because the service accepts nothing else."""
    (tmp_path / "t.json").write_text("{}")
    line = said(CliRunner().invoke(main, ["send", str(tmp_path / "t.json"), "--idempotency-key", "Größe"]))
    assert "--idempotency-key: must be printable ASCII" in line


@pytest.mark.parametrize(
    ("given", "path"),
    [("\udcff", "/v1/triggers/%FF"), ("a/../b", "/v1/triggers/a%2F..%2Fb"), ("0-a?x#y", "/v1/triggers/0-a%3Fx%23y")],
)
def test_any_word_is_one_part_of_the_path(given: str, path: str) -> None:
    """An id with any bytes, also with a slash, is quoted as one part of the path."""
    with mock.patch.object(Api, "call", return_value={}) as call:
        assert CliRunner().invoke(main, ["show", given]).exit_code == 0
    assert call.call_args.args == ("GET", path)


@pytest.fixture
def answers() -> Iterator[Any]:
    """Start a server that answers every request with the bytes in `bytes`, and keeps the requests in `heard`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = type("Answers", (), {"bytes": b"", "heard": [], "url": f"http://127.0.0.1:{server.getsockname()[1]}"})()

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    found.heard.append(connection.recv(65_536))
                    connection.sendall(found.bytes)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield found
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("sent", "rule"),
    [
        (b"-ERR unknown command\r\n", "does not answer"),
        (b"", "does not answer"),
        (JSON_HEAD + b"Content-Length: 100\r\n\r\n{", "does not answer"),
        (JSON_HEAD + b"\r\n<html>", "something else than JSON"),
        (JSON_HEAD + b'\r\n{"status": "UP"}', "is the address that of a dispatcher?"),
        (b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n[]", "502 Bad Gateway"),
    ],
    ids=["another protocol", "hangs up", "cut off", "a web page", "another service", "a proxy's error"],
)
def test_an_answer_of_something_else_is_one_sentence(answers: Any, sent: bytes, rule: str) -> None:
    """Another program answers at the address. The command ends with one sentence that says what is wrong."""
    answers.bytes = sent
    assert rule in said(CliRunner().invoke(main, ["status", "--url", answers.url]))


def test_a_proxy_is_not_asked_for_this_machine(answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `http_proxy` set, a command still calls this machine directly.

    Many company machines set `http_proxy` without 127.0.0.1 in `no_proxy`.
    """
    monkeypatch.setattr("urllib.request._opener", None)  # it has read the environment when it was first used
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    answers.bytes = JSON_HEAD + b'\r\n{"id": "0-a"}'
    done = CliRunner().invoke(main, ["show", "0-a", "--url", answers.url], env={"DISPATCHER_KEY": "nd_1_x\n"})
    assert done.exit_code == 0, done.output
    (heard,) = answers.heard
    assert heard.startswith(b"GET /v1/triggers/0-a HTTP/1.1\r\n") and b"Authorization: Bearer nd_1_x\r\n" in heard


def test_no_order_is_for_everything_by_mistake() -> None:
    """`dead redrive` without `--id` sends no list of ids. With an empty `--id`, the empty id is sent, so that nothing
    matches.

    An id is empty if, for example, a shell variable is not set.
    """
    asked: list[Any] = []

    def call(self: Any, method: str, path: str, *more: Any) -> Any:
        asked.append((path, *more))
        return {"dead_letters": [], "cursor": None}

    with mock.patch.object(Api, "call", call):
        for words in (["redrive"], ["discard", "--id", ""], ["list", "--id", ""], ["show", ""]):
            CliRunner().invoke(main, ["dead", *words])
    base = {"limit": 100, "cursor": None, "dry_run": False}
    assert asked[0][0] == "/v1/dead-letters/redrive" and "ids" not in asked[0][1]
    assert asked[1] == ("/v1/dead-letters/discard", {**base, "ids": [""]})
    assert [path for path, *_ in asked[2:]] == ["/v1/dead-letters?ids=&limit=100", "/v1/dead-letters?ids="]


@pytest.mark.parametrize(
    ("words", "matched", "code", "sentence"),
    [
        ((), 0, 0, "no dead letter of this key's tenant matches"),
        (("--id", "0-a.0"), 0, 1, "no id names a dead letter of this key's tenant that matches"),
        (("--id", "0-a.0", "--id", "0-b.0", "--id", "0-a.0"), 1, 1, "1 of 2 ids name no dead letter"),
        (("--id", "0-a.0"), 1, 0, ""),
    ],
)
@pytest.mark.parametrize("verb", ["redrive", "discard"])
def test_a_change_of_nothing_says_so(verb: str, words: tuple[str, ...], matched: int, code: int, sentence: str) -> None:
    """A filter that matches nothing gives exit code 0 and a sentence. An id that names no dead letter gives exit code
    1.
    """
    answer = {"count": matched, "matched": matched, "refused": {}, "cursor": None, "wait_s": 0.0}
    with mock.patch.object(Api, "call", return_value=answer):
        done = CliRunner().invoke(main, ["dead", verb, *words])
    assert done.exit_code == code
    assert sentence in done.output and (sentence or "ids" not in done.output)
