"""Defines the benchmark's job for Dramatiq.

The command of the worker is `dramatiq benchmarks.peers.dramatiq_app -p 1 -t 64`.
"""

from __future__ import annotations

import dramatiq
import requests
from dramatiq.brokers.redis import RedisBroker
from requests.adapters import HTTPAdapter

from benchmarks.peers import job
from dispatcher.core.json_object import JsonObject

broker = RedisBroker(url=f"unix://{job.socket()}")
dramatiq.set_broker(broker)
_session = requests.Session()
_session.trust_env = False
_session.mount("http://", HTTPAdapter(pool_maxsize=job.CONCURRENCY))


@dramatiq.actor(queue_name="send")  # type: ignore[untyped-decorator]
def send(to: str, data: JsonObject) -> None:
    answer = _session.post(job.url(), data=job.body(to, data), headers=job.HEADERS, timeout=job.TIMEOUT_S)
    job.check(answer.status_code, answer.content)


def fill(count: int) -> None:
    for to, data in job.messages(count):
        send.send(to, data)
