"""The files in cluster/files agree with the code, and the tools that read them accept them."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from pydantic import ValidationError

from cluster.cli.main import main
from cluster.deploy import URL_VARIABLE
from cluster.nodes import SETTINGS
from dispatcher.config.settings import Settings
from dispatcher.config.yaml_file import load_settings
from dispatcher.errors import ConfigError
from tests.unit.cluster.delivered import FILES, loaded, text

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, by the hundred
ROOT = Path(__file__).parents[3]
CONFIG = "/etc/dispatcher/config-1.yaml"
KEYS = "/etc/dispatcher-keys/api_keys.json"
REFERENCE = "${" + URL_VARIABLE + "}"
BOTH = SETTINGS


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(FILES / "config-1.yaml")


# Serve and KubeRay ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kubernetes() -> dict[str, Any]:
    """Return the RayService and the ConfigMaps of rayservice.yaml, by name."""
    found = [
        each for each in yaml.safe_load_all(text("rayservice.yaml")) if each["kind"] in ("RayService", "ConfigMap")
    ]
    return {document["metadata"]["name"]: document for document in found}


@pytest.fixture(scope="module")
def spec(kubernetes: dict[str, Any]) -> Any:
    return kubernetes["dispatcher"]["spec"]["rayClusterConfig"]


@pytest.fixture(scope="module")
def groups(spec: Any) -> dict[str, Any]:
    """Return the pod specifications of the head and of each worker group, by name."""
    workers = {group["groupName"]: group["template"]["spec"] for group in spec["workerGroupSpecs"]}
    return {"head": spec["headGroupSpec"]["template"]["spec"], **workers}


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the applications of serve.yaml as Ray reads them, by name, with paths that exist on this machine."""
    from ray.serve.schema import ServeDeploySchema

    keys = tmp_path_factory.mktemp("keys") / "api_keys.json"
    keys.write_text('{"keys": []}')
    moved = text("serve.yaml").replace(CONFIG, str(FILES / "config-1.yaml")).replace(KEYS, str(keys))
    read = ServeDeploySchema.model_validate(yaml.safe_load(moved)).applications
    return {entry.name: entry for entry in read}


@pytest.fixture(scope="module")
def pools(entries: dict[str, Any]) -> dict[str, Any]:
    """Return the deployment that each entry makes, by the entry's name."""
    return {name: built(entry) for name, entry in entries.items()}


def built(entry: Any) -> Any:
    """Build one application of a Serve configuration as Serve does, and return its deployment.

    Serve imports the builder, validates `args` by the builder's model, and calls the builder. `entry` is the
    application's entry in the configuration.
    """
    from ray._common.utils import import_attr
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

    application = call_user_app_builder_with_args_if_necessary(import_attr(entry.import_path), entry.args)
    return application._bound_deployment


def test_serve_yaml_makes_the_applications_that_the_code_makes(
    entries: dict[str, Any], pools: dict[str, Any], settings: Settings
) -> None:
    """Each entry of serve.yaml makes the same deployment as the code: the same options, arguments and class."""
    from serve_app.applications import applications, cluster_place

    runtime = {
        "redis_url": REFERENCE,
        "api_keys": entries["intake"].args["api_keys"],
        "keys_required": "yes",
        "warnings": "",
    }
    wanted = applications(settings, runtime, cluster_place(2))
    assert set(pools) == set(wanted)
    for name, found in pools.items():
        expected = wanted[name]._bound_deployment
        assert found == expected, name
        assert found.func_or_class.__name__ == expected.func_or_class.__name__
        assert entries[name].route_prefix == ("/" if name == "intake" else None)


def test_an_entry_overrides_nothing(entries: dict[str, Any]) -> None:
    """No entry of the Serve files sets options of a deployment.

    These options stand in the code only. So an application has the same options whether `deploy` or a Serve file starts
    it.
    """
    for entry in entries.values():
        assert "deployments" not in entry.model_dump(exclude_unset=True)


