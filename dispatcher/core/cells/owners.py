"""Which cell a trigger belongs to: rendezvous hashing (Thaler and Ravishankar, 1998) over the cells in force.

Each cell has a weight for a tenant and key: the SHA-256 digest of the three. The owner is the cell with the highest
weight. So a new cell takes an even share of the keys from all others, and no key moves between two other cells.
"""

from __future__ import annotations

import hashlib

from dispatcher.core.cells.names import CELL_NAMES


def owner(tenant: str, key: str, count: int) -> str:
    """Return the name of the cell that owns the idempotency key of a tenant while `count` cells are in force."""
    if count == 1:
        return CELL_NAMES[0]
    return max(CELL_NAMES[:count], key=lambda cell: _weight(cell, tenant, key))


def earlier_owners(tenant: str, key: str, first: int, count: int) -> tuple[str, ...]:
    """Return the cells that may have a trigger with this key from an earlier generation.

    `first` is the number of cells with which the installation began, and `count` is the number in force. The latest
    earlier owner comes first. The owner under `count` cells is left out. Each cell appears once, because a cell that
    has lost a key never gets it back.
    """
    found = owner(tenant, key, count)
    owners: list[str] = []
    for fewer in range(count - 1, first - 1, -1):
        if (cell := owner(tenant, key, fewer)) not in (found, *owners):
            owners.append(cell)
    return tuple(owners)


def counting_cell(tenant: str, first: int) -> str:
    """Return the name of the cell that counts the triggers and messages of a tenant, for accept rates and caps.

    It depends only on `first`, the number of cells with which the installation began. So it never changes.
    """
    return owner(tenant, "", first)


def _weight(cell: str, tenant: str, key: str) -> bytes:
    return hashlib.sha256(f"{cell}\0{tenant}\0{key}".encode()).digest()
