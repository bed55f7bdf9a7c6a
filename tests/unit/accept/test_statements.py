"""An intake replica reports in how many cells it can accept triggers."""

from __future__ import annotations

import asyncio

from dispatcher.accept.statements import Statements
from dispatcher.core.plan.messages import Message, Statement
from dispatcher.core.store.continuity import Continuity
from tests.unit.stage import Stage
from tests.virtual import virtual


@virtual
async def test_a_statement_tells_how_many_cells_the_replica_can_accept_in_now() -> None:
    """The number is asked for each report, because a cell can be used only after its templates have been read."""
    stage, heard, ready = Stage(), list[Message](), [1]

    async def listen() -> None:
        async for message in stage.control.listen(("report",)):
            if message is not None:
                heard.append(message)

    stage.start(listen())
    statements = Statements(*(stage.control, stage.metrics, Continuity(), {"replica": "r"}), cells=lambda: ready[0])
    for cells in (1, 3):
        ready[0] = cells
        await asyncio.sleep(0.01)
        await statements.send()
    await asyncio.sleep(0.01)
    assert [told.cells for told in heard if isinstance(told, Statement)] == [1, 3]
