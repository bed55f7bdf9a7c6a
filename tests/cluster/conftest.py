"""Fixtures for clusters of machines. Only root can make machines, so other users skip these tests.

If root lacks a tool, the tests fail instead of being skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.machines import missing
from tests.cluster.rig import Rig, rig
from tests.leftovers import short_folder


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    found = missing()
    if found is None:
        return
    if os.geteuid() == 0:
        pytest.fail(f"{found}: for root this is no reason to skip")
    pytest.skip(found)


@pytest.fixture(scope="module")
def bare() -> Iterator[Rig]:
    """Yield a cluster on which nothing is deployed."""
    folder = Path(short_folder("ndm-"))
    try:
        with rig(folder) as found:
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(bare: Rig) -> Rig:
    """Return a cluster on which the service is deployed as the documents say."""
    bare.deploy()
    return bare
