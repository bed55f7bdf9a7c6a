"""Tests the state directory: only its owner reads it, one `up` uses it, and what a dead `up` left is found."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.cli.main import main
from cluster.local import up
from cluster.local.state_directory import MARKER, StateDirectory, check_room, free_port, give_way, processes_of, reap
from dispatcher.errors import ConfigError

HOLDER = """
import sys, time
from pathlib import Path
from cluster.local.state_directory import StateDirectory
state = StateDirectory(Path(sys.argv[1]))
state.prepare()
state.lock()
print("locked", flush=True)
time.sleep(60)
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDirectory]:
    found = StateDirectory(tmp_path / "state")
    found.prepare()
    yield found
    path = found.runtime_dir()
    path.rmdir()


@pytest.fixture
def holder(state: StateDirectory) -> Iterator[subprocess.Popen[str]]:
    """Yield another process that has locked the directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state.path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_is_its_owners_alone(tmp_path: Path) -> None:
    """An existing directory of mode 0755 gets mode 0700, and its token has mode 0600."""
    path = tmp_path / "deep" / "state"
    path.mkdir(parents=True, mode=0o755)
    path.chmod(0o755)
    state = StateDirectory(path)
    state.prepare()
    assert (mode(path), mode(state.token)) == (0o700, 0o600)


def test_the_token_stays(state: StateDirectory) -> None:
    """A second start of the installation keeps the token that the first start wrote. The token is needed to end the
    processes that an earlier Ray left.
    """
    token = state.token.read_text()
    assert len(token) == 64
    StateDirectory(state.path).prepare()
    assert state.token.read_text() == token


def test_an_empty_token_of_a_start_on_a_full_disk_is_made_again(state: StateDirectory) -> None:
    """Empty files for the token and the id, as after a full disk, are written again.

    Ray would refuse an empty token, and an empty id would fit every installation.
    """
    for path in (state.token, state.identity):
        path.write_text("")
    state.prepare()
    assert (len(state.token.read_text()), len(state.identity.read_text())) == (64, 16)


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/state"])
def test_a_place_that_takes_no_directory_is_one_sentence(place: str) -> None:
    """If the directory cannot be made, ConfigError names its path and the reason."""
    with pytest.raises(ConfigError, match=f"^{place}: cannot be written: "):
        StateDirectory(Path(place)).prepare()


def test_a_thing_in_the_place_of_a_file_is_one_sentence(tmp_path: Path) -> None:
    """In place of the token file there is a folder. A container engine makes such a folder if a mounted file is
    missing.

    ConfigError names the folder.
    """
    (tmp_path / "ray_token").mkdir()
    with pytest.raises(ConfigError, match=r"ray_token.*: cannot be written: "):
        StateDirectory(tmp_path).prepare()


def test_a_current_directory_that_was_removed_is_one_sentence(tmp_path: Path) -> None:
    """The current directory was removed, as a deployment tool may do it. `up` ends with one sentence and exit
    code 2.
    """
    program = "import os, sys; os.rmdir(os.getcwd()); from cluster.cli.main import main; main(['up', '--sandbox'])"
    (tmp_path / "release").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "release", capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (
        2,
        "dispatcher: state: is relative to the current directory, which was removed; change to another\n",
    )


@pytest.mark.parametrize("refused", ["mkdir", "chmod"])
def test_a_tmp_that_cannot_be_written_is_one_sentence(
    refused: str, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory in /tmp cannot be made or changed. ConfigError names it and the reason.

    This happens in a container with a read-only root, or with a /tmp of mode 0755 (rag-template 52, docker-privatebin
    10).
    """
    path = state.runtime_dir()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, refused, refuse)
    with pytest.raises(ConfigError, match=f"^{path}: cannot be written: Read-only file system$"):
        state.runtime_dir()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSPC, errno.EIO])
