"""A patient pool tells the `Retry-After` of the answer in hand, and notices a refused connection."""

from __future__ import annotations

import asyncio

from benchmarks.patience import PatientPool
from cluster.local.state_directory import free_port
from tests.processes.test_load import Server, answer


def test_the_pool_tells_the_retry_after_of_the_answer_in_hand() -> None:
    """After an answer without the header, and after a connection that was refused, the pool tells 0."""
    answers = {
        1: answer(503, b"{}", "Retry-After: 2\r\n"),
        2: answer(202, b"{}"),
        3: answer(503, b"{}", "Retry-After: 7\r\n"),
    }

    async def run() -> list[tuple[int, float]]:
        async with Server(lambda key, n: answers.get(n)) as server:
            pool, away = PatientPool(server.url), PatientPool(f"http://127.0.0.1:{free_port()}")
            seen = []
            for asked in (pool, pool, pool, pool, away):
                found: asyncio.Future[tuple[int, float]] = asyncio.get_running_loop().create_future()
                asked.retry_after_s = 9.0
                asked.post(REQUEST, 3.0, lambda status, _, p=asked, f=found: f.set_result((status, p.retry_after_s)))  # type: ignore[misc]
                seen.append(await found)
            assert server.connections == 1
            pool.close()
        return seen

    assert asyncio.run(run()) == [(503, 2.0), (202, 0.0), (503, 7.0), (0, 0.0), (0, 0.0)]


BODY = b'{"recipient": {"id": "k"}}'
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
