"""API keys are shown once, kept as digests and compared in constant time.

An address that is open to the network needs a key.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from cluster.cli.main import main
from cluster.local import up
from cluster.local.worker_forks import WorkerForks
from dispatcher.adapters import api_keys as auth
from dispatcher.adapters.api_keys import ApiKeys, new_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "api_keys.json"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Yield a list whose one element is the monotonic time in seconds that the key file's reader sees.

    Tests change the element.
    """
    now_s = [1000.0]
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: now_s[0], time_ns=time.time_ns))
    return now_s


def bearer(key: str) -> str:
    return f"Bearer {key}"


def test_a_key_has_its_prefix_and_256_random_bits(path: Path) -> None:
    """Each new key has the form `nd_<8 hex>_<43 base64>` and differs from the others. 43 characters of base64 hold
    256 bits.
    """
    keys = {new_key(path, "shop") for _ in range(50)}
    assert len(keys) == 50
    assert all(re.fullmatch(r"nd_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_only_the_digest_is_stored(path: Path) -> None:
    """The file holds the key's SHA-256 digest, its public prefix and its tenant, but not the secret.

    Only its owner may read it.
    """
    key = new_key(path, "shop")
    (row,) = json.loads(path.read_text())["keys"]
    assert row.keys() == {"prefix", "digest", "tenant", "created_ms", "scopes"}
    assert row["digest"] == hashlib.sha256(key.encode()).hexdigest()
    assert (row["prefix"], row["tenant"]) == (key[3:11], "shop")
    assert key[12:] not in path.read_text()
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o600, 0o700]


def test_a_key_opens_its_tenant(path: Path) -> None:
    """Each key gives its own tenant, whatever the case of `Bearer` and the number of spaces after it."""
    keys = {tenant: new_key(path, tenant) for tenant in ("shop", "bank")}
    found = ApiKeys.load(path)
    assert found.required
    assert {tenant: found.verify(bearer(key)) for tenant, key in keys.items()} == {"shop": "shop", "bank": "bank"}
    assert found.verify(f"bearer {keys['bank']}") == "bank"
    assert found.verify(f"Bearer   {keys['bank']} ") == "bank", "one space or more, RFC 9110, section 11.4"


WRONG = {
    "missing": lambda key: None,
    "empty": lambda key: "",
    "no scheme": lambda key: key,
    "another scheme": lambda key: f"Basic {key}",
    "only the scheme": lambda key: "Bearer",
    "only the prefix": lambda key: bearer(key[:11]),
    "right prefix, wrong secret": lambda key: bearer(key[:12] + "A" * 43),
    "last character changed": lambda key: bearer(key[:-1] + ("A" if key[-1] != "A" else "B")),
    "cut short": lambda key: bearer(key[:-1]),
    "longer": lambda key: bearer(key + "A"),
    "unknown prefix": lambda key: bearer("nd_00000000_" + key[12:]),
    "the digest itself": lambda key: bearer(hashlib.sha256(key.encode()).hexdigest()),
    "a tab before": lambda key: f"Bearer \t{key}",
    "not ASCII": lambda key: bearer(key[:12] + "ü" * 43),
    "no underscore": lambda key: bearer("nd"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_key_opens_nothing(path: Path, name: str) -> None:
    """`verify` returns None for a missing, damaged or unknown key."""
    key = new_key(path, "shop")
    assert ApiKeys.load(path).verify(WRONG[name](key)) is None


@pytest.mark.parametrize("name", WRONG)
def test_every_answer_costs_one_comparison_in_constant_time(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each `verify` compares two digests exactly once with `hmac.compare_digest`, also for an unknown prefix, so
    that its duration tells an attacker nothing.
    """
    key = new_key(path, "shop")
    compared: list[tuple[str, str]] = []
    real = auth.hmac.compare_digest

    def spy(a: str, b: str) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr(auth.hmac, "compare_digest", spy)
    keys = ApiKeys.load(path)
    keys.verify(WRONG[name](key))
    keys.verify(bearer(key))
    assert len(compared) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}", text) for pair in compared for text in pair)


def test_an_open_address_needs_a_key_whatever_becomes_of_the_file(path: Path) -> None:
    """With `required=True` and no key file, keys are required and nobody is let in."""
    keys = ApiKeys.load(path, required=True)
    assert (keys.required, keys.verify(None)) == (True, None)


def test_without_a_file_no_key_is_required(path: Path) -> None:
    """Without a key file, as on loopback, no key is required, and no key is valid."""
    keys = ApiKeys.load(path)
    assert (keys.required, keys.usable, keys.verify(bearer("nd_00000000_x"))) == (False, False, None)


def test_a_key_made_while_we_run_is_known_in_two_seconds(path: Path, clock: list[float]) -> None:
    """A key that is made while the program runs is valid after RELOAD_S, when the file is read again, and not
    earlier.
    """
    keys = ApiKeys.load(path)
    key = new_key(path, "shop")
    clock[0] += auth.RELOAD_S / 2
    assert keys.verify(bearer(key)) is None
    clock[0] += auth.RELOAD_S / 2
    assert keys.verify(bearer(key)) == "shop"


def test_a_removed_key_opens_nothing_any_more(path: Path, clock: list[float]) -> None:
    """The row of a key is removed from the key file. The key is no longer valid. Callers need a key even if no row is
    left.
    """
    key = new_key(path, "shop")
    keys = ApiKeys.load(path)
    path.write_text('{"keys": []}')
    os.utime(path, ns=(1, 1))
    clock[0] += auth.RELOAD_S
    assert (keys.verify(bearer(key)), keys.required) == (None, True)


ODD_ROW = '{"keys": [{"prefix": "00000000", "digest": "%s", "tenant": %s}]}'


@pytest.mark.parametrize(
    "damage",
    [
        *("lost", "cut", "[]", '{"keys": [{}]}', "null", "folder", "[" * 100_000),
        *(ODD_ROW % parts for parts in (("ü" * 64, '"a"'), ("0" * 64, "null"), ("0" * 63, '"a"'))),
    ],
    ids=lambda text: text[:50],
)
def test_a_damaged_file_does_not_open_the_door(path: Path, clock: list[float], damage: str) -> None:
    """If the key file is damaged or lost while the program runs, keys stay required and the known keys stay valid."""
    key = new_key(path, "shop")
    keys = ApiKeys.load(path)
    text = path.read_text()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "lost":
        path.write_text(text[:-9] if damage == "cut" else damage)
    clock[0] += auth.RELOAD_S
    assert (keys.required, keys.verify(bearer(key)), keys.verify(None)) == (True, "shop", None)


def test_a_byte_order_mark_and_line_ends_of_windows_damage_nothing(path: Path) -> None:
    """Keys work if an editor put a byte order mark and Windows line ends into the file, also after the program has
    added a key.
    """
    key = new_key(path, "shop")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"{", b"\r\n{"))
    assert ApiKeys.load(path).verify(bearer(key)) == "shop"
    other = new_key(path, "bank")
    keys = ApiKeys.load(path)
    assert (keys.verify(bearer(key)), keys.verify(bearer(other))) == ("shop", "bank")


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/state"])
def test_a_place_that_takes_no_file_is_one_sentence(place: str) -> None:
    """If the key file cannot be written, `key new` exits with 2 and one sentence that names the file."""
    done = CliRunner().invoke(main, ["key", "new", "shop", "--state-dir", place])
    assert done.exit_code == 2 and done.output.startswith(f"dispatcher: {place}/api_keys.json: cannot be written")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"keys": [{}]}', '{"keys": "abc"}', "[" * 100_000])
def test_a_file_unreadable_from_the_start_lets_nobody_in(path: Path, text: str) -> None:
    """The key file cannot be read when the service starts. Callers need a key, and no key is valid.

    The file's existence shows that the operator wanted keys.
    """
    path.parent.mkdir()
    path.write_text(text)
    keys = ApiKeys.load(path)
    assert (keys.required, keys.usable, keys.verify(None)) == (True, False, None)


# ---- the program


def invoke_up(path: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, list[str]]:
    """Run `dispatcher up` without really starting anything.

    Return the exit code, the output, and the names of the steps that began.
    """
    began: list[str] = []

    def reap(marker: str, patience_s: float = 0.0, spare: Sequence[int] = ()) -> int:
        began.append("reap")
        return 0

    def start(self: up.Up) -> None:
        began.append("start")
        raise SystemExit(0)

    monkeypatch.setattr(up, "reap", reap)
    monkeypatch.setattr(WorkerForks, "start", lambda _: None)
    monkeypatch.setattr(up.Up, "_start_parts", start)
    words = ["up", "--sandbox", "--state-dir", str(path.parent), "--host", host]
    result = CliRunner().invoke(main, words)
    return result.exit_code, result.output, began


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "dispatcher.example.com", "127.0.0.1.example.com", ""])
@pytest.mark.parametrize("text", [None, '{"keys": []}', "{"], ids=["no file", "no key", "broken file"])
def test_an_open_address_without_a_key_is_refused(
    path: Path, host: str, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up --host` with an address other than loopback and no usable key exits with 2 before it starts anything.

    The message names the host and the command that makes a key.
    """
    if text is not None:
        path.parent.mkdir()
        path.write_text(text)
    code, output, began = invoke_up(path, host, monkeypatch)
    assert (code, began) == (2, [])
    assert f"--host {host} is not loopback" in output
    assert "`dispatcher key new NAME`" in output


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_key(path: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` that listens on a loopback address starts, although no API key exists."""
    code, _, began = invoke_up(path, host, monkeypatch)
    assert code == 0
    assert began[:2] == ["reap", "start"]


def test_the_command_makes_a_key_that_opens_the_address(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dispatcher key new` prints a valid key alone on a line.

    With this key in the file, `up` starts on the address 0.0.0.0, which other machines can reach.
    """
    made = CliRunner().invoke(main, ["key", "new", "shop", "--state-dir", str(path.parent)])
    assert made.exit_code == 0
    assert ApiKeys.load(path).verify(bearer(made.output.strip())) == "shop"
    code, _, began = invoke_up(path, "0.0.0.0", monkeypatch)
    assert code == 0
    assert "start" in began


def test_deploy_refuses_an_open_address(tmp_path: Path) -> None:
    """`deploy --host` with an address other than loopback exits with 2 before it contacts the cluster, because
    clusters have no keys yet.
    """
    config = tmp_path / "config.yaml"
    config.write_text("{}")
    words = [
        "deploy",
        "--ray-address",
        "auto",
        "--redis-url",
        "redis://x",
        "--config",
        str(config),
        "--host",
        "0.0.0.0",
    ]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "--host 0.0.0.0" in result.output


# ---- scopes, ends, and several at once


def program(path: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["key", *words, "--state-dir", str(path.parent)])
    return result.exit_code, result.output


def test_keys_made_at_once_all_work(path: Path) -> None:
    """Eight threads make 64 keys in one file at once, and all of the keys work."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: new_key(path, f"shop-{n}"), range(64)))
    keys = ApiKeys.load(path)
    assert [keys.verify(bearer(key)) for key in made] == [f"shop-{n}" for n in range(64)]


def test_a_key_ends(path: Path, clock: list[float]) -> None:
    """A key is not valid after its expiry, though its row is still in the file."""
    key = new_key(path, "shop", expires_ms=time.time_ns() // 1_000_000 - 1)
    other = new_key(path, "shop", expires_ms=time.time_ns() // 1_000_000 + 60_000)
    keys = ApiKeys.load(path)
    assert (keys.verify(bearer(key)), keys.verify(bearer(other))) == (None, "shop")


def test_both_keys_work_until_the_old_one_ends(path: Path, clock: list[float]) -> None:
    """After `rotate_key` the old and the new key work until the old key's grace time ends.

    Rotation never extends the old key's own expiry.
    """
    old = new_key(path, "shop", ("send",))
    new, _ = auth.rotate_key(path, old[3:11], keep_s=3600)
    keys = ApiKeys.load(path)
    assert (keys.verify(bearer(old)), keys.verify(bearer(new))) == ("shop", "shop")
    last, row = auth.rotate_key(path, new[3:11], keep_s=0)
    clock[0] += auth.RELOAD_S
    assert (keys.verify(bearer(new)), keys.verify(bearer(last))) == (None, "shop")
    assert keys.grant(bearer(last)) == auth.Grant("shop", frozenset(("send",)))
    soon = new_key(path, "shop", expires_ms=row.created_ms + 60_000)
    _, kept = auth.rotate_key(path, soon[3:11], keep_s=3600)
    assert kept.expires_ms == row.created_ms + 60_000


def test_a_lost_file_opens_no_door_after_a_restart(path: Path) -> None:
    """The key file is lost, and the program starts again. A mark beside the file records that keys were wanted, so
    calls still need a key.

    Calls also need a key after the last key was revoked.
    """
    key = new_key(path, "shop")
    path.unlink()
    keys = ApiKeys.load(path)
    assert (keys.required, keys.verify(bearer(key))) == (True, None)
    assert program(path, "revoke", new_key(path, "shop"))[0] == 0
    assert ApiKeys.load(path).required


def test_the_program_lists_revokes_and_rotates(path: Path) -> None:
    """`key rotate` keeps tenant and scopes, and the old key works for a while.

    `key list` shows no secret, and `key revoke` ends the old key.
    """
    code, output = program(path, "new", "shop", "--scope", "operate", "--scope", "send", "--expires", "90d")
    key = output.strip()
    assert (code, sorted(ApiKeys.load(path).grant(bearer(key)).scopes)) == (0, ["operate", "send"])  # type: ignore[union-attr]
    code, output = program(path, "rotate", key[3:11], "--keep", "1h")
    new = output.splitlines()[0]
    keys = ApiKeys.load(path)
    assert (code, keys.grant(bearer(new))) == (0, keys.grant(bearer(key)))
    code, output = program(path, "list")
    assert code == 0
    assert all(word in output for word in (key[3:11], new[3:11], "shop", "send,operate"))
    assert key[12:] not in output
    assert program(path, "revoke", key[3:11])[0] == 0
    keys = ApiKeys.load(path)
    assert (keys.verify(bearer(key)), keys.verify(bearer(new))) == (None, "shop")


def test_the_list_names_keys_from_before_scopes(path: Path) -> None:
    """A key that was made before scopes existed may send and read. `key list` prints a line about such keys with their
    prefixes.
    """
    key = new_key(path, "shop")
    (row,) = json.loads(path.read_text())["keys"]
    path.write_text(json.dumps({"keys": [{name: row[name] for name in row if name != "scopes"}]}))
    assert ApiKeys.load(path).grant(bearer(key)) == auth.Grant("shop", frozenset({"send", "read"}))
    assert f"keys made before scopes may send and read, nothing else: {key[3:11]}" in program(path, "list")[1]


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("new", "shop", "--scope", "admin"), "admin"),
        (("new", "shop", "--expires", "soon"), "--expires"),
        (("revoke", "00000000"), "no key has this prefix"),
        (("rotate", "00000000"), "no key has this prefix"),
    ],
)
def test_a_wrong_word_changes_nothing(path: Path, words: tuple[str, ...], rule: str) -> None:
    """`dispatcher key` gets an argument that it cannot use. It exits with 2 and names the fault, and the key file does
    not change.
    """
    new_key(path, "shop")
    before = path.read_bytes()
    code, output = program(path, *words)
    assert (code, rule in output, path.read_bytes()) == (2, True, before)
