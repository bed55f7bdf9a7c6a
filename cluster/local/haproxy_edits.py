"""Edits the configuration that Ray renders for HAProxy. The wrapper of haproxy (`cluster.local.haproxy_wrapper`) uses
this module, which needs only the standard library.

The edits are:

- metrics and statistics listen on loopback, and only the user that runs HAProxy may command it by its admin socket;
- a client that sends its headers slowly meets a deadline;
- a request without a path (CONNECT) gets 400;
- while no route exists yet, the answer is 503 instead of 404;
- while no intake replica runs, Serve's own proxy answers 404, and HAProxy changes this 404 into a 503,
  because callers do not try again after a 404;
- Ray's error files are removed, so that a 503 stays a 503, and each 503 has `Retry-After`;
- a replica gets `REPLICA_REQUESTS_MAX` requests at a time, and the others wait in HAProxy for a second at most. So a
  replica does not work on requests whose callers have left. Questions go before posts in this queue;
- HAProxy gets no more connections than its limit of open files allows (`fitting`);
- while the service stops, the answers say so (`STOP_RULES`, `cluster.local.door`);
- HAProxy listens at the address in the environment variable `DISPATCHER_BIND`. Without this edit it would
  listen where Serve's replicas listen, on loopback;
- HAProxy keeps the replicas that it knew when Serve names none (`keeping`);
- HAProxy marks each request with the id of the installation, from `DISPATCHER_INSTALLATION`. When a replica
  has died, a replica of another installation may get its port. The other replica sees our mark, and refuses.

With a certificate, HAProxy listens at the given address by HTTPS. It also listens by plain HTTP, on loopback only.

If the pattern of an edit matches nothing, the edit is left out, and the wrapper names this edit on stderr. The edits in
`VITAL` protect the service from others in the network and on the machine. If the wrapper cannot make one of them, it
refuses to start. A test renders Ray's template and checks each edit.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Mapping

from cluster.local.haproxy_tls import Edge

BIND = "DISPATCHER_BIND"
INSTALLATION = "DISPATCHER_INSTALLATION"
FRONT = r"(frontend http_frontend\n *bind )(\S+):(\d+)( *\n)"
NO_PATH = """    http-request return status 400 content-type application/problem+json string \
'{"type":"about:blank","title":"The request is malformed","status":400,"detail":"it has no path"}' if !{ path -m beg / }
"""
NO_INTAKE = """    http-response return status 503 content-type application/problem+json hdr Retry-After 1 string \
'{"type":"about:blank","title":"Try again with the same idempotency key","status":503,"detail":"no intake runs"}' \
if { status 404 } { res.hdr(content-type) -m beg text/plain }
"""
RETRY_AFTER = """    http-after-response set-header retry-after 1 if { status 503 } !{ res.hdr(retry-after) -m found }
"""
QUESTIONS_FIRST = """    http-request set-priority-class int(-1) if METH_GET
"""
BUSY = """    http-error status 503 content-type application/problem+json hdr Retry-After "%[rand(3),add(1)]" string \
'{"type":"about:blank","title":"Try again with the same idempotency key","status":503,"detail":"no intake is free"}'
"""
STOP_RULES = r"""    acl stop_unready str(unready) -m str -f STOP_FILE
    acl stop_unhealthy str(unhealthy) -m str -f STOP_FILE
    acl stop_closed str(closed) -m str -f STOP_FILE
    http-after-response set-header connection close if stop_unready
    http-request return status 503 content-type application/json hdr Retry-After 1 string \
'{"status":"not ready","reason":"stopping"}' if stop_unready { path /readyz }
    http-request return status 503 content-type text/plain string "stopping" if stop_unhealthy { path /-/healthz }
    http-request wait-for-body time 1s if stop_closed METH_POST { path_beg /v1/ }
    http-request return status 503 content-type application/problem+json hdr Retry-After 1 string \
'{"type":"about:blank","title":"Try again with the same idempotency key","status":503,"detail":"stopping"}' \
if stop_closed !METH_GET { path_beg /v1/ }
"""

REPLICA_REQUESTS_MAX = 100
"""The most requests that HAProxy gives to one replica at the same time.

