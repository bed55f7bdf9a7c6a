"""Takes the claims of dead incarnations, with the permits that claims need too.

A taken claim begins at once, like any other claim. So a take asks for no more entries than calls may begin now, or the
vendor's contract rate and its limit of calls in flight would be exceeded after several deaths. A busy actor rarely has
a free permit when its caretaker looks. Then the claim loop takes, with its next permits and before it claims again. So
what was taken does not wait behind everything that is queued.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dispatcher.core.life.notification import Lane
from dispatcher.ports import Claims, Store
from dispatcher.telemetry.log import logger
from dispatcher.telemetry.metrics import Metrics

TAKES_MAX = 50
"""The most claims of one take. A take is one answer of the store, which must not become too long."""


class Takes:
    """The takes of one vendor actor. `asked` is how many claims the takes under way may bring."""

    def __init__(self, store: Store, metrics: Metrics, vendor: str) -> None:
        self._store, self._metrics, self._vendor = store, metrics, vendor
        self._wanted: set[Lane] = set()
        self._refused: Sequence[str] = ()  # the refusal that was logged last
        self.asked = 0

    def want(self, lanes: Iterable[Lane]) -> None:
        """Note that dead incarnations may have left claims in `lanes`, and that the claim loop should take them."""
        self._wanted.update(lanes)

    def wanted(self, lanes: Sequence[Lane]) -> list[Lane]:
        """Return those of `lanes` in which dead incarnations may have left claims, in the same order."""
        return [lane for lane in lanes if lane in self._wanted]

    async def take(self, me: str, lanes: Sequence[Lane], at_most: int) -> Claims:
        """Take up to `at_most` claims for `me`. If there may be more, these lanes are wanted from now on."""
        self.asked += at_most
        try:
            got = await self._store.take(me, lanes, at_most)
        finally:
            self.asked -= at_most
        if len(got.claims) < at_most:
            self._wanted.difference_update(lanes)
        else:
            self._wanted.update(lanes)
        if got.refused and got.refused != self._refused:
            logger().error("take_refused", vendor=self._vendor, lanes=list(got.refused))
        self._refused = got.refused
        if got.claims:
            self._metrics.count("dispatcher_takes", self._vendor, by=len(got.claims))
            logger().info("entries_taken", count=len(got.claims), vendor=self._vendor, incarnation=me)
        return got
