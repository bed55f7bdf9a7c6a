"""One installation, really running, shared by the serve and chaos tests; each leaves it whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from cluster.local.service import Service
from tests.leftovers import short_folder


class Installation:
    """A service with the sandbox vendors, which starts when it is first asked for."""

    def __init__(self) -> None:
        self._service: Service | None = None

    def running(self) -> Service:
        if self._service is None:
            self._service = Service(short_folder("nd-test-") / "state")
            self._service.start()
        return self._service

    def end(self) -> None:
        """Stop the service, which must leave no process. The next test that asks starts another one."""
        found, self._service = self._service, None
        if found is None:
            return
        try:
            found.stop()
            assert found.clean_up() == [], "`up` left processes"
        finally:
            found.clean_up()
            shutil.rmtree(found.state.path.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    found = Installation()
    yield found
    found.end()


FOLLOWING = pytest.StashKey[pytest.Item | None]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    item.stash[FOLLOWING] = nextitem


@pytest.fixture
def service(installation: Installation, request: pytest.FixtureRequest) -> Iterator[Service]:
    """A running service. In `make test` it ends with the last test of its group: even idle it takes half a core."""
    yield installation.running()
    following = request.node.stash[FOLLOWING]
    in_worker = hasattr(request.config, "workerinput")
    if in_worker and following is not None and "service" not in getattr(following, "fixturenames", ()):
        installation.end()
