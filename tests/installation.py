"""Starts one service that the serve and chaos tests share. Each test leaves the service in working order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from cluster.local.service import Service
from dispatcher.errors import DispatcherError
from tests.leftovers import short_folder


class Installation:
    """A service with the sandbox vendors. The service starts when a test first asks for it."""

    def __init__(self) -> None:
        self._service: Service | None = None

    def running(self) -> Service:
        if self._service is None:
            self._service = Service(short_folder("nd-test-") / "state")
            try:
                self._service.start()
            except DispatcherError:  # the next test that needs a service tries again
                self._service.stop()
                self._service.clean_up()
                shutil.rmtree(self._service.state.path.parent, ignore_errors=True)
                self._service = None
                raise
        return self._service

    def end(self) -> None:
        """Stop the service and check that it left no process.

        The next test that asks for a service starts a new one.
        """
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
    """Yield a running service.

    In `make test` the service ends after the last test of its group, because even an idle service uses half a core.
    """
    yield installation.running()
    following = request.node.stash[FOLLOWING]
    in_worker = hasattr(request.config, "workerinput")
    if in_worker and following is not None and "service" not in getattr(following, "fixturenames", ()):
        installation.end()
