"""A supervisor waits for another one's silence before it takes office, if there may be another one."""

from __future__ import annotations

import pytest

from actors.supervisor import PATIENCE_S, patience_s


@pytest.mark.parametrize(
    ("runtime", "expected_s"),
    [({}, 0.0), ({"shared_store": ""}, 0.0), ({"shared_store": "yes"}, PATIENCE_S), ({"cluster": "yes"}, PATIENCE_S)],
)
def test_it_stands_by_where_there_may_be_another(runtime: dict[str, str], expected_s: float) -> None:
    """The wait is `PATIENCE_S` seconds on a shared store or a cluster, and 0 on a private Redis."""
    assert patience_s(runtime) == expected_s
