"""An installation that listens on the IPv6 loopback address reaches its own replicas and no others."""

from __future__ import annotations

import json
import shutil
import urllib.request

import pytest

from cluster.local.service import Service
from tests.chaos.running import wait_for
from tests.leftovers import short_folder
from tests.serve.test_http import GOOD

pytestmark = [pytest.mark.chaos, pytest.mark.long]


def test_the_ipv6_loopback_address_is_served() -> None:
    """A trigger posted to the IPv6 address is delivered, and /readyz has this installation's id."""
    service = Service(short_folder("nd-test-") / "state", extra=("--host", "::1"))
    try:
        service.start()
        assert service.api == f"http://[::1]:{service.port}"
        assert service.get("/readyz")["installation"] == service.state.identity.read_text()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{service.api}/v1/triggers", json.dumps(GOOD).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            tid = json.load(answer)["id"]
        wait_for(lambda: {n["state"] for n in service.get(f"/v1/triggers/{tid}")["notifications"]} == {"settled"}, 20)
        assert service.stop() == 0
    finally:
        assert service.clean_up() == []
        shutil.rmtree(service.state.path.parent, ignore_errors=True)
