"""Gives one haproxy its certificate, and a new certificate when the files change.

The HAProxy wrapper runs this, with the standard library only.

The variables `VARIABLES` say where the certificate is. `dispatcher up` and `dispatcher node prepare` set them from the
section `tls` of the configuration. Without them HAProxy speaks plain HTTP.

- HAProxy never reads the operator's files. It reads a copy (`Edge.copy`) beside Serve's configuration file. The copy
  has the newest chain and key that belong together and can be used. So a bad file cannot stop a haproxy that Serve
  starts again.
- The files are looked at each second. When they have changed and then rested for a second, another process checks them
  (`cluster.local.certificate_check`). It writes a draft of the copy beside it.
- If the chain and the key can be used, they go into the running haproxy by its admin socket. No connection is closed
  and none is refused. Then the draft becomes the copy.
- If the chain and the key cannot be used, nothing changes. The reason is logged, and /healthz and /metrics show it. The
  files are checked again each minute, because a certificate may be valid only from a later time.

HAProxy adds the header `HEADER` to the requests for /healthz and /metrics. The header says until when the certificate
of this machine is valid, and whether a newer certificate was refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

CERTIFICATE = "DISPATCHER_TLS_CERTIFICATE"
KEY = "DISPATCHER_TLS_KEY"
PORT = "DISPATCHER_TLS_PORT"
VERSION_MIN = "DISPATCHER_TLS_VERSION_MIN"
VARIABLES = (CERTIFICATE, KEY, PORT, VERSION_MIN)

HEADER = "x-dispatcher-certificate"
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    ":ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""The ciphers of TLS 1.2 that have forward secrecy and authenticate what they encrypt (Mozilla's "intermediate" list).

HAProxy's own list also has ciphers without them. Those of TLS 1.3 all have both.
"""

LOOK_S = 1.0
AGAIN_S = 60.0
"""After how many seconds a refused pair is checked again although its files have not changed."""
CHECK_S_MAX = 60.0