def test_replicas_ask_for_cores_that_make_ray_add_a_machine(pools: dict[str, Any]) -> None:
    """Each intake replica asks for at least 0.5 of a core, and each other replica for 0.25.

    With 0.01 of a core, Ray would put 200 replicas on a machine with two cores.
    """
    for name, pool in pools.items():
        assert pool.ray_actor_options["num_cpus"] >= (0.5 if name == "intake" else 0.25), name


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("intake", {"api_keys": "/nonexistent/keys.json"}, "anybody may post"),
        ("vendor-sms-a", {"vendor": "sms-z"}, "has only intake, supervisor, vendor-email-a"),
        ("vendor-sms-a", {"vendors": "sms-a"}, "Extra inputs are not permitted"),
        ("supervisor", {"config": "/nonexistent/config-2.yaml"}, "cannot be read"),
    ],
)
def test_a_builder_refuses_what_it_cannot_build(
    entries: dict[str, Any], name: str, change: dict[str, str], word: str
) -> None:
    """If the arguments of an application are wrong, its builder fails and names the reason.

    For example, a missing key file does not start a service without keys.
    """
    entry = entries[name].model_copy(update={"args": {**entries[name].args, **change}})
    with pytest.raises((ConfigError, ValidationError), match=word):
        built(entry)


def test_kuberay_serves_the_same_file(kubernetes: dict[str, Any]) -> None:
    """rayservice.yaml contains the same applications as serve.yaml and the same configuration as config-1.yaml."""
    assert yaml.safe_load(kubernetes["dispatcher"]["spec"]["serveConfigV2"]) == loaded("serve.yaml")
    assert yaml.safe_load(kubernetes["dispatcher-config"]["data"]["config-1.yaml"]) == loaded("config-1.yaml")


def test_no_environment_of_serve_in_the_serve_file() -> None:
    """serve.yaml has no `runtime_env`. Its variables would reach only the replicas, and the controller and the proxies
    would run with other settings.
    """
    assert "runtime_env" not in json.dumps(loaded("serve.yaml"))


def test_every_pod_has_the_settings_the_secrets_and_the_files(
    kubernetes: dict[str, Any], groups: dict[str, Any]
) -> None:
    """Every pod has Ray's settings, the secrets and the files, because builders and replicas may run on any pod."""
    assert kubernetes["dispatcher-ray-settings"]["data"] == BOTH
    for name, pod in groups.items():
        (container,) = pod["containers"]
        sources = [next(iter(source.values()))["name"] for source in container["envFrom"]]
        assert sources == ["dispatcher-ray-settings", "dispatcher-vendors"], name
        url, home = container["env"]
        assert home == {"name": "HOME", "value": "/tmp"}  # the root file system is read-only
        assert url == {
            "name": URL_VARIABLE,
            "valueFrom": {"secretKeyRef": {"name": "dispatcher-redis", "key": "url"}},
        }
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert set(mounts) == set(volumes)
        assert volumes["config"]["configMap"]["name"] in kubernetes
        assert f"{mounts['config']}/config-1.yaml" == CONFIG
        (item,) = volumes["keys"]["secret"]["items"]  # required by name: a secret without it must not start a pod
        assert f"{mounts['keys']}/{item['path']}" == KEYS
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_secrets_are_references(kubernetes: dict[str, Any]) -> None:
    """No file holds a password. Each option of a vendor is a `${NAME}` reference, and no Secret is written out."""
    assert all(document["kind"] != "Secret" for document in kubernetes.values())
    for vendor in loaded("config-1.yaml")["vendors"].values():
        assert all(re.fullmatch(r"\$\{[A-Z_]+\}", value) for value in vendor["options"].values())
    urls = {application["args"]["redis_url"] for application in loaded("serve.yaml")["applications"]}
    assert urls == {REFERENCE}


def test_the_gcs_has_a_redis_of_its_own(spec: Any) -> None:
    """Ray's GCS and the notifications use different Redis servers, so that the loss of one does not affect the
    other.
    """
    gcs = spec["gcsFaultToleranceOptions"]
    assert gcs["redisAddress"]
    assert gcs["redisPassword"]["valueFrom"]["secretKeyRef"]["name"] != "dispatcher-redis"


