"""Durability on replicas: how many replicas must have a write on disk before it counts.

An acknowledged trigger survives the loss of the primary's disk if every replica that may be promoted has it. The
operator states how many such replicas there are, or the sentinels know it. A sentinel never forgets a replica, so a
replica that is away counts until an operator removes it. Up to `away_max` replicas may be away. A write always waits
for the replicas that follow the primary, because one of these would be promoted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """The number of replicas that the sentinels know, and the number of these that are up and follow the primary."""

    known: int
    in_step: int


@dataclass(frozen=True, slots=True)
class ReplicaRule:
    """The operator's rule: how many replicas there are, and how many of them may be away.

    `stated` None means as many as the sentinels know.
    """

    stated: int | None = None
    away_max: int = 0

    def known(self, seen: Seen | None) -> int:
        """Return how many replicas may be promoted; 0 if this is not known."""
        return self.stated if self.stated is not None else seen.known if seen is not None else 0

    def needed(self, seen: Seen | None) -> int:
        """Return how many replicas must have a write on disk before it counts; at least 1."""
        in_step = min(seen.in_step, self.known(seen)) if seen is not None else 0
        return max(1, self.known(seen) - self.away_max, in_step)

    def refusal(self, seen: Seen | None) -> str | None:
        """Return why this rule cannot be kept with the replicas in `seen`, as a text for the operator.

        Return None if the rule can be kept.
        """
        if self.known(seen) == 0:
            if self.stated is None and seen is None:
                return "store.replicas: must say how many replicas may be promoted, as no sentinels do"
            return "store.durability: replica needs a replica, and there is none"
        if self.known(seen) <= self.away_max:
            return f"store.replicas_away_max: must be less than the number of replicas, {self.known(seen)}"
        return None


@dataclass(frozen=True, slots=True)
class Standing:
    """The result of the last write: `synced` of the `needed` replicas had it on disk.

    `fails` is True if too few replicas had the write on disk. `refused` says why the rule cannot be kept at all.
    """

    known: int
    needed: int
    synced: int
    fails: bool
    refused: str | None = None

    def warnings(self) -> list[str]:
        """Return what an operator should know, as sentences; empty if all is well."""
        if self.refused is not None:
            return [f"durability replica: nothing is accepted: {self.refused}"]
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