def test_a_lock_that_the_file_system_refuses_is_one_sentence(
    number: int, state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system refuses the lock. ConfigError names the lock file and the reason.

    Network shares without locks answer ENOLCK (cactus 1299).
    """

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigError, match=f"up.lock: cannot be written: {os.strerror(number)}$"):
        state.lock()


def test_a_lock_of_another_user_is_one_sentence(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock file belongs to another user, as after a first start as root. ConfigError names the file."""

    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match=r"up\.lock: cannot be written: Permission denied$"):
        state.lock()
    with pytest.raises(ConfigError, match=r"urls.*: cannot be written: Permission denied$"):
        state.write_secret(state.urls, "{}")


def test_a_tmp_without_room_is_refused_before_ray_starts(tmp_path: Path) -> None:
    """If /tmp has too little free space for a start, ConfigError says how much is free and how much is needed.

    Without this check, Ray would neither start nor end.
    """
    free = os.statvfs(tmp_path)
    check_room(tmp_path, 0)
    with pytest.raises(ConfigError, match=rf"^{tmp_path}: [\d.]+ MB are free there, \d+ MB are needed for a start$"):
        check_room(tmp_path, 2 * free.f_blocks * free.f_frsize)


def test_a_log_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """If the log folder cannot be made, `up` ends with one sentence before anything is started."""
    result = CliRunner().invoke(
        main, ["up", "--sandbox", "--state-dir", str(tmp_path / "s"), "--log-dir", "/proc/nowhere/logs"]
    )
    assert (result.exit_code, result.output) == (
        2,
        "dispatcher: /proc/nowhere: cannot be written: No such file or directory\n",
    )


def test_what_the_machine_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any OSError, such as too many open files, ends a command with one sentence and exit code 1."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/etc/hosts")

    monkeypatch.setattr(up.Up, "run", refuse)
    result = CliRunner().invoke(main, ["up", "--sandbox"])
    assert (result.exit_code, result.output) == (1, "dispatcher: /etc/hosts: Too many open files\n")


def test_the_marker_belongs_to_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker names an installation by its directory. A relative and an absolute path of one directory give the same
    marker, and another directory has another marker.
    """
    monkeypatch.chdir(tmp_path)
    assert StateDirectory(Path("state")).marker == StateDirectory(tmp_path / "state").marker
    assert StateDirectory(Path("other")).marker != StateDirectory(Path("state")).marker


def test_a_secret_is_written_whole_and_private(state: StateDirectory) -> None:
    """A written secret replaces the whole file and has mode 0600. No draft is left."""
    path = state.path / "secret"
    path.write_text("an old and much longer one")
    path.chmod(0o644)
    state.write_secret(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert not path.with_suffix(".new").exists()


def test_a_second_lock_is_refused_by_name(state: StateDirectory, holder: subprocess.Popen[str]) -> None:
    """The directory is locked by another process. ConfigError names the directory and the pid, and the lock stays."""
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"{state.path}: a dispatcher is already running there, pid {holder.pid}"):
            state.lock()
    assert (state.path / "up.lock").read_text() == str(holder.pid)


def test_a_dead_holder_holds_nothing(state: StateDirectory, holder: subprocess.Popen[str]) -> None:
    """After the process with the lock was killed, another process can lock the directory. Its pid replaces the
    old one.
    """
    holder.kill()
    holder.wait()
    (state.path / "up.lock").write_text("99999999999")
    state.lock()
    assert (state.path / "up.lock").read_text() == str(os.getpid())


def test_the_second_up_is_refused_before_anything_starts(
    state: StateDirectory, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second `up` on a locked directory ends with exit code 2 and names the first. Nothing is ended, started or
    written.
    """
    for part in ("reap", "RedisServer"):
        monkeypatch.setattr(up, part, lambda *_: pytest.fail("something was started or ended"))
    state.urls.write_text("{}")
    before = sorted(state.path.iterdir())
    result = CliRunner().invoke(main, ["up", "--sandbox", "--state-dir", str(state.path)])
    assert result.exit_code == 2
    assert f"a dispatcher is already running there, pid {holder.pid}" in result.output
    assert "Traceback" not in result.output
    assert sorted(state.path.iterdir()) == before


