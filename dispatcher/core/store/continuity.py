"""Continuity: the store must still have what we acknowledged.

A promoted replica, a restored backup and an emptied Redis answer as if nothing had happened, though acknowledged
triggers are gone. Therefore the store counts the triggers that it accepts, under a random name (its life) that it gets
with the first trigger. A process that accepts triggers remembers the highest count that it was told.

A promoted replica may have every accept and lack what came after: outcomes, moves, the start marks of `hold`. Redis
itself keeps account of these. It gives the stream of writes of a primary a random name and counts its bytes. A promoted
replica tells which stream it followed, and how many bytes of it it had.

Rules:

1. Within one life the count never falls. An answer is compared with what was known *before the question*, because
   answers overtake each other.
2. Another life, a lower count, or no count at all is a break. It is reported once; the found state is expected next.
3. It is a break, with lost writes, if the replica followed a stream less far than the stream is known to have come. A
   stream that followed no other proves nothing: a Redis that loads its file again also begins a new stream.
4. Before the first reading, accept any value. So only a process that outlives a break notices it. Intake has two or
   more replicas, which tell each other of accepts. Each asks for the stream itself.
5. Writes made after a process last asked cannot be missed by that process.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """How many triggers the store has accepted in one life. A store that lost its data begins another."""

    life: str
    accepted: int


@dataclass(frozen=True, slots=True)
class Break:
    """The store lost data. `kind` is emptied, replaced (another life) or went_back (a lower count)."""

    kind: str
    known: Mark
    found: Mark | None

    def __str__(self) -> str:
        if self.kind == "went_back" and self.found is not None:
            return f"the store went back by {self.known.accepted - self.found.accepted} accepted triggers"
        return f"the store was {self.kind}: it had accepted {self.known.accepted} triggers"


@dataclass(frozen=True, slots=True)
class Lineage:
    """The stream of writes of a primary, and its length in bytes.

    `followed` is the stream that this Redis followed as a replica, up to `followed_to`, before it was promoted. None
    means that it was no replica, or that the information is gone.
    """

    stream: str
    come_to: int
    replicas: int = 0
    followed: str | None = None
    followed_to: int = 0


@dataclass(frozen=True, slots=True)
class Undone:
    """A promoted replica had less of its primary's `stream` than is known to have been written."""

    stream: str
    known_to: int
    followed_to: int
    kind: str = "lost_writes"

    def __str__(self) -> str:
        return f"the store lost the last {self.known_to - self.followed_to} bytes that it wrote"


class Continuity:
    """One process's knowledge of the store's life."""

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.lineage: Lineage | None = None
        self._lost_to = 0  # what the store had accepted in this life before it went back

    def told(self, mark: Mark) -> None:
        """Hear what another process knows of the store. That process may not have noticed yet that the store went back.

        After a break within one life, only a mark beyond what was known before the break counts. A lower mark may be an
        old one, and would be reported as the same break again.
        """
        same_life = self.mark is not None and self.mark.life == mark.life
        if same_life and self._lost_to and mark.accepted >= self._lost_to:
            self._lost_to = max(self._lost_to, mark.accepted)
        if not same_life or mark.accepted > self._lost_to:
            self.hear(mark)

    def hear(self, mark: Mark) -> None:
        """Note a mark that another process was told. A mark of another life changes nothing: an answer will show it."""
        if self.mark is None or (self.mark.life == mark.life and self.mark.accepted < mark.accepted):
            self.mark = mark

    def compare(self, before: Mark | None, found: Mark | None) -> Break | None:
        """Return the break that an answer shows against `before`, the mark at the time of the question, or None."""
        if before is None or _follows(before, found) or self.mark is None or _follows(self.mark, found):
            # The last two cases: another answer has reported the break already, and its mark is expected now.
            if found is not None:
                self.hear(found)
            return None
        self.mark = found
        self._lost_to = max(self._lost_to, before.accepted) if found is not None and found.life == before.life else 0
        return Break(_kind(before, found), before, found)

    def follow(self, found: Lineage) -> Undone | None:
        """Return the lost writes that the primary's answer shows against the previous answer, or None.

        The caller asks one question at a time. A loss is reported once, as the answer is known from then on.
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
