"""The supervisor actor: whether it stands by."""

from __future__ import annotations

import pytest

from actors.supervisor import PATIENCE_S, patience_s


@pytest.mark.parametrize(
    ("runtime", "expected_s"),
    [({}, 0.0), ({"shared_store": ""}, 0.0), ({"shared_store": "yes"}, PATIENCE_S), ({"cluster": "yes"}, PATIENCE_S)],
)
def test_it_stands_by_where_there_may_be_another(runtime: dict[str, str], expected_s: float) -> None:
    """On a private Redis it takes office at once."""
    assert patience_s(runtime) == expected_s
