"""The files of deploy/ are what Docker, Compose, Caddy, Fly, systemd and Grafana read."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from laion_assets.settings import REPOSITORY, Settings, find_misspelt
from laion_assets.web import clip_retrieval, protocol, uploads
from laion_assets.web.server import KEEP_ALIVE_S
from laion_assets_tests.integration.deployment import (
    DEPLOY,
    IMAGE,
    SETTINGS,
    read_compose,
    read_container_file,
    read_last,
    read_toml,
    read_unit,
)

FOLDER = Path(__file__).parent
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CONTAINER_FILES = [DEPLOY / "Dockerfile", DEPLOY / "datasette" / "Dockerfile"]
FLY_FILES = ["fly.toml", "datasette/fly.toml"]


def find_program(name: str) -> str:
    """Returns a program of this machine, or skips the test."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


# Containers.


def test_compose_yaml_is_valid() -> None:
    """By the schema of the Compose specification, which is Apache-2.0 as well."""
    schema = json.loads((FOLDER / "compose-spec.json").read_text("utf-8"))
    jsonschema.Draft7Validator(schema).validate(read_compose())


def read_cluster() -> dict[str, Any]:
    text = (DEPLOY / "cluster" / "compose.yaml").read_text("utf-8")
    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return document


def test_the_cluster_is_valid_and_private() -> None:
    schema = json.loads((FOLDER / "compose-spec.json").read_text("utf-8"))
    jsonschema.Draft7Validator(schema).validate(read_cluster())

    services = read_cluster()["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("${CLUSTER_ADDRESS:-127.0.0.1}:") for port in ports)
    # Strangers ask it. What can reach Ray runs code on all nodes.
    assert services["search"]["networks"] == ["search"]
    in_it = {name for name, service in services.items() if "search" in service.get("networks", ())}
    assert in_it == {"search", "store"}
    assert services["search"]["environment"].keys() & {"LAION_CATALOG", "LAION_RAY"} == set()
    # The image asks the search page, which the others are not.
    for name in ("ray-head", "ray-worker", "daemon", "dagster"):
        assert services[name]["healthcheck"]["test"][0] == "CMD", name


def test_the_settings_of_the_cluster_are_those_that_ray_needs() -> None:
    services = read_cluster()["services"]
    for name in ("ray-head", "ray-worker", "daemon", "dagster", "search"):
        variables = services[name]["environment"]
        values = {n: re.sub(r"\$\{[^}]+\}", "some", value) for n, value in variables.items()}
        ray = None if name == "search" else "http://ray-head:8265"
        assert Settings.from_environment(values).ray == ray, name
        assert Settings.from_environment(values).bucket == "s3://laion/data", name
        assert find_misspelt(values) == {}
    assert services["ray-head"]["command"][:4] == ["ray", "start", "--head", "--num-cpus=0"]
    assert "--address=ray-head:6379" in services["ray-worker"]["command"]


def test_the_pods_of_the_cluster_have_one_image_and_the_same_settings() -> None:
    folder = DEPLOY / "cluster"
    values = yaml.safe_load((folder / "kuberay-values.yaml").read_text("utf-8"))
    pods = list(yaml.safe_load_all((folder / "kubernetes.yaml").read_text("utf-8")))
    (settings,) = [pod["data"] for pod in pods if pod["kind"] == "ConfigMap"]
    secret = {"LAION_CATALOG": "postgresql://me:secret@host/laion"}

    head = f"http://{values['fullnameOverride']}-head-svc:8265"
    assert Settings.from_environment({**settings, **secret}).ray == head
    assert find_misspelt(settings) == {}
    # A secret would be read by whoever may read the settings.
    assert not [name for name in settings if "SECRET" in name or name in secret]
    image = f"{values['image']['repository']}:{values['image']['tag']}"
    sources = [{"configMapRef": {"name": "laion"}}, {"secretRef": {"name": "laion"}}]
    assert values["head"]["envFrom"] == values["worker"]["envFrom"] == sources
    deployments = {pod["metadata"]["name"]: pod for pod in pods if pod["kind"] == "Deployment"}
    assert deployments.keys() == {"laion-daemon", "laion-dagster", "laion-search"}
    for name, deployment in deployments.items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        # Strangers ask the search page, so it does not know how to reach Ray and Postgres.
        known = [{"secretRef": {"name": "laion-search"}}] if name == "laion-search" else sources
        assert (container["image"], container["envFrom"]) == (image, known)
        assert container["securityContext"]["runAsNonRoot"] is True
    assert values["head"]["rayStartParams"]["num-cpus"] == "0"
    # Of less than it asks for Kubernetes makes no pod, and the chart's own limit is one processor.
    for part in ("head", "worker"):
        asked, limit = values[part]["resources"]["requests"], values[part]["resources"]["limits"]
        assert limit.keys() == asked.keys()
        assert int(limit["cpu"]) >= int(asked["cpu"])
    (count,) = values["worker"]["containerEnv"]
    assert count == {
        "name": "PYTHON_CPU_COUNT",
        "value": values["worker"]["resources"]["limits"]["cpu"],
    }
    assert (
        f"\nray=={values['head']['rayVersion']}\n" in (REPOSITORY / "constraints.txt").read_text()
    )


def test_compose_refuses_to_start_without_names_and_login() -> None:
    for missing in ("LAION_HOST", "LAION_DAGSTER_HOST", "LAION_LOGIN_HASH"):
        rest = {name: value for name, value in SETTINGS.items() if name != missing}
        with pytest.raises(KeyError, match=missing):
            read_compose(rest)


def test_the_example_has_all_settings_of_compose() -> None:
    text = (DEPLOY / "env.example").read_text("utf-8")
    named = set(re.findall(r"^(\w+)=", text, flags=re.M))
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text("utf-8")))
    assert named == asked


