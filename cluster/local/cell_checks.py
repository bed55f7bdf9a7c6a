"""Checks every Redis of an installation before the start or a reload, and lets new cells join the installation.

Rules:

1. The Redis of each cell must pass the checks of `redis_checks` and `replica_checks`.
2. The first cell must answer. Another cell that does not answer is a warning, because the others can work without it.
3. Cells are only added. A start with fewer cells, in another order or with a server of another cell is refused
   (`dispatcher.cell_start`), and so is a reload.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import NamedTuple

from cluster.local import redis_checks
from cluster.local.replica_checks import check_replicas
from dispatcher.adapters.redis.cells import RedisCellMember
from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_calls import client
from dispatcher.cell_start import join_cells
from dispatcher.config.secret_references import resolve
from dispatcher.config.store_settings import StoreSettings
from dispatcher.errors import ConfigError, UnavailableError

ANSWER_S = 3.0
"""The time in seconds after which a further cell counts as away."""


class CellFaults(NamedTuple):
    """The faults of the cells: settings by which a Redis can lose triggers, and further cells that are away."""

    unsafe: list[str]
    away: list[str]


def check_stores(first: str, store: StoreSettings, unsafe: bool) -> CellFaults:
    """Check the Redis of every cell, let new cells join, and return what is wrong.

    `first` is the URL of the first cell, or a reference to it. Raises ConfigError, whose message names the cell's
    setting, if a Redis is unsafe and `unsafe` is False, or if it cannot do the work.
    """
    connection = redis_checks.connect(first)
    faults = redis_checks.check(connection, unsafe, stated=store.durability_stated)
    faults += check_replicas(connection, store, unsafe)
    further = cell_faults(store, unsafe)
    join(first, store)
    return CellFaults([*faults, *further.unsafe], further.away)


def recheck(first: str, before: StoreSettings, now: StoreSettings, unsafe: bool) -> list[str]:
    """Check what a reload changes, let new cells join, and return warnings. `before` are the settings in force.

    Raises ConfigError, also if a cell is removed or replaced.
    """
    if before == now:
        return []
    refuse_removal(before, now)
    check_replicas(redis_checks.connect(first), now, unsafe)
    found = cell_faults(now, unsafe)
    join(first, now)
    return [*found.unsafe, *found.away]


def refuse_removal(before: StoreSettings, now: StoreSettings) -> None:
    """Raise ConfigError if a cell that is served now is missing in `now`, or has another reference there."""
    for index, reference in enumerate(before.cells):
        if now.cells[index : index + 1] != [reference]:
            cell = before.cell_names[index + 1]
            raise ConfigError(f"store.cells.{index}: cell {cell} is in use, so it cannot be removed or replaced")


def cell_faults(store: StoreSettings, unsafe: bool) -> CellFaults:
    """Return what is wrong with the Redis of each cell after the first one.

    Raises ConfigError if a server cannot do the work, or if it is unsafe and `unsafe` is False. The message names the
    cell's setting.
    """
    found = CellFaults([], [])
    for index, (cell, reference) in enumerate(zip(store.cell_names[1:], store.cells, strict=True)):
        where, keys = f"store.cells.{index}", Keys(cell)
        connection = redis_checks.connect(reference, where)
        connection.connection_pool.connection_kwargs.update(socket_connect_timeout=ANSWER_S, socket_timeout=ANSWER_S)
        try:
            faults = redis_checks.check(connection, unsafe, stated=store.durability_stated, keys=keys)
            faults += check_replicas(connection, store, unsafe, keys=keys)
        except redis_checks.SilentRedisError as error:
            found.away.append(f"{where}: cell {cell} is away: {error}")
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        else:
            found.unsafe.extend(f"{where}: {fault}" for fault in faults)
    return found


def join(first: str, store: StoreSettings) -> None:
    """Check that each server is the cell that the configuration says, and let new cells join the installation.

    Raises ConfigError if a server is not that cell, or if it is not known whether the installation exists already.
    """
    asyncio.run(_join([first, *store.cells], store.cell_names))


async def _join(references: list[str], names: str) -> None:
    clients = [client(resolve(reference)) for reference in references]
    try:
        await join_cells(list(map(RedisCellMember, clients, names)), secrets.token_hex(8))
    except UnavailableError as error:
        raise ConfigError(f"--redis-url: {error.reason}") from None
    finally:
        for one in clients:
            await one.aclose()