Serve would give a replica 1,000. A small machine accepts 130 a second with each, so the last of them would wait for
eight seconds, and its caller leaves after three and comes again. The settings of intake must let it grow before this
number is reached (`dispatcher.config.settings`).
"""

QUEUE_S = 1
"""How long a request waits in HAProxy for a replica, in seconds, before it is answered 503."""

EDITS: tuple[tuple[str, str, str], ...] = (
    ("metrics on loopback", r"bind :(\d+)", r"bind 127.0.0.1:\1"),
    ("the admin socket is private", r"(stats socket \S+ mode )666", r"\g<1>600"),
    ("statistics on loopback", r"bind \*:(\d+)(\n\s*stats enable)", r"bind 127.0.0.1:\1\2"),
    (
        "what waits is bounded",
        r"( *timeout client .*\n)",
        rf"\1    timeout queue {QUEUE_S}s\n    default-server maxconn {REPLICA_REQUESTS_MAX}\n",
    ),
    ("header deadline", r"( *timeout client .*\n)", r"\1    timeout http-request 3s\n"),
    ("no path is 400", FRONT, r"\1\2:\3\4" + NO_PATH.replace("\\\n", "")),
    ("no intake is 503", FRONT, r"\1\2:\3\4" + NO_INTAKE.replace("\\\n", "")),
    ("503 says when", FRONT, r"\1\2:\3\4" + RETRY_AFTER),
    ("questions go first", FRONT, r"\1\2:\3\4" + QUESTIONS_FIRST),
    ("busy is a problem", FRONT, r"\1\2:\3\4" + BUSY.replace("\\\n", "")),
    ("no route yet is 503", r"http-request return status 404 ", r"http-request return status 503 "),
    ("503 stays 503", r" *errorfile 50[234] .*\n", r""),
)
VITAL = (
    *("metrics on loopback", "the admin socket is private", "statistics on loopback"),
    *("the address to listen on", "requests are marked"),
)
CONNECTIONS = re.compile(r"^( *maxconn )(\d+)$", re.MULTILINE)
BACKEND = re.compile(r"^backend (\S+)\n((?:(?!\S).*\n)*)", re.MULTILINE)
REPLICA = re.compile(r"^ +server (?!.* backup$).*\n", re.MULTILINE)
REPLICAS_BEGIN = "    # Servers in this backend\n"
OWN_FILES = 300


def own_edits(environment: Mapping[str, str], edge: Edge | None = None) -> tuple[tuple[str, str, str], ...]:
    """Return the edits of HAProxy's configuration that are different for each installation.

    The edits add the installation's id to each request, and set the address to listen on. With `edge` they also set the
    certificate.
    """
    found = []
    if installation := environment.get(INSTALLATION, ""):
        mark = f"    http-request set-header x-dispatcher-installation {installation}\n"
        found.append(("requests are marked", FRONT, rf"\1\2:\3\4{mark}"))
    host = environment.get(BIND, "")
    if edge is not None:
        listener = edge.listener(host or r"\2") + edge.telling()
        found.append(("the address to listen on", FRONT, rf"\g<1>127.0.0.1:\3\4{listener}"))
    elif host:
        place = {"0.0.0.0": r"*:\3", "::": r":::\3 v4v6"}.get(host, rf"{host}:\3")
        found.append(("the address to listen on", FRONT, rf"\g<1>{place}\4"))
    return tuple(found)


def stop_edits(signs: str) -> tuple[tuple[str, str, str], ...]:
    """Return the edit that adds the rules for stopping to HAProxy's configuration.

    `signs` is the path of the stop file, in which these rules look for signs (`cluster.local.door`).
    """
    rules = STOP_RULES.replace("\\\n", "").replace("STOP_FILE", signs.replace("\\", r"\\"))
    return (("stopping is said", FRONT, rf"\1\2:\3\4{rules}"),)


def edited(
    text: str, environment: Mapping[str, str] = os.environ, edge: Edge | None = None, *, signs: str = ""
) -> tuple[str, list[str]]:
    """Return the configuration `text` with every edit made, and the names of the edits whose pattern was not found.

    `signs` is the path of the stop file. If it is empty, the rules about stopping the service are left out.
    """
    missed = []
    for name, pattern, replacement in (*EDITS, *(stop_edits(signs) if signs else ()), *own_edits(environment, edge)):
        text, count = re.subn(pattern, replacement, text)
        if count == 0:
            missed.append(name)
    return text, missed


def keeping(text: str, before: str) -> str:
    """Return the configuration `text`. Where a backend has no replica, it gets the replicas of the configuration
    `before`.

    A new controller of Serve asks every replica whether it runs. Ten seconds later it names the replicas that have
    answered until then, and on a slow cluster these are none. HAProxy would then refuse every caller, although all
    replicas serve. Kept replicas do no harm: HAProxy looks whether each of them answers, and a replica of another
    application refuses.
    """
    known = {name: "".join(REPLICA.findall(body)) for name, body in BACKEND.findall(before)}

    def kept(found: re.Match[str]) -> str:
        replicas = "" if REPLICA.search(found[2]) else known.get(found[1], "")
        return found[0].replace(REPLICAS_BEGIN, REPLICAS_BEGIN + replicas)

    return BACKEND.sub(kept, text)


def fitting(text: str, open_files: int) -> str:
    """Return the configuration `text` with no more connections than HAProxy can have on this machine.

    `open_files` is the hard limit of open files of a process. HAProxy needs two file descriptors for each connection.
    For every four connections it needs two more (the pipe of `option splice-request`), and it needs some for itself. If
    HAProxy cannot have all of them, it ends, unless it runs as root and raises the limit. Ray's default configuration
    needs 12,537 descriptors. A container or an older Linux often allows only 1,024 or 4,096.

    The limit of the machine on which HAProxy runs is what counts. So the number of connections is lowered here, and not
    when the node is prepared.
    """
    if open_files == resource.RLIM_INFINITY:
        return text
    room = max(2 * (open_files - OWN_FILES) // 5, 1)
    return CONNECTIONS.sub(lambda found: f"{found[1]}{min(int(found[2]), room)}", text)
