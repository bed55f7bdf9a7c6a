"""The Helm chart makes rayservice.yaml, and Kubernetes and KubeRay know every field.

Helm's own library renders the chart.

Nothing here has run on Kubernetes. The field tables of Kubernetes come with `kubernetes-validate`, and those of
KubeRay are in tests/data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cluster.delivered import FILES, loaded, text
from tests.unit.cluster.kuberay import VERSIONS, faults, pods

pytestmark = pytest.mark.peers
helm, kubernetes_validate = (
    import_module(name) if find_spec(name) else None for name in ("helm_python", "kubernetes_validate")
)

OLDEST = "1.27"  # `kubeVersion` of the chart
EVERYTHING = {
    "image": {
        "repository": "registry.example.com/dispatcher",
        "digest": f"sha256:{'a' * 64}",
        "pullSecrets": ["registry"],
    },
    "secrets": {"rayRedis": {"usernameKey": "username"}},
    "rayRedis": {"address": "rediss://gcs.example.com:6379"},
    "workers": {
        "min": 3,
        "max": 5,
        "tolerations": [{"key": "pool", "operator": "Exists"}],
        "priorityClassName": "high",
    },
    "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
    "ingress": {
        "enabled": True,
        "host": "notify.example.com",
        "className": "nginx",
        "tlsSecret": "tls",
        "annotations": {"a/b": "c"},
    },
    "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}]},
}
OPENSHIFT = {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
LEAST = {
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "checkRedis": False,
    "workers": {"spread": "ScheduleAnyway"},
    "head": {"nodeSelector": None},
}


@pytest.fixture(autouse=True)
def packages() -> None:
    if helm is None or kubernetes_validate is None:
        pytest.fail(
            "helm-python-sdk or kubernetes-validate cannot be had: install the extra peers-check", pytrace=False
        )


def rendered(values: Mapping[str, Any], *, name: str = "dispatcher", chart: Path = FILES / "helm") -> list[Any]:
    """Return the documents that `helm template` prints for config-1.yaml and these values."""
    with helm.Chart.load(chart) as loaded_chart:
        files = loaded_chart.render({"configuration": text("config-1.yaml"), **values}, name=name, namespace="shop")
    texts = [shown for path, shown in files.items() if not path.endswith("NOTES.txt")]
    return [document for shown in texts for document in yaml.safe_load_all(shown) if document]


def comparable(documents: list[Any]) -> dict[tuple[str, str], Any]:
    """Return the documents by kind and name.

    Texts that hold YAML are parsed, and the applications are sorted by name.
    """
    found = {}
    for document in documents:
        if document["kind"] == "RayService":
            serve = yaml.safe_load(document["spec"]["serveConfigV2"])
            serve["applications"].sort(key=lambda application: application["name"])
            document["spec"]["serveConfigV2"] = serve
        for file in [file for file in document.get("data", ()) if file.endswith(".yaml")]:
            document["data"][file] = yaml.safe_load(document["data"][file])
        found[document["kind"], document["metadata"]["name"]] = document
    return found


def judged(documents: list[Any]) -> Iterator[str]:
    """Yield a sentence for each fault that Kubernetes or KubeRay would find in the documents.

    The documents are checked against the oldest version of Kubernetes that we support, and against the newest.
    """
    builtin = [document for document in documents if document["kind"] != "RayService"]
    for document in documents:
        if document["kind"] == "RayService":
            for version in VERSIONS:
                yield from faults(document, version)
            for pod in pods(document):
                builtin.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "of-a-group"}, "spec": pod})
    for version in (OLDEST, kubernetes_validate.latest_version()):
        for document in builtin:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{document['kind']} {version}: {error.message[:300]}"


def test_the_chart_makes_rayservice_yaml() -> None:
    """With its shipped values the chart renders the same documents and fields as rayservice.yaml, so that both stay
    alike.
    """
    made = comparable(rendered({"configurationName": "config-1.yaml"}))
    assert made == comparable(list(yaml.safe_load_all(text("rayservice.yaml"))))


@pytest.mark.parametrize(
    "values", [{}, EVERYTHING, OPENSHIFT, LEAST], ids=["as shipped", "everything", "openshift", "least"]
)
def test_every_field_is_known(values: Mapping[str, Any]) -> None:
    """Kubernetes and KubeRay know every rendered field, whatever the values switch on and off."""
    documents = rendered(values)
    assert list(judged(documents)) == []


def test_values_reach_the_manifest() -> None:
    """The values in EVERYTHING appear in the fields that Kubernetes reads."""
    found = comparable(rendered(EVERYTHING, name="notify"))
    service = found["RayService", "notify"]["spec"]
    cluster = service["rayClusterConfig"]
    for pod in pods(found["RayService", "notify"]):
        image = f"registry.example.com/dispatcher@sha256:{'a' * 64}"
        assert {container["image"] for container in (*pod.get("initContainers", ()), *pod["containers"])} == {image}
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert cluster["gcsFaultToleranceOptions"]["redisUsername"]["valueFrom"]["secretKeyRef"]["key"] == "username"
    assert found["PodDisruptionBudget", "notify"]["spec"]["minAvailable"] == 2
    backend = found["Ingress", "notify"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == service["serveService"]["metadata"]["name"] == "notify-serve-svc"
    assert found["NetworkPolicy", "notify"]["spec"]["ingress"][-1]["from"] == EVERYTHING["networkPolicy"]["from"]  # type: ignore[index]


def test_a_number_of_the_platforms_choice() -> None:
    """With the values for OpenShift, no pod names a user, because OpenShift chooses one.

    The pods still must not run as root.
    """
    for pod in pods(comparable(rendered(OPENSHIFT))["RayService", "dispatcher"]):
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_a_changed_configuration_has_another_name() -> None:
    """If the chart renders a changed configuration, the configuration file gets another name, and every application
    names that file.

    Serve restarts an application only if its entry differs. Serve does not look into the file.
    """
    before, after = (
        comparable(rendered({"configuration": shown}))
        for shown in (text("config-1.yaml"), text("config-1.yaml").replace("vonage", "twilio"))
    )
    names = []
    for found in (before, after):
        (file,) = found["ConfigMap", "dispatcher-config"]["data"]
        applications = found["RayService", "dispatcher"]["spec"]["serveConfigV2"]["applications"]
        assert {application["args"]["config"] for application in applications} == {f"/etc/dispatcher/{file}"}
        names.append(file)
    assert names[0] != names[1]


def test_each_vendor_has_an_application() -> None:
    """The chart renders an application for each vendor in the configuration.

    Otherwise nobody would drain the vendor's mailbox.
    """
    more = text("config-1.yaml").replace("  sms-b:", "  sms-c: {adapter: vonage, channel: sms, options: {}}\n  sms-b:")
    serve = comparable(rendered({"configuration": more}))["RayService", "dispatcher"]["spec"]["serveConfigV2"]
    names = {application["name"] for application in serve["applications"]}
    assert names == {"supervisor", "intake", *(f"vendor-{name}" for name in yaml.safe_load(more)["vendors"])}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"configuration": ""}, "--set-file configuration="),
        ({"configuration": "vendors: {}"}, "names no vendors"),
        ({"configuration": "a: [b"}, "configuration: error converting YAML"),
        ({"worker": {"min": 3}}, "additional properties 'worker' not allowed"),
        ({"image": {"tagg": "1"}}, "additional properties 'tagg' not allowed"),
        ({"workers": {"min": 1}}, "/workers/min"),
        ({"workers": {"min": 4, "max": 3}}, "workers.max is less than workers.min"),
        ({"podDisruptionBudget": {"minAvailable": 2}}, "no node could ever be drained"),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "/podSecurityContext/runAsNonRoot"),
        ({"rayRedis": {"address": "redis://:secret@gcs:6379"}}, "/rayRedis/address"),
        ({"ingress": {"enabled": True}}, "ingress.host"),
        ({"readiness": {"path": "/metrics"}}, "/readiness/path"),
    ],
)
def test_bad_values_are_refused(values: Mapping[str, Any], word: str) -> None:
    """Wrong values are refused while the chart is rendered, and the error names the value."""
    with pytest.raises(helm.HelmError) as found:
        rendered(values)
    assert word in str(found.value)


def test_a_long_name_is_refused() -> None:
    """The chart refuses a name of more than 47 characters.

    KubeRay would refuse it only after Helm has reported success.
    """
    with pytest.raises(helm.HelmError, match="47 characters"):
        rendered({}, name="d" * 48)


def test_helm_finds_nothing_to_complain_about() -> None:
    """`helm lint --strict` reports no error, and at most recommends an icon."""
    report = helm.lint(FILES / "helm", {"configuration": text("config-1.yaml")}, strict=True)
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] in ([], ["icon is recommended"])


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("rayservice.yaml", "excludeHeadPodFromServeSvc", "excludeHeadPod"),
        ("rayservice.yaml", "gcsFaultToleranceOptions", "gcsFaultTolerance"),
        ("rayservice.yaml", "periodSeconds: 2", "periodSeconds: soon"),
        ("_pod.tpl", "allowPrivilegeEscalation", "allowPrivilegeEscalations"),
        ("disruption.yaml", "minAvailable: {{", "minimum: {{"),
        ("network-policy.yaml", "policyTypes", "policyType"),
        ("ingress.yaml", "pathType", "pathKind"),
    ],
)
def test_a_wrong_field_is_found(tmp_path: Path, file: str, right: str, wrong: str) -> None:
    """A wrong field in any template is found, which shows that every template is checked."""
    chart = tmp_path / "dispatcher"
    for path in (FILES / "helm").rglob("*"):
        if path.is_file():
            copy = chart / path.relative_to(FILES / "helm")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shown = path.read_text()
            if path.name == file and path.parent.name == "templates":
                assert right in shown
                shown = shown.replace(right, wrong)
            copy.write_text(shown)
    assert list(judged(rendered(EVERYTHING, chart=chart))) != []


def test_the_oldest_kubernetes_is_the_charts() -> None:
    """The chart's `kubeVersion` is the oldest version against which the fields are checked."""
    assert loaded("helm/Chart.yaml")["kubeVersion"] == f">={OLDEST}.0-0"
