"""Checks that workers which are forked from a fork server are like ordinary ones.

After the end of any process, each wanted worker exists, and no other.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shlex
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.local import worker_forks, worker_launcher
from cluster.local.worker_forks import WORKER_COMMAND, WorkerForks, worker_script
from tests.chaos.forks_stand import Stand, Worker, alive, until
from tests.leftovers import short_folder

pytestmark = [pytest.mark.chaos, pytest.mark.long]
THREAD = "threading.Thread(target=time.sleep, args=(99,), daemon=True).start()"


@pytest.fixture
def stand() -> Iterator[Stand]:
    found = Stand(short_folder())
    yield found
    found.end()


def odd() -> None:
    """Change what the raylet may change in a process before it starts a worker: group, priority, umask, signals and
    limits.
    """
    os.setpgid(0, 0)
    os.nice(3)
    os.umask(0o27)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("700")


def plain() -> None:
    """Leave the process as it is. The tests use `plain` and `odd` as two ways to prepare a process."""


@pytest.mark.parametrize("prepare", [plain, odd])
def test_a_forked_worker_is_like_an_ordinary_one(stand: Stand, prepare: Callable[[], None], tmp_path: Path) -> None:
    """A worker that the fork server makes and an ordinary worker are started in the same way.

    They have the same command line, environment, folder, limits, signals and priority. Only the forked worker has
    modules already imported.
    """
    options: dict[str, Any] = {"cwd": tmp_path, "preexec_fn": prepare, "env": {"ODD": "ä=b\n", "EMPTY": ""}}
    forked = stand.launch(**options)
    seen = [forked.began()]
    stand.server.kill()
    stand.server.wait()
    ordinary = stand.launch(**options)
    seen.append(ordinary.began())
    assert [found.pop("preloaded") for found in seen] == [True, False]
    assert seen[0].pop("pid") != forked.launcher.pid
    assert seen[1].pop("pid") == ordinary.launcher.pid
    for found, worker in zip(seen, (forked, ordinary), strict=True):
        assert found.pop("argv") == [str(stand.script), str(worker.base)]
    assert len(seen[0].pop("files")) - len(seen[1].pop("files")) == 1  # the pipe that says when it has registered
    assert seen[0] == seen[1]
    for worker in (forked, ordinary):
        worker.tell("register")
        worker.tell("end")
    assert forked.launcher.stdout is not None
    assert forked.launcher.stdout.readline() == "said by the worker\n"


def test_the_launcher_ends_when_the_worker_has_registered(stand: Stand) -> None:
    """The launcher exits with 0 as soon as its worker has registered with Ray, and the worker continues."""
    worker = stand.launch()
    pid = worker.began()["pid"]
    assert worker.launcher.poll() is None
    worker.register()
    assert worker.launcher.wait(60) == 0
    other = stand.launch().began()["pid"]  # the server has seen the launcher's end
    assert alive(pid)
    assert alive(other)


def test_a_launcher_that_is_killed_takes_its_worker_along(stand: Stand) -> None:
    """If a launcher is killed before its worker has registered, the fork server ends this worker and no other.

    Ray starts the launcher, and kills it if the worker does not register in time. Ray does not know the worker itself
    yet.
    """
    worker, other = stand.launch(), stand.launch()
    pids = [worker.began()["pid"], other.began()["pid"]]
    worker.launcher.kill()
    until(lambda: not alive(pids[0]))
    assert alive(pids[1])
    other.register()


def test_a_worker_that_is_killed_ends_its_launcher(stand: Stand) -> None:
    """If a worker is killed before it has registered, its launcher ends, and the server continues."""
    worker = stand.launch()
    os.kill(worker.began()["pid"], signal.SIGKILL)
    worker.launcher.wait(60)
    stand.launch().began()
    assert stand.server.poll() is None


@pytest.mark.parametrize("ended", ["killed", "told"])
def test_workers_outlive_the_server(stand: Stand, ended: str) -> None:
    """The fork server ends. A worker that is registered with Ray continues, and a worker that is not can still
    register.
    """
    working, born = stand.launch(), stand.launch()
    working.began()
    working.register()
    pids = [working.began()["pid"], born.began()["pid"]]
    if ended == "killed":
        stand.server.kill()
    else:
        assert stand.server.stdin is not None
        stand.server.stdin.close()
    stand.server.wait(60)
    born.launcher.wait(60)
    born.register()
    assert all(alive(pid) for pid in pids)


def _told(worker: Worker) -> list[str]:
    worker.tell("register")
    worker.tell("end")
    assert worker.launcher.wait(60) == 3
    assert worker.launcher.stderr is not None
    return worker.launcher.stderr.read().splitlines()


def test_without_a_server_a_worker_starts_in_the_ordinary_way(stand: Stand) -> None:
    """Without a fork server the launcher itself becomes the worker, and one line on stderr says why."""
    stand.server.kill()
    stand.server.wait()
    worker = stand.launch()
    assert worker.began()["pid"] == worker.launcher.pid
    (line,) = _told(worker)
    assert "without the fork server" in line


@pytest.mark.parametrize(
    ("first", "then", "env", "why"),
    [
        (f"import threading, time; {THREAD}", "", {}, "threads"),
        ("", "nowhere.found", {}, "nowhere.found cannot be imported"),
        ("import ray; ray.ObjectID.from_random()", "", {}, "would draw the same ids"),
        ("", "", {"RAY_JOB_ID": "02000000"}, "RAY_JOB_ID is not what it was"),
    ],
)
def test_what_a_fork_cannot_give_is_refused(first: str, then: str, env: dict[str, str], why: str) -> None:
    """The fork server refuses a fork that would not be like a worker that Ray starts. The launcher then becomes the
    worker itself, and prints one line with the reason.

    The reasons are a module that is missing, that has started a thread, or that has drawn Ray ids, and an environment
    variable that is read at import and has changed since.
    """
    stand = Stand(short_folder(), first, then or "ray._private.worker")
    try:
        if env:
            stand.launch(env={"RAY_JOB_ID": "01000000"}).began()
        worker = stand.launch(env=env)
        assert worker.began()["pid"] == worker.launcher.pid
        (line,) = _told(worker)
        assert why in line
    finally:
        stand.end()


def test_a_worker_waits_until_its_launcher_has_heard_of_it(stand: Stand) -> None:
    """A launcher has the server fork a worker and closes the connection before it sends "go". The forked worker ends.

    Such a launcher becomes a worker itself, so the forked process would be a second worker with the same name.
    """
    base = stand.folder / "unheard"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as launcher:
        launcher.connect(f"\0{stand.name}")
        command = [str(stand.script), str(base)]
        body = json.dumps(
            {"command": command, "inherited": worker_launcher.inherited(), "environment": stand.environment}
        ).encode()
        socket.send_fds(launcher, [struct.pack("!I", len(body))], [0, 1, 2])
        launcher.sendall(body)
        pid = int(launcher.recv(100).split()[1])
        assert alive(pid)
    until(lambda: not alive(pid))
    assert not Path(f"{base}.began").exists()
    assert stand.launch(env={}).began()["preloaded"]


def test_the_switch_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """With DISPATCHER_FORK_WORKERS=0, no fork server is started, and the raylet gets Ray's own command for workers."""
    monkeypatch.setenv(worker_forks.SWITCH, "0")
    forks = WorkerForks("forks-under-test")
    forks.start()
    command = ["raylet", f"{WORKER_COMMAND}python default_worker.py"]
    assert forks.command(command) == command
    forks.mend(0.0)
    forks.stop()
    assert not forks.listens()


