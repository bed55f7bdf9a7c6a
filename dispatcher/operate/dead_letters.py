"""Operators' work on dead letters: list, redrive and discard, a limited number in each call.

One call looks at no more than `EXAMINED_MAX` letters, and changes no more than its limit allows. The cursor that it
returns says where the next call continues. So no call occupies the store or a connection for long, and a bulk redrive
that was interrupted continues from its last cursor. A repeated call changes nothing twice. The store leaves a letter
unchanged if the letter was redriven or discarded, or has died again, after the call had read it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from dispatcher.core.life.dead_letter import DeadLetter, DeadLetterFilter, DeadPosition
from dispatcher.core.life.redrive import Cursor, Go, Refused, decide_redrive, is_named
from dispatcher.core.plan.values import Plan
from dispatcher.errors import CallerError
from dispatcher.operate.redrive_updates import Changed, RedriveUpdates, Wanted
from dispatcher.ports import DeadLetterQueue, Redriven

PAGE = 200
"""How many letters are read in one round trip.

That takes some milliseconds of Redis, and accepts are served in between.
"""

EXAMINED_MAX = 5_000
"""How many letters one call looks at. So it answers within a second even if none matches, and is then called again."""


EVER_MS = 10**15 - 1

AS_ACCEPTED = Wanted()


@dataclass(slots=True)
class BulkResult:
    """The result of one call of `redrive` or `discard`.

    Attributes:
        count: how many letters were changed, or would be changed with `dry_run`.
        matched: how many letters matched the filter.
        refused: how many letters were left as they are, by reason.
        cursor: where the next call continues; None at the end.
        wait_s: the seconds until the pace allows more; 0 means that more may follow at once.
    """

    count: int = 0
    matched: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    cursor: str | None = None
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The decision about one dead letter: in which mailbox it is tried again or why it stays, and what of it is
    changed.
    """

    go: Go | Refused
    priority: str
    ttl_ms: int
    changed: Changed


@dataclass(slots=True)
class _Stretch:
    """Some letters in order, and the position before the first letter.

    `before(index)` is the position from which a later call continues with the letter at `index`.
    """

    letters: list[DeadLetter]
    start: DeadPosition

    def before(self, index: int) -> DeadPosition:
        return _position(self.letters[index - 1]) if index else self.start


