"""Durability on replicas: how many have to have a write on disk before it counts.

What was acknowledged survives the loss of the primary's disk if every replica that may be promoted has it. Which ones
there are is stated by the operator, or known to the sentinels. A sentinel never forgets a replica, so one that is away
counts until an operator says otherwise. Up to `away_max` may be away. Those that are in step are always waited for,
since one of them is promoted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """The replicas that the sentinels know, and how many of them are up and follow the primary."""

    known: int
    in_step: int


@dataclass(frozen=True, slots=True)
class ReplicaRule:
    """`stated` is the operator's number of replicas; None means as many as the sentinels know."""

    stated: int | None = None
    away_max: int = 0

    def known(self, seen: Seen | None) -> int:
        """Return how many replicas may be promoted; 0 if nobody knows."""
        return self.stated if self.stated is not None else seen.known if seen is not None else 0

    def needed(self, seen: Seen | None) -> int:
        """Return how many replicas have to have a write on disk, at least one."""
        in_step = min(seen.in_step, self.known(seen)) if seen is not None else 0
        return max(1, self.known(seen) - self.away_max, in_step)

    def refusal(self, seen: Seen | None) -> str | None:
        """Return why this set-up cannot promise anything; None if it can."""
        if self.known(seen) == 0:
            if self.stated is None and seen is None:
                return "store.replicas: must say how many replicas may be promoted, as no sentinels do"
            return "store.durability: replica needs a replica, and there is none"
        if self.known(seen) <= self.away_max:
            return f"store.replicas_away_max: must be less than the number of replicas, {self.known(seen)}"
        return None


@dataclass(frozen=True, slots=True)
class Standing:
    """The last round: `synced` of the `needed` replicas had it on disk. `fails` means that this was not enough."""

    known: int
    needed: int
    synced: int
    fails: bool

    def warnings(self) -> list[str]:
        """Return what an operator should be told."""
        if self.fails:
            return [
                f"durability replica: {self.synced} of {self.needed} replicas have the last write on disk;"
                f" nothing is accepted until {self.needed} have"
            ]
        if self.needed < self.known:
            return [
                f"durability replica: what is accepted now is on {self.needed} of {self.known} replicas;"
                " one that is away lacks it until it has caught up"
            ]
        return []
