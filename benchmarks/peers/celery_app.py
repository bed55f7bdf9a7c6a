"""Defines the benchmark's job for Celery, with the pool prefork or gevent.

The command of the worker is `celery -A benchmarks.peers.celery_app worker`.
"""

from __future__ import annotations

import celery
import requests
from requests.adapters import HTTPAdapter

from benchmarks.peers import job
from dispatcher.core.json_object import JsonObject

app = celery.Celery("peer", broker=f"redis+socket://{job.socket()}")
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
    # Ten by default: acknowledgements of 64 greenlets ran out of them and messages were sent twice.
    broker_transport_options={"max_connections": 4 * job.CONCURRENCY},
    worker_hijack_root_logger=False,
)
_session: requests.Session | None = None


def session() -> requests.Session:
    """Return the HTTP session of this process.

    The session is made at the first call. Celery forks its worker processes before that, so no two processes share a
    session. With gevent, all greenlets of a process share it.
    """
    global _session
    if _session is None:
        _session = requests.Session()
        _session.trust_env = False
        _session.mount("http://", HTTPAdapter(pool_maxsize=job.CONCURRENCY))
    return _session


@app.task(name="send")  # type: ignore[untyped-decorator]
def send(to: str, data: JsonObject) -> None:
    answer = session().post(job.url(), data=job.body(to, data), headers=job.HEADERS, timeout=job.TIMEOUT_S)
    job.check(answer.status_code, answer.content)


def fill(count: int) -> None:
    for to, data in job.messages(count):
        send.delay(to, data)
