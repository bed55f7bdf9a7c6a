"""An answer over several cells names the cells that it lacks, and an answer of one cell is as before."""

from __future__ import annotations

from dataclasses import replace

from dispatcher.operate.over_cells.listings import ListingsOverCells
from dispatcher.operate.over_cells.triggers import TriggersOverCells
from dispatcher.operate.over_cells.vendors import VendorsOverCells
from serve_app.asgi import application
from tests.unit.operate.over_cells.two_cells import OneCell, SeveralCells
from tests.unit.serve_app.http_application import Edge
from tests.virtual import virtual

LOCAL = {"host": "127.0.0.1"}


def edge_over(several: SeveralCells) -> Edge:
    """Return an intake replica whose listings, triggers and vendors are those of several cells."""
    edge = Edge()
    use_cases = replace(
        edge.use_cases,
        listings=ListingsOverCells(several.parts(OneCell.listings)),
        triggers=TriggersOverCells(several.parts(OneCell.triggers), lambda tenant, key: []),
        vendors=VendorsOverCells(several.parts(OneCell.vendors)),
    )
    edge.app = application(use_cases, None, edge.desk.stage.metrics)
    return edge


@virtual
async def test_a_list_names_the_cells_that_it_lacks() -> None:
    """The header is on an answer from which cells are missing, and on no other. Its rows are those of the others."""
    several = SeveralCells("012")
    await several["0"].accept()
    edge = edge_over(several)
    answer = await edge.call("GET", "/v1/notifications?state=queued", headers=LOCAL)
    assert (answer.status, "dispatcher-missing-cells" in answer.headers) == (200, False)
    several["1"].silence()
    several.known_away = {"2"}
    for path in ("/v1/notifications?state=queued", "/v1/vendors"):
        answer = await edge.call("GET", path, headers=LOCAL)
        assert (answer.status, answer.headers["dispatcher-missing-cells"]) == (200, "1,2")
    answer = await edge.call("GET", "/v1/notifications?state=queued", headers=LOCAL)
    assert len(answer.body["notifications"]) == 1
    several["1"].silence(False)
    several.known_away = set()
    assert "dispatcher-missing-cells" not in (await edge.call("GET", "/v1/vendors", headers=LOCAL)).headers


@virtual
async def test_one_trigger_is_404_or_503() -> None:
    """An id of a cell that does not exist is 404. An id of a cell that is away is 503 with Retry-After."""
    several = SeveralCells()
    several.known_away = {"1"}
    edge = edge_over(several)
    assert (await edge.call("GET", "/v1/triggers/7-x", headers=LOCAL)).status == 404
    answer = await edge.call("GET", "/v1/triggers/1-x", headers=LOCAL)
    assert (answer.status, answer.headers["retry-after"], answer.body["detail"]) == (503, "1", "cell 1 is away")


@virtual
async def test_plans_of_several_cells_have_a_field_of_their_own() -> None:
    answer = await edge_over(SeveralCells()).call("GET", "/v1/plan", headers=LOCAL)
    assert list(answer.body) == ["plan", "history", "plans"]
    assert list(answer.body["plans"]) == ["0", "1"]
    assert list((await Edge().call("GET", "/v1/plan", headers=LOCAL)).body) == ["plan", "history"]