class Edge:
    """Keeps the TLS certificate of one haproxy up to date.

    `path` is haproxy's configuration file. The files that this class makes lie beside it.
    """

    def __init__(self, path: str, environment: Mapping[str, str] = os.environ) -> None:
        self._files = [name for name in (environment[CERTIFICATE], environment.get(KEY, "")) if name]
        self._port = environment.get(PORT) or "8443"
        self._version = environment.get(VERSION_MIN) or "1.2"
        self.copy = f"{path}.pem"
        self.draft = f"{path}.pem.{os.getpid()}"
        self.map = f"{path}.map.{os.getpid()}"
        self._told = ""
        self._in_force = ""
        self._looked = self._checked = ""
        self._next_s = self._again_s = float("-inf")
        self._check: subprocess.Popen[bytes] | None = None
        self._fits = False  # the draft waits for a haproxy that answers
        self._untold = False  # the map of a running haproxy is older than ours

    # ---- before haproxy starts

    def prepare(self) -> str | None:
        """Make two files that haproxy reads at its start: the copy of the certificate, and the map for the header.
        Return None.

        If the operator's files do not fit together, an earlier copy is used. If there is no earlier copy, return a
        sentence that says what is wrong.
        """
        now = self._stamp()
        if self._of_copy("stamp") != now:
            self._begin_check(now)
            fault = self._end_check(CHECK_S_MAX)
            if fault is None:
                os.replace(self.draft, self.copy)
            elif not self._of_copy("stamp"):
                return fault
            else:
                self._refuse(fault)
        self._in_force, self._looked, self._checked = self._of_copy("stamp"), now, now
        self._write_map()
        return None

    def listener(self, host: str) -> str:
        """Return the line of the configuration with which HAProxy listens at `host` by HTTPS."""
        place = {"0.0.0.0": f"*:{self._port}", "::": f":::{self._port} v4v6"}.get(host, f"{host}:{self._port}")
        how = f"alpn http/1.1 ssl-min-ver TLSv{self._version} ciphers {CIPHERS} no-tls-tickets"
        return f"    bind {place} ssl crt {self.copy} {how}\n"

    def telling(self) -> str:
        """Return the line of HAProxy's configuration that adds `HEADER` to a request. By this header intake knows the
        state of the certificate.
        """
        return f"    http-request set-header {HEADER} %[str(now),map_str({self.map})] if {{ path /healthz /metrics }}\n"

    # ---- while haproxy runs

    def look(self, ask: Callable[[bytes], bytes], now_s: float) -> None:
        """Take the next step of an update: look at the operator's files, check them, or give haproxy the checked pair.

        `ask` sends a command to haproxy's admin socket and returns the answer. `ask` raises OSError if haproxy does not
        answer, for example while it is started again. Then a later call gives haproxy the pair.
        """
        if now_s < self._next_s:
            return
        self._next_s = now_s + LOOK_S
        if self._check is not None:
            if self._check.poll() is None:
                return
            self._again_s = now_s + AGAIN_S
            fault = self._end_check(0)
            self._fits = fault is None
            if fault is not None:
                self._refuse(fault, ask)
        if self._untold:
            self._tell_intake(ask)
        if self._fits:
            with contextlib.suppress(OSError):
                self._give(ask)
            return
        stamp, before = self._stamp(), self._looked
        self._looked = stamp
        if stamp == self._in_force or stamp != before:  # nothing is new, or somebody still writes
            return
        if stamp != self._checked or now_s >= self._again_s:
            self._begin_check(stamp)

    def _give(self, ask: Callable[[bytes], bytes]) -> None:
        fault = self._hand_over(ask)
        self._fits = False
        if fault is not None:
            self._refuse(fault, ask)
            return
        os.replace(self.draft, self.copy)
        self._in_force, self._told = self._of_copy("stamp"), ""
        event("info", "certificate_replaced", until=_moment(self._of_copy("ends_s")))
        self._tell_intake(ask)

    def _tell_intake(self, ask: Callable[[bytes], bytes]) -> None:
        self._write_map()  # for a haproxy that is started again
        self._untold = True
        with contextlib.suppress(OSError):
            ask(f"set map {self.map} now {self._value()}\n".encode())
            self._untold = False

    def _hand_over(self, ask: Callable[[bytes], bytes]) -> str | None:
        """Send the draft of the certificate's copy to the running haproxy by its admin socket. Return None if haproxy
        uses it.

        If haproxy refuses the draft, return a sentence that says so. haproxy then keeps its old certificate.
        """
        with open(self.draft, "rb") as file:
            pem = file.read().partition(b"\n")[2]
        name = self.copy.encode()
        ask(b"set ssl cert " + name + b" <<\n" + pem + b"\n")
        said = ask(b"commit ssl cert " + name + b"\n")
        if b"Success" in said:
            return None
        ask(b"abort ssl cert " + name + b"\n")
        return f"HAProxy refuses it: {' '.join(said.decode(errors='replace').split())[:200]}"

    def _refuse(self, fault: str, ask: Callable[[bytes], bytes] | None = None) -> None:
        if fault != self._told:
            event("warning", "certificate_refused", reason=fault, until=_moment(self._of_copy("ends_s")))
        self._told = fault
        if ask is not None:
            self._tell_intake(ask)

    # ---- the check, in another process

    def _begin_check(self, stamp: str) -> None:
        self._checked = stamp
        command = [sys.executable, "-I", "-m", "cluster.local.certificate_check", self.draft, stamp, *self._files]
        pipe = subprocess.PIPE
        self._check = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT)

    def _end_check(self, patience_s: float) -> str | None:
        """Wait at most `patience_s` seconds until the process that checks the certificate ends. With 0, the process has
        ended already.

        Return None if the certificate and the key fit. Otherwise return a sentence that says what does not fit, or why
        the check failed.
        """
        assert self._check is not None, "a check has begun"
        check, self._check = self._check, None
        try:
            said = check.communicate(timeout=patience_s or None)[0].decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            check.kill()
            check.communicate()
            return f"the check took longer than {patience_s:g} s"
        if check.returncode == 0:
            return None
        return said.splitlines()[-1] if said else f"the check ended with {check.returncode}"

    # ---- files

    def _stamp(self) -> str:
        """Return a text that changes whenever one of the files is changed or replaced.

        If a file is a symbolic link, the file to which it leads counts.
        """
        found = []
        for path in self._files:
            try:
                of = os.stat(path)
                found.append(f"{of.st_dev}/{of.st_ino}/{of.st_size}/{of.st_mtime_ns}/{of.st_ctime_ns}")
            except OSError as error:
                found.append(f"errno {error.errno}")
        return " ".join([*self._files, *found])

    def _of_copy(self, field: str) -> str:
        """Return a field from the first line of the file `copy`, which holds the certificate that haproxy uses.

        Return "" if there is no such file, or if another user could have written it.
        """
        try:
            with open(os.open(self.copy, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                of = os.fstat(file.fileno())
                if of.st_uid != os.getuid() or stat.S_IMODE(of.st_mode) & 0o077:
                    return ""  # not written by us: whoever else wrote it chose the key
                return str(json.loads(file.readline().removeprefix(b"# "))[field])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _write_map(self) -> None:
        with contextlib.suppress(OSError), open(self.map, "w") as file:
            file.write(f"now {self._value()}\n")

    def _value(self) -> str:
        return f"{self._of_copy('ends_s')},{'refused' if self._told else 'current'}"


def event(level: str, name: str, **fields: str) -> None:
    """Write a log event to stderr, in the form in which actors write theirs."""
    moment = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(json.dumps({**fields, "event": name, "level": level, "timestamp": moment}) + "\n")
        sys.stderr.flush()


def _moment(seconds: str) -> str:
    if not seconds:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(float(seconds)))
