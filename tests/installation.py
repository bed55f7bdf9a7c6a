"""One installation, really running, shared by the serve and chaos tests; each leaves it whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from cluster.local.service import Service
from tests.leftovers import short_folder


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """A running installation with the sandbox vendors."""
    folder = short_folder("nd-test-")
    found = Service(folder / "state")
    try:
        found.start()
        yield found
        found.stop()
        left = found.clean_up()
        assert left == [], "`up` left processes"
    finally:
        found.clean_up()
        shutil.rmtree(folder, ignore_errors=True)