class DeadLetters:
    """The operations on the dead letters. `plan` returns the current plan, and is called for each page."""

    def __init__(
        self,
        queue: DeadLetterQueue,
        known: Callable[[str], bool],
        plan: Callable[[], Plan],
        *,
        per_s: float,
        slow_per_s: float,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        updates: RedriveUpdates | None = None,
    ) -> None:
        self._queue, self._known, self._plan, self._wall_ms = queue, known, plan, wall_ms
        self._per_s, self._slow_per_s, self._updates = per_s, slow_per_s, updates

    async def listing(self, wanted: DeadLetterFilter, cursor: str | None) -> tuple[list[DeadLetter], str | None]:
        """Return the next letters that match, the oldest first, and the cursor with which the next call continues.

        There are at most `wanted.limit` letters. The cursor is None at the end of the list.
        """
        letters: list[DeadLetter] = []

        async def keep(stretch: _Stretch, _: BulkResult) -> DeadPosition | None:
            letters.extend(stretch.letters)
            return None

        wanted = replace(wanted, until_ms=wanted.until_ms or EVER_MS)
        result = await self._each_page(wanted, cursor, keep)
        return letters, result.cursor

    async def discard(self, wanted: DeadLetterFilter, cursor: str | None, dry_run: bool) -> BulkResult:
        """End the next letters that match, at most `wanted.limit` of them, so that they can never be redriven.

        With `dry_run`, only count them.
        """

        async def discard(stretch: _Stretch, result: BulkResult) -> DeadPosition | None:
            result.matched += len(stretch.letters)
            result.count += len(stretch.letters) if dry_run else await self._queue.discard(stretch.letters)
            return None

        return await self._each_page(wanted, cursor, discard)

    async def redrive(
        self, wanted: DeadLetterFilter, cursor: str | None, dry_run: bool, *, today: Wanted = AS_ACCEPTED
    ) -> BulkResult:
        """Redrive the next letters that match, at most `wanted.limit`, each as a new generation.

        With `dry_run`, only count them. `core.life.redrive` sets the pace. When the pace allows no more letters, the
        call stops, and the cursor is before the first letter that has to wait.

        `today` says whether a letter gets the present template or route instead of those with which it was accepted.
        The letter then keeps the new ones, also when it is redriven again. A letter that cannot be sent with the new
        ones is refused.
        """

        async def redrive(stretch: _Stretch, result: BulkResult) -> DeadPosition | None:
            return await self._redrive(stretch, await self._verdicts(stretch.letters, wanted, today), dry_run, result)

        return await self._each_page(wanted, cursor, redrive)

    async def _each_page(
        self,
        wanted: DeadLetterFilter,
        cursor: str | None,
        act: Callable[[_Stretch, BulkResult], Awaitable[DeadPosition | None]],
    ) -> BulkResult:
        """Call `act` for each page of matching letters, up to the limit.

        `act` adds to the result, which is returned at the end with the cursor for the next call. `act` returns the
        position at which to stop, or None to go on.
        """
        until_ms, after = await self._bounds(wanted, cursor)
        wanted, result, left = replace(wanted, until_ms=until_ms), BulkResult(), wanted.limit
        for _ in range(EXAMINED_MAX // PAGE):
            page = await self._queue.dead_page(wanted, after, PAGE)
            stretch = _Stretch(page.letters[:left], after or DeadPosition(0, ""))
            stop = await act(stretch, result)
            left -= len(stretch.letters)
            cut = len(stretch.letters) < len(page.letters)
            if stop is None and not cut and page.last is None:
                return result
            after = stop or (_position(stretch.letters[-1]) if cut else page.last)
            if stop is not None or left <= 0:
                break
        assert after is not None
        result.cursor = str(Cursor(until_ms, after))
        return result

    async def _bounds(self, wanted: DeadLetterFilter, cursor: str | None) -> tuple[int, DeadPosition | None]:
        if cursor is None:
            # The last death in the store's own order, not by a clock of this process: clocks differ.
            return (await self._queue.last_death() if wanted.until_ms is None else wanted.until_ms), None
        found = Cursor.parse(cursor)
        if found is None:
            raise CallerError("cursor", "must be the cursor of an earlier answer")
        return found.until_ms, found.after

    async def _redrive(
        self, stretch: _Stretch, verdicts: Sequence[_Verdict], dry_run: bool, result: BulkResult
    ) -> DeadPosition | None:
        waiting, wait_ms = (len(verdicts), 0) if dry_run else await self._paced(verdicts)
        now_ms, chosen = self._wall_ms(), []
        for letter, v in zip(stretch.letters[:waiting], verdicts, strict=False):
            result.matched += 1
            if isinstance(v.go, Refused):
                result.refused[v.go.reason] = result.refused.get(v.go.reason, 0) + 1
            else:
                new = v.changed.chain, v.changed.template
                chosen.append(Redriven(letter, v.go.mailbox, v.priority, now_ms + v.ttl_ms, *new))
        result.count += len(chosen) if dry_run else await self._queue.redrive(chosen)
        if waiting == len(verdicts):
            return None
        result.wait_s = wait_ms / 1000
        return stretch.before(waiting)

    async def _verdicts(self, letters: Sequence[DeadLetter], wanted: DeadLetterFilter, today: Wanted) -> list[_Verdict]:
        plan, ids = self._plan(), [letter.id for letter in letters]
        routes = await self._queue.routing_of(ids) if ids else []
        changes = await self._changes(ids, today)
        found = []
        for letter, (chain, priority, ttl_ms), changed in zip(letters, routes, changes, strict=True):
            go: Go | Refused
            if not is_named(letter, wanted):
                go = Refused("unknown: maybe sent, and a repeat is forbidden; name it by id or reason")
            elif isinstance(changed, Refused):
                go = changed
            else:
                go = decide_redrive(changed.chain or chain, plan, self._known)
            found.append(_Verdict(go, priority, ttl_ms, changed if isinstance(changed, Changed) else Changed()))
        return found

    async def _changes(self, ids: Sequence[str], today: Wanted) -> Sequence[Changed | Refused]:
        if today == AS_ACCEPTED or self._updates is None:
            return [Changed()] * len(ids)
        return [await self._updates.of(n, today) for n in await self._queue.accepted_of(ids)]

    async def _paced(self, verdicts: Sequence[_Verdict]) -> tuple[int, int]:
        """Return how many letters may be redriven now, counted from the first, and the wait in ms for the next.

        Each mailbox has its own budget of permits. The count ends at the first letter without a permit. Permits that
        letters after it have got are not used. So a bulk redrive over several mailboxes may be slower than allowed, but
        never faster.
        """
        places: dict[Go, list[int]] = defaultdict(list)
        for index, verdict in enumerate(verdicts):
            if isinstance(verdict.go, Go):
                places[verdict.go].append(index)
        first, wait_ms = len(verdicts), 0
        for go, indexes in places.items():
            per_s = self._slow_per_s if go.slowly else self._per_s
            granted, wait = await self._queue.budget(go.mailbox, len(indexes), per_s)
            if granted < len(indexes) and indexes[granted] < first:
                first, wait_ms = indexes[granted], wait
        return first, wait_ms


def _position(letter: DeadLetter) -> DeadPosition:
    return DeadPosition(letter.dead_ms, letter.id)
