"""Questions to a store that come together share one round trip, as accepts do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from dispatcher.errors import UnavailableError

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Grouped(Generic[Asked, Answer]):
    """Collects questions while a round trip runs, and sends all of them in the next round trip."""

    def __init__(
        self, ask: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]], *, most: int, deadline_s: float
    ) -> None:
        """Prepare. `ask` makes a round trip for up to `most` questions, and answers them in their order."""
        self._ask_all, self._most, self._deadline_s = ask, most, deadline_s
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def ask(self, question: Asked) -> Answer:
        """Return the answer. Raises UnavailableError if none comes within the deadline."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._send())
        try:
            return await asyncio.wait_for(future, self._deadline_s)
        except asyncio.TimeoutError:
            raise UnavailableError("the store is too slow") from None

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            batch = [(question, future) for question, future in batch if not future.done()]
            if not batch:
                continue
            try:
                answers = await asyncio.wait_for(self._ask_all([question for question, _ in batch]), self._deadline_s)
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
            except Exception as error:  # whatever failed, the requests of the batch must not wait forever
                _fail(batch, error)


def _fail(batch: Sequence[tuple[Asked, asyncio.Future[Answer]]], error: Exception) -> None:
    told = error if isinstance(error, UnavailableError) else UnavailableError(f"no answer: {type(error).__name__}")
    for _, future in batch:
        if not future.done():
            future.set_exception(told)
        with contextlib.suppress(asyncio.CancelledError):
            future.exception()  # otherwise asyncio logs "never retrieved" for a client that left
