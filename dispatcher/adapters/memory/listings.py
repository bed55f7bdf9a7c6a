"""Listings of notifications by place, in memory. `dispatcher.ports.StateListings` is the contract."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.adapters.memory.cell import Cell, sequence
from dispatcher.core.life.decide import waiting_reason
from dispatcher.core.life.listing import Placed, PlacePosition
from dispatcher.ports import PlacePage


class MemoryListings:
    """Reads pages of the mailboxes, and of the waiting, held and dead notifications in the order of their times."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    async def page(self, place: str, after: PlacePosition | None, examine: int) -> PlacePage:
        rows = self._queued() if place == "queued" else self._timed(place)
        rows = [row for row in rows if after is None or _order(row[1]) > _order(after)][:examine]
        shown = [(self._placed(nid, at, place), at) for nid, at in rows if self._cell.find(nid) is not None]
        return PlacePage(shown, rows[-1][1] if len(rows) == examine else None)

    async def recipients(self, ids: Sequence[str]) -> list[str | None]:
        found: list[str | None] = []
        for nid in ids:
            entry = self._cell.find(nid)
            if entry is None or not entry[0].has_data:
                found.append(None)
                continue
            trigger = entry[0].trigger
            found.append(trigger.person_of(trigger.notifications[int(nid.rpartition(".")[2])]).id)
        return found

    def _queued(self) -> list[tuple[str, PlacePosition]]:
        rows = [
            (nid, PlacePosition(f"{lane.mailbox}:{lane.priority}", entry_id, ""))
            for lane, state in self._cell.lanes.items()
            for entry_id, nid in state.entries.items()
        ]
        return sorted(rows, key=lambda row: _order(row[1]))

    def _timed(self, place: str) -> list[tuple[str, PlacePosition]]:
        scores: dict[str, int] = getattr(self._cell, place)
        rows = [(nid, PlacePosition("", str(score), nid)) for nid, score in scores.items()]
        return sorted(rows, key=lambda row: _order(row[1]))

    def _placed(self, nid: str, at: PlacePosition, place: str) -> Placed:
        record, note = self._cell.found(nid)
        t, ahead_ms = record.trigger, self._cell.delay_ms() - self._cell.clock.wall_ms()
        until_ms = None if place in ("queued", "dead") else int(at.at) - (ahead_ms if place in ("due", "held") else 0)
        return Placed(
            id=nid,
            tenant=t.tenant,
            event=t.event,
            channel=t.notifications[int(nid.rpartition(".")[2])].channel,
            vendor=note.vendor,
            state=note.state,
            reason=note.reason or (waiting_reason(note.trail) if note.state == "due" else None),
            accepted_ms=t.accepted_ms,
            expires_ms=note.expires_ms or record.expires_ms,
            until_ms=until_ms,
            attempts=tuple(note.history),
            idempotency_key=t.idempotency_key,
        )


def _order(at: PlacePosition) -> tuple[str, int, str]:
    return at.stream, sequence(at.at) if at.stream else int(at.at), at.id
