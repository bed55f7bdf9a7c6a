"""Tests which program is chosen as the private Redis: one on PATH before the packaged one, if it can read the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.local import redis_binary
from cluster.local.redis_binary import Server
from dispatcher.errors import ConfigError

TELLS = {
    "redis-server": "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=b2c1f1d2",
    "valkey-server": "Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=7e6ad0f1",
}
REDIS_6, REDIS_7, REDIS_8 = Server("Redis", (6, 2, 14)), Server("Redis", (7, 0, 15)), Server("Redis", (8, 2, 3))
VALKEY_8, VALKEY_9 = Server("Valkey", (8, 0, 1)), Server("Valkey", (9, 1, 2))


def program(path: Path, words: str) -> Path:
    """Write a program that prints `words`, whatever its arguments are. Return its path."""
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(0o700)
    return path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder the only folder on PATH, and a Valkey 9.1.2 the packaged server. Return the folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    packaged = str(program(tmp_path / "packaged", "Valkey server v=9.1.2 sha=00000000:1 malloc=libc"))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(redis_binary, "packaged", lambda: packaged)
    return folder


@pytest.mark.parametrize(
    ("on_path", "chosen"),
    [
        (TELLS, "bin/redis-server"),
        ({"valkey-server": TELLS["valkey-server"]}, "bin/valkey-server"),
        ({**TELLS, "redis-server": "Redis server v=6.0.16 sha=0"}, "bin/valkey-server"),
        ({"redis-server": "Redis server v=6.0.16 sha=0"}, "packaged"),
        ({"redis-server": "command not understood"}, "packaged"),
        ({"redis-server": ""}, "packaged"),
        ({}, "packaged"),
    ],
    ids=["both", "valkey", "an old redis beside valkey", "an old redis", "no version", "no word", "none"],
)
def test_a_recent_server_on_the_path_goes_before_the_packaged_one(
    tmp_path: Path, path: Path, on_path: dict[str, str], chosen: str
) -> None:
    """The first server on PATH that is recent enough is chosen. If there is none, the packaged server is chosen."""
    for name, words in on_path.items():
        program(path / name, words)
    assert redis_binary.binary().path == str(tmp_path / chosen)


def test_no_server_at_all_says_what_to_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is packaged, and the one on PATH is too old. ConfigError says what to do."""
    monkeypatch.setattr(redis_binary, "packaged", lambda: None)
    program(path / "redis-server", "Redis server v=6.0.16 sha=0")
    with pytest.raises(ConfigError, match=r"no redis-server or valkey-server >= 6\.2: install one, give --redis-url"):
        redis_binary.binary()


@pytest.mark.parametrize(
    ("server", "reads"),
    [
        (REDIS_6, [REDIS_6]),
        (REDIS_7, [REDIS_6, REDIS_7]),
        (REDIS_8, [REDIS_6, REDIS_7, REDIS_8]),
        (VALKEY_8, [REDIS_6, REDIS_7, VALKEY_8]),
        (VALKEY_9, [REDIS_6, REDIS_7, VALKEY_8, VALKEY_9]),
    ],
    ids=str,
)
def test_a_server_reads_older_data_of_its_own_line(server: Server, reads: list[Server]) -> None:
    """A server reads the files of older versions of its product. Valkey also reads those of Redis up to 7.2, but not
    later.
    """
    assert [wrote for wrote in (REDIS_6, REDIS_7, REDIS_8, VALKEY_8, VALKEY_9) if server.reads(wrote)] == reads


def test_a_server_installed_later_leaves_alone_what_it_cannot_read(
    tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The packaged Valkey wrote the folder, and a Redis that cannot read it was put on PATH later.

    The Valkey is chosen, and stderr says why. If Redis 6.2 wrote the folder, the newer Redis on PATH is chosen.
    """
    redis_binary.note(tmp_path, VALKEY_9)
    program(path / "redis-server", TELLS["redis-server"])
    assert redis_binary.binary(tmp_path).path == str(tmp_path / "packaged")
    assert "written by Valkey 9.1.2, which Redis 7.0.15 cannot read: Valkey 9.1.2 goes on" in capsys.readouterr().err
    redis_binary.note(tmp_path, REDIS_6)
    assert redis_binary.binary(tmp_path).path == str(path / "redis-server")


def test_a_folder_without_a_note_is_judged_by_what_lies_there(tmp_path: Path, path: Path) -> None:
    """A folder has no note about its server. Redis 6.2 is chosen only if there is no append-only folder of a later
    server.
    """
    program(path / "redis-server", "Redis server v=6.2.14 sha=0")
    assert redis_binary.binary(tmp_path).path == str(path / "redis-server")
    (tmp_path / redis_binary.FOLDER_OF_7).mkdir()
    assert redis_binary.binary(tmp_path).path == str(tmp_path / "packaged")


def test_a_note_that_cannot_be_read_is_no_note(tmp_path: Path, path: Path) -> None:
    """The note beside the data names the server that wrote them. If the note is empty or has an unknown text, the
    result is as if there were no note.
    """
    for words in ("", "something else"):
        (tmp_path / redis_binary.NOTE).write_text(words)
        assert redis_binary.written_by(tmp_path) is None


def test_the_package_has_a_server_for_this_machine() -> None:
    """The package's server runs on this machine. It is Valkey 9.1, the server whose figures are in the decision
    record.
    """
    server = redis_binary.ask(str(redis_binary.packaged()))
    assert server is not None
    assert server.product == "Valkey"
    assert (9, 1, 2) <= server.version < (9, 2)


def test_a_package_without_a_server_for_this_machine_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package has no server for this kind of machine. `packaged` then returns None."""
    monkeypatch.setattr(redis_binary.platform, "machine", lambda: "riscv64")
    assert redis_binary.packaged() is None
