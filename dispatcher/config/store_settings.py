"""The section `store` of the configuration: when a write is durable, and which Redis servers there are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dispatcher.config.section import Section
from dispatcher.config.setting_types import PositiveInt, SecretReference
from dispatcher.core.cells.names import CELL_NAMES
from dispatcher.core.store.replication import ReplicaRule


class StoreSettings(Section):
    """The condition under which a write to Redis counts as durable (docs/adr/0032)."""

    durability: Literal["primary", "replica"] = "primary"  # `replica` is safer, and each accept waits for it
    replicas: PositiveInt | None = None  # None means as many as the sentinels know; it is required without them
    replicas_away_max: Annotated[int, Field(ge=0)] = 0  # with 0 a promoted replica has every accepted trigger
    durability_stated: bool = False  # the start reads the server's settings, unless CONFIG is refused
    cells: Annotated[
        list[SecretReference], Field(max_length=len(CELL_NAMES) - 1, repr=False)
    ] = []  # one Redis is enough

    @property
    def cell_names(self) -> str:
        """Return the names of all cells: `0` for the Redis of `--redis-url`, then one for each entry of `cells`."""
        return CELL_NAMES[: 1 + len(self.cells)]

    def replica_rule(self) -> ReplicaRule | None:
        """Return how many replicas must have a write to make it durable, or None if the primary alone counts."""
        return ReplicaRule(self.replicas, self.replicas_away_max) if self.durability == "replica" else None
