"""The backlog: how many notifications wait in a mailbox or elsewhere, and the age of the oldest notification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class MailboxDepth:
    """The number of entries in one mailbox, by lane, and the age of the oldest entry in milliseconds."""

    mailbox: str
    queued: dict[str, int] = field(default_factory=dict)
    claimed: int = 0
    oldest_age_ms: int = 0

    @property
    def total(self) -> int:
        return sum(self.queued.values())

    @property
    def unclaimed(self) -> int:
        return max(0, self.total - self.claimed)


PLACES = ("queued", "due", "held", "delayed")
"""The places of a notification that is accepted and has not ended.

A notification in `delayed` waits for its `send_at` or for the end of quiet hours.
"""


@dataclass(slots=True)
class Backlog:
    """The notifications of one mailbox that are accepted and have not ended, by the place where they wait.

    Attributes:
        counts: place → number of notifications. If many wait outside the mailboxes, these numbers are estimated from a
            sample.
        ages_ms: place → age of the oldest notification that was looked at. The age counts from its first call to a
            vendor, or from its accept if there was none.
        ready_ms: the longest time for which a notification has been ready to be sent, in the mailbox or with a retry
            that is due.
        due_ms: when the next retry is due, wall milliseconds. None if no notification waits for a retry.
    """

    mailbox: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    ages_ms: dict[str, int] = field(default_factory=dict)
    ready_ms: int = 0
    due_ms: int | None = None

    @property
    def waiting(self) -> int:
        """Return how many notifications should be sent as soon as possible: all that are not `delayed`."""
        return sum(n for place, n in self.counts.items() if place != "delayed")

    @property
    def oldest_age_ms(self) -> int:
        return max((age_ms for place, age_ms in self.ages_ms.items() if place != "delayed"), default=0)

    def saw(self, place: str, age_ms: int) -> None:
        """Note that a notification in `place` is `age_ms` old. Only the greatest age in each place is kept."""
        self.ages_ms[place] = max(self.ages_ms.get(place, 0), age_ms)

    def wakes(self, score_ms: int, now_ms: int, delay_ms: int) -> None:
        """Note that a notification waits for a retry, which is due at `score_ms`.

        `score_ms` is in delay time, the store's clock that never goes back (`core.store.delay_time`). `delay_ms` is the
        present delay time, and `now_ms` is the present wall time.
        """
        at_ms = score_ms - delay_ms + now_ms
        self.due_ms = at_ms if self.due_ms is None else min(self.due_ms, at_ms)
        self.ready_ms = max(self.ready_ms, now_ms - at_ms)


def portions(total: int, sample: Mapping[str, int]) -> dict[str, int]:
    """Return `total`, divided in the proportions of `sample` into whole numbers that add up to exactly `total`.

    The result is {} if the sample is empty.
    """
    looked_at = sum(sample.values())
    if not looked_at:
        return {}
    found = {name: total * count // looked_at for name, count in sample.items()}
    for name in sorted(found, key=lambda name: -sample[name])[: total - sum(found.values())]:
        found[name] += 1
    return found
