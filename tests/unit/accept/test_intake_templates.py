"""Data that does not fit its template is refused at accept."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.errors import CallerError
from dispatcher.templates.source import TemplateSource
from tests.unit.desk import Desk
from tests.virtual import virtual


@pytest.mark.parametrize(
    ("data", "says"),
    [({}, "missing variable name"), ({"name": None}, "name: a null"), ({"name": ["a"]}, "name: a list")],
)
@virtual
async def test_data_that_does_not_fit_its_template_is_refused(data: dict[str, Any], says: str) -> None:
    """The caller learns which variable, and nothing is stored: the same data would be a dead letter."""
    desk = Desk()
    await desk.intake._templates.put(TemplateSource("paid", "Hi {{ name }}"))
    wanted = [{"channel": "sms", "template": "paid"}]
    with pytest.raises(CallerError, match=says) as caught:
        await desk.post(notifications=wanted, data=data)
    assert (caught.value.status, caught.value.field, desk.stage.states()) == (422, "data", [])
    await desk.post(notifications=wanted, data={"name": "Ada"})
    assert desk.stage.states() == ["queued"]
