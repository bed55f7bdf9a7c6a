"""The state directory: private, one `up` at a time, and what a dead one left is found."""

from __future__ import annotations

import errno
import fcntl
import os
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
    """Another process that has the directory."""
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
    """0700 when it is made, and made 0700 when it was not; the token in it is 0600."""
    path = tmp_path / "deep" / "state"
    path.mkdir(parents=True, mode=0o755)
    path.chmod(0o755)
    state = StateDirectory(path)
    state.prepare()
    assert (mode(path), mode(state.token)) == (0o700, 0o600)


def test_the_token_stays(state: StateDirectory) -> None:
    """A later start uses the same one: what an earlier Ray left must let us in to be ended."""
    token = state.token.read_text()
    assert len(token) == 64
    StateDirectory(state.path).prepare()
    assert state.token.read_text() == token


def test_an_empty_token_of_a_start_on_a_full_disk_is_made_again(state: StateDirectory) -> None:
    """Ray would refuse to start with it, and an installation without an id is everybody's."""
    for path in (state.token, state.identity):
        path.write_text("")
    state.prepare()
    assert (len(state.token.read_text()), len(state.identity.read_text())) == (64, 16)


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/state"])
def test_a_place_that_takes_no_directory_is_one_sentence(place: str) -> None:
    """It names the path and why."""
    with pytest.raises(ConfigError, match=f"^{place}: cannot be written: "):
        StateDirectory(Path(place)).prepare()


def test_a_thing_in_the_place_of_a_file_is_one_sentence(tmp_path: Path) -> None:
    """A folder of that name, as a container makes it for a file that is mounted and missing."""
    (tmp_path / "ray_token").mkdir()
    with pytest.raises(ConfigError, match=r"ray_token.*: cannot be written: "):
        StateDirectory(tmp_path).prepare()


def test_a_current_directory_that_was_removed_is_one_sentence(tmp_path: Path) -> None:
    """A deployment tool removes the folder of a release while a shell is in it."""
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
    """A container with a read-only root, or a /tmp of mode 0755 (rag-template 52, docker-privatebin 10)."""
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
    """Network shares without locks answer ENOLCK (cactus 1299), and a full one cannot note the process."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigError, match=f"up.lock: cannot be written: {os.strerror(number)}$"):
        state.lock()


def test_a_lock_of_another_user_is_one_sentence(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first start as root leaves files that the service's own user cannot open."""

    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match=r"up\.lock: cannot be written: Permission denied$"):
        state.lock()
    with pytest.raises(ConfigError, match=r"urls.*: cannot be written: Permission denied$"):
        state.write_secret(state.urls, "{}")


def test_a_tmp_without_room_is_refused_before_ray_starts(tmp_path: Path) -> None:
    """Ray would neither start nor end."""
    free = os.statvfs(tmp_path)
    check_room(tmp_path, 0)
    with pytest.raises(ConfigError, match=rf"^{tmp_path}: [\d.]+ MB are free there, \d+ MB are needed for a start$"):
        check_room(tmp_path, 2 * free.f_blocks * free.f_frsize)


def test_a_log_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """It is found before anything is started."""
    result = CliRunner().invoke(
        main, ["up", "--sandbox", "--state-dir", str(tmp_path / "s"), "--log-dir", "/proc/nowhere/logs"]
    )
    assert (result.exit_code, result.output) == (
        2,
        "dispatcher: /proc/nowhere: cannot be written: No such file or directory\n",
    )


def test_what_the_machine_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any file, any command: too many open files, a disk that fails, a file of somebody else."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/etc/hosts")

    monkeypatch.setattr(up.Up, "run", refuse)
    result = CliRunner().invoke(main, ["up", "--sandbox"])
    assert (result.exit_code, result.output) == (1, "dispatcher: /etc/hosts: Too many open files\n")


def test_the_marker_belongs_to_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the directory is written it is the same; another directory has another."""
    monkeypatch.chdir(tmp_path)
    assert StateDirectory(Path("state")).marker == StateDirectory(tmp_path / "state").marker
    assert StateDirectory(Path("other")).marker != StateDirectory(Path("state")).marker


def test_a_secret_is_written_whole_and_private(state: StateDirectory) -> None:
    """0600 whatever was there before; no draft is left."""
    path = state.path / "secret"
    path.write_text("an old and much longer one")
    path.chmod(0o644)
    state.write_secret(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert not path.with_suffix(".new").exists()


def test_a_second_lock_is_refused_by_name(state: StateDirectory, holder: subprocess.Popen[str]) -> None:
    """ConfigError names the directory and the process that has it; the holder keeps it."""
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"{state.path}: a dispatcher is already running there, pid {holder.pid}"):
            state.lock()
    assert (state.path / "up.lock").read_text() == str(holder.pid)


def test_a_dead_holder_holds_nothing(state: StateDirectory, holder: subprocess.Popen[str]) -> None:
    """SIGKILL frees the lock: no file has to be removed by hand. A shorter pid replaces the old one wholly."""
    holder.kill()
    holder.wait()
    (state.path / "up.lock").write_text("99999999999")
    state.lock()
    assert (state.path / "up.lock").read_text() == str(os.getpid())


def test_the_second_up_is_refused_before_anything_starts(
    state: StateDirectory, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2 and one sentence that names the first; nothing is reaped, started or written."""
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
    """HAProxy allows 27 characters with its own ending; 0700, again and again."""
    path = state.runtime_dir()
    path.chmod(0o755)
    assert state.runtime_dir() == path
    assert mode(path) == 0o700
    assert len(str(path / "h.cfg")) <= 27


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_a_foreign_thing_in_its_place_is_refused(state: StateDirectory, tmp_path: Path, kind: str) -> None:
    """/tmp belongs to everybody: a link or a file under that name is not followed, and ConfigError names it."""
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
    """Only those of this installation whose command line says so."""
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
    """The willing by SIGTERM, the unwilling by SIGKILL; those of another installation are left alone."""
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    started = []
    for marker, code in (("mine", "print(1, flush=True); input()"), ("mine", stubborn), ("mine2", "print(1); input()")):
        environment = {**os.environ, MARKER: marker, "PYTHONUNBUFFERED": "1"}
        words = [sys.executable, "-c", code]
        started.append(
            subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
    willing, unwilling, foreign = started
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        assert processes_of("mine").keys() == {willing.pid, unwilling.pid}
        assert reap("mine", patience_s=0.2) == 2
        assert (willing.wait(5), unwilling.wait(5)) == (-signal.SIGTERM, -signal.SIGKILL)
        assert foreign.poll() is None
        assert processes_of("mine") == {}
        assert reap("mine") == 0
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_a_free_port_lies_where_nobody_else_draws() -> None:
    """A free port lies below the kernel's range for outgoing connections and outside Ray's."""
    assert all(20_000 <= free_port() < 30_000 for _ in range(20))


def test_a_cleaner_of_tmp_finds_the_directory_locked(tmp_path: Path) -> None:
    """systemd-tmpfiles takes a lock on each directory before it cleans it by age, and spares those it does not get."""
    state = StateDirectory(tmp_path / "state")
    state.keep(tmp_path)
    cleaner = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(cleaner)
