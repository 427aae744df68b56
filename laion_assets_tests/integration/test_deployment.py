"""Each command line of deploy/ runs as it stands, paths of containers mapped into a folder."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from laion_assets.exports.datasette import export_datasette
from laion_assets.project import init_project
from laion_assets.settings import REPOSITORY, Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.integration.deployment import (
    DEPLOY,
    IMAGE,
    Place,
    Role,
    make_container,
    read_container_file,
    read_environment,
    read_last,
    read_roles,
    read_toml,
    read_unit,
)
from laion_assets_tests.integration.web_ui import wait_for
from laion_assets_tests.pipeline import ingest, refresh

ROLES = read_roles()
UNITS = {"laion-daemon": "daemon", "laion-dagster": "dagster", "laion-search": "search"}


def list_files(folder: Path) -> dict[str, int]:
    """Returns all files with the time of their last change."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def forbid_writing(folder: Path) -> None:
    """Does what `:ro` behind a volume does."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)


def allow_writing(folder: Path) -> None:
    """Lets pytest clean up."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data folder with a release of two images."""
    settings = Settings.default(tmp_path_factory.mktemp("released") / "data")
    ingest(settings, "a", "a red fox", "a grey fox")
    refresh(settings)
    return settings


@pytest.fixture
def container(tmp_path: Path, released: Settings) -> Iterator[Place]:
    """A container of our image that has a release, and may write only where a volume is."""
    place = make_container(tmp_path / "container")
    shutil.copytree(released.data_dir, place.root / "data", dirs_exist_ok=True)
    before = list_files(place.root / "laion")
    yield place
    assert list_files(place.root / "laion") == before
    allow_writing(place.root)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ROLES)
def test_a_service_of_compose_runs_and_is_healthy(container: Place, name: str) -> None:
    role = ROLES[name]
    forbid_writing(container.root / "laion")
    if role.is_reading:
        forbid_writing(container.root / "data")
    with role.start(container) as process:

        def is_healthy() -> bool:
            said = (container.root / f"{name}.log").read_text("utf-8")
            assert process.poll() is None, said
            # Each question is a program that takes seconds to start; what is silent is not up yet.
            return bool(said) and role.is_healthy(container)

        wait_for(is_healthy, f"the health of {name}")
    assert "Traceback" not in (container.root / f"{name}.log").read_text("utf-8")


@pytest.mark.exhaustive
def test_a_service_that_does_not_run_is_not_healthy(container: Place) -> None:
    assert {name: role.is_healthy(container) for name, role in ROLES.items()} == dict.fromkeys(
        ROLES, False
    )


def test_only_the_search_page_gets_the_data_read_only() -> None:
    assert {name: role.is_reading for name, role in ROLES.items()} == {
        "daemon": False,
        "dagster": False,
        "search": True,
    }


@pytest.mark.exhaustive
def test_the_image_is_a_place_for_commands(container: Place) -> None:
    status = ROLES["daemon"].run(container, "laion", "status", "--json")
    assert json.loads(status.stdout)["release"], status.stderr


@pytest.mark.exhaustive
def test_the_container_file_starts_the_search_page(container: Place) -> None:
    words, health = read_last(IMAGE, "CMD"), read_last(IMAGE, "HEALTHCHECK")
    role = Role("page", words, read_environment(IMAGE), "/laion", health, is_reading=True)
    forbid_writing(container.root)
    (container.root / "page.log").touch()
    allow_writing(container.root / "tmp")
    with role.start(container):
        wait_for(lambda: role.is_healthy(container), "the search page")
        found = requests.get(f"{container.url('8000')}/search.json?q=fox", timeout=20).json()
        assert found["total"] == 2


