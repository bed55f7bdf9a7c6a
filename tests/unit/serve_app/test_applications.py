"""Checks what each replica is told about the place where it runs."""

from __future__ import annotations

from serve_app.applications import ONE_MACHINE, cluster_place


def test_on_a_cluster_a_replica_knows_what_a_vendor_actor_reserves() -> None:
    """The supervisor compares it with the CPUs that Ray has free. On one machine reservations mean nothing."""
    place = cluster_place(2)
    assert place.runtime == {"cluster": "yes", "vendor_cpus": "0.25"}
    assert float(place.runtime["vendor_cpus"]) == place.vendor_cpus
    assert ONE_MACHINE.runtime == {}