def test_sockets_get_a_short_private_directory(state: StateDirectory) -> None:
    """The directory of the sockets always gets mode 0700. Its path is so short that the path of HAProxy's configuration
    file in it has at most 27 characters.
    """
    path = state.runtime_dir()
    path.chmod(0o755)
    assert state.runtime_dir() == path
    assert mode(path) == 0o700
    assert len(str(path / "h.cfg")) <= 27


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_a_foreign_thing_in_its_place_is_refused(state: StateDirectory, tmp_path: Path, kind: str) -> None:
    """At the path of the directory in /tmp there is a link or a file. A link is not followed, and ConfigError names the
    path.
    """
    path = state.runtime_dir()
    path.rmdir()
    if kind == "file":
        path.write_text("")
    else:
        path.symlink_to(tmp_path if kind == "link" else tmp_path / "nothing")
    try:
        with pytest.raises(ConfigError, match=f"{path}: is not a directory of ours; remove it"):
            state.runtime_dir()
    finally:
        path.unlink()


def test_housekeepers_give_way_with_every_thread() -> None:
    """`give_way` lowers the priority of every thread of the process with the given name, and of no other process."""
    code = "import threading; threading.Thread(target=input).start(); print(1, flush=True)  # {}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code.format(word)],
            env={**os.environ, MARKER: "calm"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for word in ("a housekeeper", "a worker")
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        give_way("calm", ("a housekeeper",), 7)
        threads = [[int(tid) for tid in os.listdir(f"/proc/{process.pid}/task")] for process in started]
        found = [{os.getpriority(os.PRIO_PROCESS, tid) for tid in tids} for tids in threads]
        assert found == [{7}, {os.getpriority(os.PRIO_PROCESS, 0)}]
        assert len(threads[0]) == 2
    finally:
        for process in started:
            process.communicate("\n", timeout=5)


def test_what_carries_the_marker_is_found_and_ended() -> None:
    """`reap` ends the processes with the marker: by SIGTERM, or by SIGKILL if a process ignores SIGTERM.

    Processes of another installation, and those to spare, are left alone.
    """
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    started = []
    waits = "print(1, flush=True); input()"
    for marker, code in (("mine", waits), ("mine", stubborn), ("mine2", waits), ("mine", waits)):
        environment = {**os.environ, MARKER: marker, "PYTHONUNBUFFERED": "1"}
        words = [sys.executable, "-c", code]
        started.append(
            subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
    willing, unwilling, foreign, spared = started
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        assert processes_of("mine").keys() == {willing.pid, unwilling.pid, spared.pid}
        assert reap("mine", patience_s=0.2, spare=[spared.pid]) == 2
        assert (willing.wait(5), unwilling.wait(5)) == (-signal.SIGTERM, -signal.SIGKILL)
        assert foreign.poll() is None
        assert processes_of("mine").keys() == {spared.pid}
        assert reap("mine", spare=[spared.pid]) == 0
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_a_free_port_lies_where_nobody_else_draws() -> None:
    """A free port lies below the kernel's range for outgoing connections and outside Ray's."""
    assert all(20_000 <= free_port() < 30_000 for _ in range(20))


def test_a_free_port_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls that draw the same port while nothing listens on it get different ports, in another process too."""
    mine, second, third = (free_port() for _ in range(3))
    code = f"""
import secrets
from cluster.local.state_directory import free_port
draws = iter([{mine - 20_000}, {second - 20_000}, {third - 20_000}, 42, 43, 44, 45])
secrets.randbelow = lambda _: next(draws)
print(free_port())
"""
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) in range(20_042, 20_046)
    draws = iter([mine - 20_000, 52, 53, 54, 55])
    monkeypatch.setattr(secrets, "randbelow", lambda _: next(draws))
    assert free_port() in range(20_052, 20_056)


def test_a_cleaner_of_tmp_finds_the_directory_locked(tmp_path: Path) -> None:
    """`keep` locks the service's directory in /tmp. Another process cannot lock it.

    So systemd-tmpfiles, which locks a directory before it cleans it, leaves the directory alone.
    """
    state = StateDirectory(tmp_path / "state")
    state.keep(tmp_path)
    cleaner = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(cleaner)