def test_every_container_is_locked_up() -> None:
    for name, service in read_compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert "privileged" not in service, name


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    services = read_compose()["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["caddy"]
    assert services["search"]["networks"] == ["inside"]
    assert read_compose()["networks"]["inside"] == {"internal": True}


@pytest.mark.parametrize("path", CONTAINER_FILES, ids=lambda path: path.parent.name)
def test_the_images_run_as_a_user_of_their_own(path: Path) -> None:
    instructions = read_container_file(path)
    assert [i.text for i in instructions if i.name == "USER"] == ["10001:10001"]
    assert [i.name for i in instructions[-1:]] == ["CMD"]
    assert any(i.name == "HEALTHCHECK" for i in instructions)
    bases = [i.text.split()[0] for i in instructions if i.name == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)


@pytest.mark.parametrize("path", CONTAINER_FILES, ids=lambda path: path.parent.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    result = run(find_program("hadolint"), str(path))
    assert result.returncode == 0, result.stdout


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    copied = {
        word
        for i in IMAGE
        if i.name == "COPY" and not i.text.startswith("--from")
        for word in i.text.split()[:-1]
    }
    assert {f"!{word}" for word in copied} == {line for line in sent if line.startswith("!")}
    assert all((DEPLOY.parent / word).exists() for word in copied)


def test_every_search_page_for_the_public_limits_requests_per_second() -> None:
    fly = shlex.split(read_toml("fly.toml")["processes"]["app"])
    (unit,) = read_unit("laion-search.service")["Service"]["ExecStart"]
    commands = [read_compose()["services"]["search"]["command"], read_last(IMAGE, "CMD"), fly]
    for command in (*commands, shlex.split(unit)):
        words = " ".join(command).replace("=", " ").split()
        assert words[words.index("--requests-per-second") + 1] == "20"


# Fly.


@pytest.mark.parametrize("name", FLY_FILES)
def test_fly_checks_the_port_that_is_served(name: str) -> None:
    fly = read_toml(name)
    path = (DEPLOY / name).parent / fly["build"]["dockerfile"]
    (exposed,) = [i.text for i in read_container_file(path) if i.name == "EXPOSE"]
    service = fly["http_service"]
    assert str(service["internal_port"]) == exposed
    assert service["force_https"] is True
    # Both or none, as Fly asks for.
    assert (service["auto_stop_machines"], service["auto_start_machines"]) == ("off", False)
    (check,) = service["checks"]
    assert set(check) == {"method", "path", "interval", "timeout", "grace_period"}
    (mount,) = fly["mounts"]
    assert mount["destination"] == "/data"


def test_the_keys_of_fly_toml_are_those_of_its_reference() -> None:
    known = {
        *("app", "primary_region", "kill_signal", "kill_timeout", "build", "env", "processes"),
        *("mounts", "http_service", "metrics", "vm"),
    }
    for name in FLY_FILES:
        assert set(read_toml(name)) <= known


# systemd.


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_can_read_the_unit(unit: Path, tmp_path: Path) -> None:
    program = find_program("systemd-analyze")
    # It looks for the programs, too: they get a place here.
    command = tmp_path / "program"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={command}", unit.read_text("utf-8"), flags=re.M)
    copy = tmp_path / unit.name
    copy.write_text(text, "utf-8")
    result = run(program, "verify", str(copy))
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_the_unit_is_locked_up(unit: Path) -> None:
    """2.0 of 10 at most, as systemd counts exposure."""
    program = find_program("systemd-analyze")
    result = run(program, "security", "--offline=true", "--threshold=20", str(unit))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_the_unit_writes_the_data_alone(unit: Path) -> None:
    service = read_unit(unit.name)["Service"]
    assert service["ProtectSystem"] == ["strict"]
    expected = None if unit.stem == "laion-search" else ["/srv/laion/data"]
    assert service.get("ReadWritePaths") == expected
    assert service["User"] == ["laion"]


# Caddy.


def adapt_caddyfile() -> dict[str, Any]:
    """Returns what Caddy makes of the Caddyfile."""
    program = find_program("caddy")
    path = str(DEPLOY / "Caddyfile")
    result = run(program, "adapt", "--config", path, "--adapter", "caddyfile", **SETTINGS)
    assert result.returncode == 0, result.stderr
    (server,) = json.loads(result.stdout)["apps"]["http"]["servers"].values()
    return dict(server)


def find_all(node: object, key: str, value: str) -> list[dict[str, Any]]:
    """Returns all objects below a node in which a key has a value."""
    children = list(node.values()) if isinstance(node, dict) else node
    found = [node] if isinstance(node, dict) and node.get(key) == value else []
    if isinstance(children, list):
        found += [each for child in children for each in find_all(child, key, value)]
    return found


def read_size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(KB|KiB)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"KB": 1000, "KiB": 1024}[unit]


def test_the_proxy_takes_a_little_more_than_the_page() -> None:
    """So a visitor reads what the page says of a picture that is too large."""
    text = (DEPLOY / "Caddyfile").read_text("utf-8")
    sizes = re.findall(r"request_body @(\w+) \{\s+max_size (\w+)", text)
    limits = {
        "picture": uploads.MAX_UPLOAD_BYTES,
        "vectors": clip_retrieval.MAX_KNN_BYTES,
        "others": protocol.MAX_BODY_BYTES,
    }
    assert {name for name, _ in sizes} == set(limits)
    for name, size in sizes:
        assert limits[name] < read_size(size) < 2 * limits[name], name
    (head,) = re.findall(r"max_header_size (\w+)", text)
    assert read_size(head) == protocol.MAX_HEAD_BYTES


def test_the_proxy_lets_go_of_connections_before_the_page_does() -> None:
    text = (DEPLOY / "Caddyfile").read_text("utf-8")
    (seconds,) = re.findall(r"keepalive (\d+)s", text)
    assert int(seconds) < KEEP_ALIVE_S


def test_the_proxy_leaves_the_policy_of_content_to_the_page() -> None:
    lines = (DEPLOY / "Caddyfile").read_text("utf-8").splitlines()
    directives = [line for line in lines if not line.strip().startswith("#")]
    assert not any("content-security-policy" in line.lower() for line in directives)


def test_caddy_reads_the_caddyfile_and_serves_over_tls_alone() -> None:
    server = adapt_caddyfile()
    assert server["listen"] == [":443"]
    assert "automatic_https" not in server
    hosts = [route["match"][0]["host"] for route in server["routes"]]
    assert hosts == [[SETTINGS["LAION_HOST"]], [SETTINGS["LAION_DAGSTER_HOST"]]]
    assert (server["read_header_timeout"], server["read_timeout"]) == (10 * 10**9, 60 * 10**9)


def test_dagster_asks_for_the_login_before_anything_else() -> None:
    (_, dagster) = adapt_caddyfile()["routes"]
    (login,) = find_all(dagster, "handler", "authentication")
    (account,) = login["providers"]["http_basic"]["accounts"]
    assert account["username"] == SETTINGS["LAION_LOGIN"]


def test_the_bodies_that_the_proxy_takes_are_limited_for_each_page() -> None:
    (page, _) = adapt_caddyfile()["routes"]
    assert len(find_all(page, "handler", "request_body")) == 3