def test_a_server_that_has_ended_is_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fork server that has ended is started again after `MEND_S` seconds under the same name, and one line says
    so.
    """
    monkeypatch.delenv(worker_forks.SWITCH, raising=False)
    monkeypatch.setenv(worker_forks.PRESTART, "1")
    monkeypatch.setenv(worker_forks.REGISTER, "60")
    monkeypatch.setattr(worker_forks, "FIRST", ("json",))
    forks = WorkerForks("forks-under-test")
    forks.start()
    try:
        until(forks.listens)
        forks.mend(0.0)
        forks.kill()
        until(lambda: not forks.listens())
        for now_s in (1.0, 2.0, 1.0 + worker_forks.MEND_S - 0.1):
            forks.mend(now_s)
        assert not forks.listens()
        forks.mend(1.0 + worker_forks.MEND_S)
        until(forks.listens)
    finally:
        forks.stop()
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", [*worker_forks.FIRST, *worker_forks.THEN])
def test_what_the_server_imports_is_there(name: str) -> None:
    """Each module that the fork server imports exists. If one is missing, the server forks no worker."""
    assert importlib.util.find_spec(name) is not None


def test_workers_of_the_pinned_ray_are_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server can fork a worker of the pinned Ray.

    A new version may break that, for example by a thread started at import.
    """
    monkeypatch.delenv(worker_forks.SWITCH, raising=False)
    monkeypatch.setenv(worker_forks.PRESTART, "1")
    monkeypatch.setenv(worker_forks.REGISTER, "60")
    forks = WorkerForks("forks-under-test")
    script = worker_script()
    assert script is not None
    forks.start()
    try:
        ours = forks.command([f"{WORKER_COMMAND}{sys.executable} {script} --help"])[0].removeprefix(WORKER_COMMAND)
        until(forks.listens)
        found = subprocess.run(shlex.split(ours), capture_output=True, text=True, check=True)
    finally:
        forks.stop()
    assert (found.stderr, found.stdout.split()[1]) == ("", "default_worker.py")
