"""KubeRay knows every field of rayservice.yaml, and the Helm chart agrees with the code.

`tests/peers/test_kubernetes.py` renders the chart, and compares it with rayservice.yaml.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cluster.nodes import SETTINGS
from tests.unit.cluster.delivered import loaded, text
from tests.unit.cluster.kuberay import VERSIONS, faults, pods

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, by the hundred
Documents = dict[str, Any]


@pytest.fixture(scope="module")
def documents() -> Documents:
    """Return the documents of rayservice.yaml, by kind. There are two ConfigMaps, and the result has only the last of
    them.
    """
    return {document["kind"]: document for document in yaml.safe_load_all(text("rayservice.yaml"))}


@pytest.fixture(scope="module")
def rayservice(documents: Documents) -> Any:
    return documents["RayService"]


def containers(rayservice: Any) -> Iterator[Any]:
    """Yield every container in the file. Also yield the file's settings for the autoscaler, whose container KubeRay
    makes.
    """
    for pod in pods(rayservice):
        yield from (*pod.get("initContainers", ()), *pod["containers"])
    yield {"name": "autoscaler", **rayservice["spec"]["rayClusterConfig"]["autoscalerOptions"]}


@pytest.mark.parametrize("version", VERSIONS)
def test_kuberay_knows_every_field(rayservice: Any, version: str) -> None:
    """KubeRay knows every field of rayservice.yaml.

    Two KubeRay versions are checked: the oldest version that has token authentication, and the newest version.
    """
    assert faults(rayservice, version) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("spec", "excludeHeadPodFromService", True),
        ("spec.rayClusterConfig", "authOption", {"mode": "token"}),
        ("spec.rayClusterConfig.authOptions", "mode", "tokens"),
        ("spec.rayClusterConfig.gcsFaultToleranceOptions", "redisUrl", "redis://gcs"),
        ("spec.rayClusterConfig.headGroupSpec", "rayStartParams", {"num-cpus": 0}),
        ("spec.rayClusterConfig.workerGroupSpecs.0", "minReplica", 2),
        ("spec.rayClusterConfig.workerGroupSpecs.0", "maxReplicas", "8"),
        ("spec.rayClusterConfig.workerGroupSpecs.0.template.spec", "securitycontext", {}),
        ("spec.rayClusterConfig.workerGroupSpecs.0.template.spec.containers.0", "readinesProbe", {}),
        ("spec.rayClusterConfig.workerGroupSpecs.0.template.spec.topologySpreadConstraints.0", "minDomain", 2),
    ],
)
def test_a_wrong_field_is_found(rayservice: Any, version: str, path: str, name: str, value: object) -> None:
    """One field of rayservice.yaml is misspelt, misplaced or has a value of another type. The check finds it and names
    it.
    """
    changed = place = copy.deepcopy(rayservice)
    for step in path.split("."):
        place = place[int(step) if step.isdigit() else step]
    place[name] = value
    (fault,) = faults(changed, version)
    assert name in fault


def test_every_container_is_restricted(rayservice: Any) -> None:
    """Every container, also KubeRay's autoscaler, fits the Pod Security Standard "restricted", which would otherwise
    refuse the pod.
    """
    found = {container["name"]: container for container in containers(rayservice)}
    assert set(found) == {"check-redis", "ray-head", "ray-worker", "autoscaler"}
    for name, container in found.items():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], name
        assert {"name": "HOME", "value": "/tmp"} in container["env"], name
    for pod in pods(rayservice):
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
        assert {"name": "tmp", "emptyDir": {}} in pod["volumes"]
        assert pod["enableServiceLinks"] is False  # a Service called ray-… would set variables that begin with RAY_


def test_two_workers_never_share_the_only_node(documents: Documents, rayservice: Any) -> None:
    """Kubernetes must schedule the two worker pods on two nodes, because each pod may hold one of the two intake
    replicas.

    At most one of the two pods may be evicted at a time.
    """
    (group,) = rayservice["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    labels = group["template"]["metadata"]["labels"]
    hard = group["template"]["spec"]["topologySpreadConstraints"][0]
    assert hard["whenUnsatisfiable"] == "DoNotSchedule" and hard["topologyKey"] == "kubernetes.io/hostname"
    assert (hard["maxSkew"], hard["minDomains"], hard["nodeTaintsPolicy"]) == (1, 2, "Honor")
    assert hard["matchLabelKeys"] == ["ray.io/cluster"]
    assert hard["labelSelector"]["matchLabels"].items() <= labels.items()
    budget = documents["PodDisruptionBudget"]["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert budget["minAvailable"] == group["minReplicas"] - 1 and "maxUnavailable" not in budget
    head = rayservice["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]
    assert not budget["selector"]["matchLabels"].items() <= head["metadata"]["labels"].items()
    policy = documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items()
    assert policy <= labels.items() and policy <= head["metadata"]["labels"].items()


def test_the_operator_may_reach_the_pods_however_it_was_installed(documents: Documents) -> None:
    """The network policy admits KubeRay's operator by its component label, which its Helm chart and its kustomize
    files share.
    """
    rules = documents["NetworkPolicy"]["spec"]["ingress"]
    (operator,) = [rule for rule in rules if any("namespaceSelector" in peer for peer in rule.get("from", ()))]
    (peer,) = operator["from"]
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "kuberay-operator"}
    assert {port["port"] for port in operator["ports"]} == {8265, 8000}


def test_a_pod_may_take_as_long_as_rays_own_drain(rayservice: Any) -> None:
    """Pods and the systemd unit wait at least 20 s longer than `ray start` drains after SIGTERM."""
    from ray._private.ray_constants import RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S as DRAIN_S

    for pod in pods(rayservice):
        assert pod["terminationGracePeriodSeconds"] >= DRAIN_S + 20
    found = re.search(r"^TimeoutStopSec=(\d+)", text("dispatcher-node.service"), re.MULTILINE)
    assert found and float(found[1]) >= DRAIN_S + 20


def test_the_service_has_the_workers_alone(rayservice: Any) -> None:
    """Only workers receive requests.

    A worker is ready when its HAProxy reaches a replica, whether or not Redis answers.
    """
    assert rayservice["spec"]["excludeHeadPodFromServeSvc"] is True
    *_, worker = pods(rayservice)
    (container,) = worker["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": "serve"}
    for pod in pods(rayservice):  # KubeRay uses the head's port of this name for the service
        assert {"name": "serve", "containerPort": 8000} in pod["containers"][0]["ports"]


def test_the_chart_has_the_facts_of_the_code() -> None:
    """The Helm chart has the same Ray settings, image and version as the code and the other files."""
    assert loaded("helm/ray-settings.yaml") == SETTINGS
    chart, values = loaded("helm/Chart.yaml"), loaded("helm/values.yaml")
    image = loaded("ray-up.yaml")["docker"]["image"]
    assert image == f"{values['image']['repository']}:{values['image']['tag']}"
    assert chart["version"] == chart["appVersion"] == values["image"]["tag"]
    assert values["configuration"] == ""  # Helm merges maps, so an example's vendors would stay