def test_the_volume_of_the_image_belongs_to_its_user(tmp_path: Path) -> None:
    """The second stage runs one command; a new volume takes its owner from what that makes."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    last = max(instruction.stage for instruction in IMAGE)
    (text,) = [i.text for i in IMAGE if i.name == "RUN" and i.stage == last]
    (user,) = [i.text for i in IMAGE if i.name == "USER"]
    place = Place(tmp_path, "/data")
    subprocess.run(shlex.split(place.map(text)), check=True)
    status = (tmp_path / "data").stat()
    assert f"{status.st_uid}:{status.st_gid}" == user


@pytest.mark.exhaustive
def test_fly_serves_the_tables_of_a_release(tmp_path: Path, released: Settings) -> None:
    fly = read_toml("fly.toml")
    (mount,) = fly["mounts"]
    image = read_environment(IMAGE)
    assert mount["destination"] == image["LAION_DATA_DIR"]
    assert str(fly["http_service"]["internal_port"]) == "8000"
    place = make_container(tmp_path / "fly")
    shutil.copytree(released.lance_dir, place.root / "data" / "lance")
    (check,) = fly["http_service"]["checks"]
    command = shlex.split(fly["processes"]["app"])
    role = Role("fly", command, {**image, **fly["env"]}, "/laion")
    with role.start(place):
        url = place.url(str(fly["http_service"]["internal_port"]))
        wait_for(lambda: answers(url + check["path"]), "the search page")
        (figures,) = fly["metrics"]
        assert answers(place.url(str(figures["port"])) + figures["path"])


def answers(url: str) -> bool:
    """Returns whether a server is well."""
    try:
        return requests.get(url, timeout=20).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.exhaustive
def test_datasette_serves_an_export(tmp_path: Path, released: Settings) -> None:
    file, fly = (
        read_container_file(DEPLOY / "datasette" / "Dockerfile"),
        read_toml("datasette/fly.toml"),
    )
    place = Place(tmp_path, "/data", "/tmp")  # noqa: S108
    (tmp_path / "tmp").mkdir()
    (tmp_path / "data").mkdir()
    export_datasette(LanceStore(released.lance_dir), tmp_path / "data")
    environment = {"PATH": "/venv/bin", **read_environment(file)}
    health = read_last(file, "HEALTHCHECK")
    role = Role("datasette", read_last(file, "CMD"), environment, "/data", health)
    assert fly["mounts"][0]["destination"] == "/data"
    with role.start(place):
        wait_for(lambda: role.is_healthy(place), "Datasette")
        url = place.url(str(fly["http_service"]["internal_port"]))
        (check,) = fly["http_service"]["checks"]
        assert answers(url + check["path"])
        found = requests.get(f"{url}/laion/images.json?_search=fox&_shape=array", timeout=20)
        assert [row["text"] for row in found.json()] == ["a red fox", "a grey fox"]
        (database,) = requests.get(f"{url}/-/databases.json", timeout=20).json()
        assert (database["name"], database["is_mutable"]) == ("laion", False)
        assert requests.get(f"{url}/laion.db", timeout=20).status_code == 403


@pytest.mark.exhaustive
def test_the_datasette_that_is_tested_is_the_one_in_the_image() -> None:
    file = read_container_file(DEPLOY / "datasette" / "Dockerfile")
    (text,) = [instruction.text for instruction in file if instruction.name == "RUN"]
    program, *arguments = shlex.split(text)
    assert program == "pip"
    # It finds the installed one, and has nothing to ask for.
    command = [sys.executable, "-m", "pip", *arguments, "--no-index"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def machine(tmp_path: Path, released: Settings) -> Place:
    """A machine with a project in /srv/laion, as `laion init` makes it."""
    place = Place(tmp_path / "machine", "/srv/laion")
    init_project(place.root / "srv" / "laion")
    shutil.copytree(released.data_dir, place.root / "srv/laion/data", dirs_exist_ok=True)
    (place.root / "tmp").mkdir()
    return place


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_of_systemd_runs_what_a_service_of_compose_runs(machine: Place, name: str) -> None:
    """Such a service runs in a test of its own; the unit itself in one that is exhaustive."""
    service = read_unit(f"{name}.service")["Service"]
    (command,) = service["ExecStart"]
    (folder,) = service["WorkingDirectory"]
    program, *arguments = shlex.split(command)
    composed = re.sub(r"(--[-a-z]+)=", r"\1 ", " ".join(ROLES[UNITS[name]].command))
    assert f"{Path(program).name} {' '.join(arguments)}" == composed.replace(
        "/laion/workspace.yaml", "workspace.yaml"
    ).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    assert Path(machine.map(program)).exists()
    assert (Path(machine.map(folder)) / "workspace.yaml").exists()
    # Dagster's own programs find the project by it, as in a container.
    assert f"PWD={folder}" in service["Environment"][0].split()


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in UNITS),
    ],
)
def test_a_unit_of_systemd_runs(machine: Place, name: str) -> None:
    service = read_unit(f"{name}.service")["Service"]
    (command,) = service["ExecStart"]
    (folder,) = service["WorkingDirectory"]
    words = shlex.split(" ".join(service["Environment"]))
    environment = dict(word.split("=", 1) for word in words)
    role = Role(name, shlex.split(command), environment, folder, ROLES[UNITS[name]].health)
    home = machine.root / "srv" / "laion"
    before = {path: at for path, at in list_files(home).items() if "/data/" not in path}
    with role.start(machine) as process:
        wait_for(lambda: ask_health(role, machine, process), f"the health of {name}")
    assert {path: at for path, at in list_files(home).items() if "/data/" not in path} == before


def ask_health(role: Role, place: Place, process: subprocess.Popen[bytes]) -> bool:
    said = (place.root / f"{role.name}.log").read_text("utf-8")
    assert process.poll() is None, said
    if not said:
        return False
    # systemd itself finds Dagster's home in the unit, and so does Dagster in .env.
    environment = {**role.environment, "DAGSTER_HOME": role.environment["PWD"]}
    return Role(role.name, role.health, environment, role.folder, role.health).is_healthy(place)


def test_the_repository_is_not_named_by_its_place() -> None:
    texts = [path.read_text("utf-8") for path in DEPLOY.rglob("*") if path.is_file()]
    assert not any(str(REPOSITORY) in text for text in texts)
