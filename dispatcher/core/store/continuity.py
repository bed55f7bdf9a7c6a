"""Continuity: the store must still have what we acknowledged.

A promoted replica, a restored backup and an emptied Redis answer as if nothing had happened, even if acknowledged
triggers are gone. Therefore the store counts the triggers that it accepts. With the first trigger it also gets a random
name, its *life*. A process that accepts triggers remembers the highest count that it was told.

A promoted replica may have every accepted trigger, but not what came later: outcomes, moves, the start marks of `hold`.
Redis itself counts these. Redis gives a primary's stream of writes a random name, and counts the stream's bytes. A
promoted replica tells which stream it followed, and how many bytes of that stream it has.

Rules:

1. Within one life the count never falls. An answer is compared with what was known *before the question*, because
   answers overtake each other.
2. Another life, a lower count, or no count at all is a break. Each break is reported once. From then on the state that
   was found is expected.
3. It is also a break if a promoted replica has fewer bytes of the stream that it followed than that stream is known to
   have had: then writes are lost. A primary may also have a new stream and have followed no other. That proves
   nothing, because a Redis that restarts and loads its own file begins such a stream too.
4. Before the first reading, accept any value. So only a process that was running before a break notices it. Intake has
   two or more replicas, and they tell each other how many triggers are accepted. Each of them asks about the stream.
5. A process cannot notice the loss of writes that were made after its last question.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """How many triggers the store has accepted in one life. A store that lost its data begins another life."""

    life: str
    accepted: int


@dataclass(frozen=True, slots=True)
class Break:
    """The store lost accepted triggers.

    The store names its present life, and counts the triggers that it accepted in this life. A name and a count together
    are a mark. `known` is the mark that was expected, and `found` is the mark that the store has. `kind` is `emptied`
    (there is no count), `replaced` (the store is in another life) or `went_back` (the count is lower).
    """

    kind: str
    known: Mark
    found: Mark | None

    def __str__(self) -> str:
        if self.kind == "went_back" and self.found is not None:
            return f"the store went back by {self.known.accepted - self.found.accepted} accepted triggers"
        return f"the store was {self.kind}: it had accepted {self.known.accepted} triggers"


@dataclass(frozen=True, slots=True)
class Lineage:
    """How far the writes of one Redis have come. Redis gives the stream of a primary's writes a random name (`stream`).

    `come_to` is the number of bytes in this stream. If this Redis was a replica before it was promoted, `followed` is
    the stream of its old primary, and `followed_to` is how many bytes of that stream it got. `followed` is None if it
    was no replica, or no longer knows which stream it followed. `replicas` is how many replicas this Redis has now.
    """

    stream: str
    come_to: int
    replicas: int = 0
    followed: str | None = None
    followed_to: int = 0


@dataclass(frozen=True, slots=True)
class Undone:
    """A break: the promoted replica lacks the last writes of the primary that it followed.

    `stream` names the primary's stream of writes. The stream is known to have had `known_to` bytes, and the replica has
    `followed_to` bytes of it.
    """

    stream: str
    known_to: int
    followed_to: int
    kind: str = "lost_writes"

    def __str__(self) -> str:
        return f"the store lost the last {self.known_to - self.followed_to} bytes that it wrote"


class Continuity:
    """The knowledge that one process has of the store's life."""

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.lineage: Lineage | None = None
        self._lost_to = 0  # what the store had accepted in this life before it went back

    def told(self, mark: Mark) -> None:
        """Note the mark (life and count) that another process knows. That process may not have noticed yet that the
        store went back.

        After the store has gone back within one life, only a mark counts that is higher than the mark before the loss.
        A lower mark may be an old mark. If it counted, the same loss would be reported again.
        """
        same_life = self.mark is not None and self.mark.life == mark.life
        if same_life and self._lost_to and mark.accepted >= self._lost_to:
            self._lost_to = max(self._lost_to, mark.accepted)
        if not same_life or mark.accepted > self._lost_to:
            self.hear(mark)

    def hear(self, mark: Mark) -> None:
        """Note a mark that the store gave in an answer. A mark is the count of accepted triggers in one life of the
        store.

        A mark replaces the known mark only if it is the first of all, or a higher count in the same life. A mark of
        another life changes nothing here, because the next answer of the store will show it as a break.
        """
        if self.mark is None or (self.mark.life == mark.life and self.mark.accepted < mark.accepted):
            self.mark = mark

    def compare(self, before: Mark | None, found: Mark | None) -> Break | None:
        """Return the break that an answer of the store shows, or None if it shows no break.

        `found` is the mark in the answer: the store's life and its count of accepted triggers. `before` is the mark
        that was known when the question was sent.
        """
        if before is None or _follows(before, found) or self.mark is None or _follows(self.mark, found):
            # In the last two cases another answer has already reported the break, and its mark is expected now.
            if found is not None:
                self.hear(found)
            return None
        self.mark = found
        self._lost_to = max(self._lost_to, before.accepted) if found is not None and found.life == before.life else 0
        return Break(_kind(before, found), before, found)

    def follow(self, found: Lineage) -> Undone | None:
        """Compare the store's new answer `found` with its answer before. Return the loss of writes that this shows, or
        None.

        The caller asks the store one question at a time. Each loss is reported once, because the next answer is
        compared with `found`.
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
