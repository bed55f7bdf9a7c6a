"""Is the store still the one that took what we acknowledged?

A replica that was promoted, a backup that was restored, a Redis that was emptied: each answers as if nothing had
happened, and triggers that were acknowledged are gone. The store therefore counts what it accepts, under a random name
(its life) given with the first. Whoever accepts remembers the highest count it was told.

A promoted replica may have every accept and lack what came after: settles, moves, the marks of `hold`. Of that Redis
itself keeps account: it names a primary's stream of writes at random and counts its bytes, and a replica that is
promoted tells which stream it followed, and how far it had come.

Rules:

1. Within one life the count never falls. Of an answer only what was known *before it was asked for* may be expected:
   answers overtake each other.
2. Another life, a lower count, or none at all is a break. It is told once; what was found is the new expectation.
3. A stream that was followed not as far as it is known to have come is a break: writes are lost. A stream that followed
   none is no word either way, for a Redis that read its file again begins with a new one as well.
4. Who has known nothing yet, believes. So a break is seen only by a process that outlives it: intake has two or more,
   which tell each other of accepts; of the stream each asks for itself.
5. What was written since a process last asked it cannot miss.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """`accepted`: triggers that the store has taken in this `life`."""

    life: str
    accepted: int


@dataclass(frozen=True, slots=True)
class Break:
    """The store is not what it was. `kind`: emptied, replaced (another life) or went_back (a lower count)."""

    kind: str
    known: Mark
    found: Mark | None

    def __str__(self) -> str:
        if self.kind == "went_back" and self.found is not None:
            return f"the store went back by {self.known.accepted - self.found.accepted} accepted triggers"
        return f"the store was {self.kind}: it had accepted {self.known.accepted} triggers"


@dataclass(frozen=True, slots=True)
class Lineage:
    """The stream of writes of a primary, and how far it has come (bytes).

    `followed`: another's, which it had up to `followed_to` when it was promoted; None: no replica, or none any more.
    """

    stream: str
    come_to: int
    replicas: int = 0
    followed: str | None = None
    followed_to: int = 0


@dataclass(frozen=True, slots=True)
class Undone:
    """A replica was promoted that had less of its primary's `stream` than is known to have been written."""

    stream: str
    known_to: int
    followed_to: int
    kind: str = "lost_writes"

    def __str__(self) -> str:
        return f"the store lost the last {self.known_to - self.followed_to} bytes that it wrote"


class Continuity:
    """What one process knows of the store's life."""

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.lineage: Lineage | None = None
        self._lost_to = 0  # what the store had accepted in this life before it went back

    def told(self, mark: Mark) -> None:
        """Another process says what it knows. It may not have noticed yet that the store went back.

        So after a break nothing counts from others that the store had before it: it would be the same break again. What
        they know beyond is their own old mark as well, if they had accepted more; then all of it is doubtful.
        """
        same_life = self.mark is not None and self.mark.life == mark.life
        if same_life and self._lost_to and mark.accepted >= self._lost_to:
            self._lost_to = max(self._lost_to, mark.accepted)
        if not same_life or mark.accepted > self._lost_to:
            self.hear(mark)

    def hear(self, mark: Mark) -> None:
        """The store was heard to say so; of another life it is no news, for one of the two is about to notice."""
        if self.mark is None or (self.mark.life == mark.life and self.mark.accepted < mark.accepted):
            self.mark = mark

    def judge(self, before: Mark | None, found: Mark | None) -> Break | None:
        """Compare an answer with `before`, the mark when it was asked for."""
        if before is None or _follows(before, found) or self.mark is None or _follows(self.mark, found):
            # The last two: another answer has told the break already, and what it found is the new expectation.
            if found is not None:
                self.hear(found)
            return None
        self.mark = found
        self._lost_to = max(self._lost_to, before.accepted) if found is not None and found.life == before.life else 0
        return Break(_kind(before, found), before, found)

    def follow(self, found: Lineage) -> Undone | None:
        """Compare what the primary says with what was known when it was asked: by one who asks one time after another.

        Told once, for what was found is known then.
        """
        known, self.lineage = self.lineage, found
        if known is None or found.followed != known.stream or found.followed_to >= known.come_to:
            return None
        return Undone(known.stream, known.come_to, found.followed_to)


def _follows(known: Mark, found: Mark | None) -> bool:
    return found is not None and found.life == known.life and found.accepted >= known.accepted


def _kind(known: Mark, found: Mark | None) -> str:
    if found is None:
        return "emptied"
    return "went_back" if found.life == known.life else "replaced"