def test_the_pods_hold_what_the_pools_may_grow_to(spec: Any, entries: dict[str, Any], pools: dict[str, Any]) -> None:
    """The smallest cluster of the Kubernetes file has enough cores for the smallest size of every pool.

    The largest cluster has twice the cores that the largest sizes of all pools need.
    """
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    least = most = 0.0
    for name in entries:
        cpus, config = pools[name].ray_actor_options["num_cpus"], pools[name]._deployment_config
        pool = config.autoscaling_config
        least += cpus * (pool.min_replicas if pool else config.num_replicas)
        most += cpus * (pool.max_replicas if pool else config.num_replicas)
    (group,) = spec["workerGroupSpecs"]
    each = float(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert 2 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert least <= each * group["minReplicas"]
    assert 2 * most <= each * group["maxReplicas"]


def test_a_pod_may_take_as_long_as_a_drain(groups: dict[str, Any], pools: dict[str, Any]) -> None:
    """After a worker pod is told to end, Kubernetes waits longer than the stop notice and the longest drain of a
    replica take.
    """
    drain_s = max(pool._deployment_config.graceful_shutdown_timeout_s for pool in pools.values())
    (worker,) = groups["actors"]["containers"]
    notice_s = notice_of(worker["lifecycle"]["preStop"]["exec"]["command"], main.commands["node"].commands["leave"])  # type: ignore[attr-defined]
    assert groups["actors"]["terminationGracePeriodSeconds"] > notice_s + drain_s


def notice_of(words: list[str], command: click.Command) -> float:
    """Return the value of the option --stop-notice in the command line `words`. Also check that `command` has every
    option in `words`.
    """
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    return float(words[words.index("--stop-notice") + 1])


def test_the_versions_are_one(spec: Any, groups: dict[str, Any]) -> None:
    """All files name the image that the Dockerfile builds, and the Ray version of the lock file."""
    locked = re.search(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked and spec["rayVersion"] == locked[1]
    named = {container["image"] for pod in groups.values() for container in pod["containers"]}
    image = {loaded("ray-up.yaml")["docker"]["image"], *named, groups["head"]["initContainers"][0]["image"]}
    assert image == {"dispatcher:0.1.0"}
    assert "-t dispatcher:0.1.0 ." in text("Dockerfile")


# The other ways to run it ---------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions as (word, rest), with continued lines joined and comments dropped."""
    lines = [line for line in text("Dockerfile").splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def test_the_image_has_the_settings() -> None:
    """The image's environment is that of cluster/local/ray_settings.py, plus the path of the HAProxy wrapper."""
    found = [word.partition("=")[::2] for kind, rest in instructions() if kind == "ENV" for word in shlex.split(rest)]
    launcher = {"RAY_SERVE_HAPROXY_BINARY_PATH": "/opt/dispatcher/haproxy"}
    assert dict(found) == {**BOTH, **launcher}
    assert len(found) == len(BOTH) + 1


def test_the_image_is_pinned_and_not_root() -> None:
    """The image's base and the Python packages are pinned, and its user is not root.

    Every copied file exists and is let through by the ignore file.
    """
    found = instructions()
    stages = [rest for kind, rest in found if kind == "FROM"]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})? AS base", stages[0])
    assert stages[1:] == ["base AS build", "base"]
    assert any(kind == "RUN" and "--require-hashes -r /tmp/requirements.lock" in rest for kind, rest in found)
    assert dict(found)["USER"] == "1000:1000"
    copies = [rest for kind, rest in found if kind == "COPY"]
    assert [rest for rest in copies if rest.startswith("--")] == ["--from=build /wheel /tmp/wheel"]
    copied = {name for rest in copies if not rest.startswith("--") for name in rest.split()[:-1]}
    allowed = {line[1:] for line in text("Dockerfile.dockerignore").splitlines() if line.startswith("!")}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert ("RUN", "dispatcher node prepare /opt/dispatcher") in found


def test_the_image_has_no_development_tool() -> None:
    """The last stage of the image contains neither development requirements nor the source."""
    found = instructions()
    last = [rest for _, rest in found[max(n for n, (kind, _) in enumerate(found) if kind == "FROM") :]]
    assert not any("requirements-dev" in rest or "/source" in rest for rest in last)


def test_ray_up_is_accepted_by_ray() -> None:
    """Ray's launcher validates ray-up.yaml, which starts exactly two workers."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(loaded("ray-up.yaml"))
    validate_config({"cluster_synced_files": [], **prepared})
    (node,) = prepared["available_node_types"].values()
    assert (node["min_workers"], node["max_workers"]) == (2, 2)


def test_ray_up_uses_ray_as_the_pods_do(spec: Any) -> None:
    """ray-up.yaml starts Ray with the same options as rayservice.yaml: no CPUs on the head, a small object store, a
    token.
    """
    found = loaded("ray-up.yaml")
    head, worker = found["head_start_ray_commands"][-1], found["worker_start_ray_commands"][-1]
    for name, command in (("headGroupSpec", head), ("workerGroupSpecs", worker)):
        group = spec[name] if name == "headGroupSpec" else spec[name][0]
        assert all(f"--{option}={value}" in command for option, value in group["rayStartParams"].items())
    options = found["docker"]["run_options"]
    assert f"--env=RAY_AUTH_MODE={spec['authOptions']['mode']}" in options
    assert any(option.startswith("--env=RAY_REDIS_ADDRESS=") for option in options), "a lost head would end everything"
    assert "--redis-password=" in head


def test_the_unit_of_a_node_starts_ray_again() -> None:
    """The systemd unit restarts Ray after any end, and waits for Ray's drain.

    The unit reads the node's variables, and uses only options that Ray knows.
    """
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text("dispatcher-node.service"))
    service = unit["Service"]
    assert (service["Restart"], service["KillMode"]) == ("always", "mixed")
    assert "EnvironmentFile=/etc/dispatcher/node/node.env" in text("dispatcher-node.service")
    from ray.scripts.scripts import start

    notice_s = notice_of(shlex.split(service["ExecStop"]), main.commands["node"].commands["leave"])  # type: ignore[attr-defined]
    assert float(service["TimeoutStopSec"]) >= notice_s + 60.0
    rest = text("dispatcher-node.service").replace(service["ExecStop"], "")
    words = shlex.split(service["ExecStart"]) + re.findall(r"--[\w-]+", rest)
    known = {option for parameter in start.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


def test_the_unit_runs_up_and_waits_for_its_drain(pools: dict[str, Any]) -> None:
    """systemd signals only the program, and waits longer than the program's notice and drain.

    `up` knows every option in the unit.
    """
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text("dispatcher.service"))
    service = unit["Service"]
    assert service["KillMode"] == "mixed"
    single = [pools[name]._deployment_config.graceful_shutdown_timeout_s for name in ("intake", "supervisor")]
    drain_s = sum(single) + 30.0  # serve_app.applications waits no longer for all vendors together
    notice_s = notice_of(shlex.split(service["ExecStart"]), main.commands["up"])
    assert float(service["TimeoutStopSec"]) >= notice_s + drain_s + 20.0  # Ray, the sandbox, Redis, leftovers
    program, command, *options = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/dispatcher") and command == "up"
    known = {option for parameter in main.commands["up"].params for option in parameter.opts}
    assert {option for option in options if option.startswith("--")} <= known
    assert options[options.index("--state-dir") + 1] == f"/var/lib/{service['StateDirectory']}"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_the_configuration_is_valid() -> None:
    """`config check` accepts config-1.yaml if the secrets are set.

    Otherwise it names each missing variable, at the field that needs it.
    """
    words = ["config", "check", str(FILES / "config-1.yaml")]
    there = {"TWILIO_ACCOUNT_SID": "AC1", "SMS_SENDER": "+4915112345678", "SMTP_HOST": "smtp.example.com"}
    there |= {"EMAIL_SENDER": "Shop <shop@example.com>", "SMTP_USERNAME": "u", "SMTP_PASSWORD": "p\n"}
    there |= dict.fromkeys(("TWILIO_AUTH_TOKEN", "VONAGE_API_KEY", "VONAGE_API_SECRET", "SENDGRID_API_KEY"), "s\n")
    done = CliRunner().invoke(main, words, env=there)
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, words, env=dict.fromkeys(there))
    assert done.exit_code == 2
    assert all(f"the environment variable {name} is not set" in done.output for name in there)
    assert "vendors.email-b.options.host: ${SMTP_HOST}" in done.output
    done = CliRunner().invoke(main, [*words, "--secrets-elsewhere"], env=dict.fromkeys(there))
    assert done.exit_code == 0, done.output


def test_the_readme_names_every_file() -> None:
    """The README of cluster/files names every file there, and no file that does not exist."""
    named = {name for name in re.findall(r"`([\w.-]+)`", text("README.md")) if (FILES / name).exists()}
    there = {path.name for path in FILES.iterdir()} - {"README.md", "Dockerfile.dockerignore"}
    assert named == there
    assert set(re.findall(r"cluster/files/([\w.-]+)", text("README.md"))) <= there
