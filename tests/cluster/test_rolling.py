"""The configuration of a running cluster is changed under load. The last test removes the service."""

from __future__ import annotations

import subprocess
import threading

import pytest

from cluster.rehearsal.drills.play import fresh_checkouts
from tests.cluster import faults
from tests.cluster.rig import Rig

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("what", list(faults.CHANGES))
def test_a_changed_configuration_is_deployed_under_load(cluster: Rig, what: str) -> None:
    """The configuration is changed and deployed under load. `deploy` replaces only the applications whose configuration
    changed.

    Nothing is lost, and under `hold` nothing is repeated.
    """
    cluster.until(lambda: faults.spread(cluster), 90, "spread at the start")
    found = faults.rolling_change(cluster, what)
    print(found)
    assert (found.lost, found.repeated, found.contradictions, found.refused) == (0, 0, 0, 0), found
    assert found.later["changed"] == (["vendor-sms-b"] if what == "one vendor" else sorted(cluster.replicas())), found
    # The bar is 0.999, and `make cluster-bench` holds it. A busy machine starves the replicas that still serve.
    assert found.accepted_at_first_try >= 0.95, found


def test_an_undeploy_is_said_on_every_worker_before_anything_is_refused(cluster: Rig) -> None:
    """After `undeploy`, /readyz of both workers answers 503 while triggers are still accepted.

    Then triggers get a 503, and at last no connection.
    """
    words = ("undeploy", "--ray-address", "auto", "--redis-url", "${DISPATCHER_REDIS_URL}", "--stop-notice", "10")
    done: list[subprocess.CompletedProcess[str]] = []
    removing = threading.Thread(target=lambda: done.append(cluster.dispatcher(*words)))
    removing.start()
    bodies, seen = iter(fresh_checkouts(2_000)), {"w1": list[tuple[int, int]](), "w2": list[tuple[int, int]]()}
    while removing.is_alive():
        for name, answers in seen.items():
            host = cluster.machines[name]
            ready = cluster.ask("/readyz", host)[0]
            _, body = next(bodies)
            answers.append((ready, cluster.ask("/v1/triggers", host, method="POST", body=body)[0]))
    removing.join()
    print(seen)
    assert done[0].returncode == 0, done[0].stdout + done[0].stderr
    for answers in seen.values():
        assert (503, 202) in answers, answers
        posted = [status for _, status in answers]
        assert posted == sorted(posted, key=[202, 503, 0].index), answers
