"""Tests that intake grows before HAProxy holds its requests back."""

from __future__ import annotations

from annotated_types import Le

from cluster.local.haproxy_edits import REPLICA_REQUESTS_MAX
from dispatcher.config.settings import IntakeSettings


def test_no_target_of_intake_is_above_what_haproxy_gives_a_replica() -> None:
    """The greatest `ongoing_target` is the number of requests that HAProxy gives to a replica. The default is half.

    With a greater target, intake would never grow.
    """
    field = IntakeSettings.model_fields["ongoing_target"]
    assert [rule.le for rule in field.metadata if isinstance(rule, Le)] == [REPLICA_REQUESTS_MAX]
    assert field.default == REPLICA_REQUESTS_MAX // 2
