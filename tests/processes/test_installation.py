"""Tests the installation that the tests share."""

from __future__ import annotations

from unittest import mock

import pytest

from cluster.local.service import Service
from dispatcher.errors import DispatcherError
from tests.installation import Installation


def test_a_start_that_failed_fails_only_the_test_that_asked() -> None:
    """The first start of the shared installation fails. The next test gets another installation, which then is
    shared.
    """
    shared = Installation()
    with mock.patch.object(Service, "start", side_effect=[DispatcherError("no port"), 1.0]) as start:
        with pytest.raises(DispatcherError, match="no port"):
            shared.running()
        service = shared.running()
        assert shared.running() is service
    assert start.call_count == 2
    shared.end()
