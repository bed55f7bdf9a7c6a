"""A supervisor that may not be the only one begins its work only after the other supervisor has been silent for a
while.
"""

from __future__ import annotations

import pytest

from actors.supervisor import PATIENCE_S, patience_s


@pytest.mark.parametrize(
    ("runtime", "expected_s"),
    [({}, 0.0), ({"shared_store": ""}, 0.0), ({"shared_store": "yes"}, PATIENCE_S), ({"cluster": "yes"}, PATIENCE_S)],
)
def test_it_stands_by_where_there_may_be_another(runtime: dict[str, str], expected_s: float) -> None:
    """A supervisor that starts on a shared store or on a cluster waits `PATIENCE_S` seconds for another supervisor. On
    a private Redis it does not wait.
    """
    assert patience_s(runtime) == expected_s
