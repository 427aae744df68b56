"""A folder becomes a project, and the project's home is found."""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from laion_assets import settings as settings_module
from laion_assets.cli.main import main
from laion_assets.curation.curation_file import read_curation
from laion_assets.project import PROJECT_FILES, init_project, set_up_home
from laion_assets.runs.instance import load_environment
from laion_assets.settings import (
    REPOSITORY,
    Settings,
    find_history_dir,
    find_home,
    find_sheets_dir,
    is_project,
)
from laion_assets.subsets.check_subsets import check_subsets
from laion_assets_tests.raises import raises

DOTENV = Path(".env")


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which has nothing."""
    folder = tmp_path / "current"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def without_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a wheel, and a user without any project; returns the user's folder."""
    wheel_files = tmp_path / "site-packages" / "project_files"
    init_project(wheel_files)
    monkeypatch.setattr(settings_module, "WHEEL_FILES", wheel_files)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    return tmp_path / "user"


@pytest.fixture
def own_environment() -> Iterator[None]:
    """What a command changes in the environment and the current folder is put back."""
    before, folder = dict(os.environ), Path.cwd()
    yield
    os.environ.clear()
    os.environ.update(before)
    os.chdir(folder)


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_in_a_checkout_the_home_is_the_repository(in_empty_folder: Path) -> None:
    assert find_home({}) == REPOSITORY
    assert list_files(in_empty_folder) == set()


def test_a_named_home_goes_before_all_others(in_empty_folder: Path) -> None:
    init_project(in_empty_folder)

    assert find_home({"LAION_HOME": " /srv/laion "}) == Path("/srv/laion")
    assert find_home({"LAION_HOME": "below"}) == in_empty_folder / "below"
    assert find_home({"LAION_HOME": " "}) == in_empty_folder


@pytest.mark.parametrize("name", ["dagster.yaml", ".env"])
def test_the_current_folder_is_the_home_if_it_has_a_file_of_ours(
    in_empty_folder: Path, without_checkout: Path, name: str
) -> None:
    assert find_home({}) == without_checkout / ".local" / "share" / "laion"
    (in_empty_folder / name).write_bytes((REPOSITORY / name).read_bytes())

    assert find_home({}) == in_empty_folder


def test_files_of_another_dagster_project_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    (tmp_path / DOTENV).write_text("DAGSTER_HOME=${PWD}\n", encoding="utf-8")

    assert not is_project(tmp_path)


def test_data_and_history_are_in_the_home(tmp_path: Path) -> None:
    environ = {"LAION_HOME": str(tmp_path)}

    assert Settings.from_environment(environ).data_dir == tmp_path / "data"
    assert find_history_dir(environ) == tmp_path / "data" / "dagster"


def test_lists_of_the_project_go_before_the_bundled_ones(tmp_path: Path) -> None:
    assert find_sheets_dir(tmp_path) == REPOSITORY / "data" / "sheets"
    own = tmp_path / "data" / "sheets" / "brands.csv"
    own.parent.mkdir(parents=True)
    own.write_text("name\nAcme\n", encoding="utf-8")

    assert Settings.from_environment({"LAION_HOME": str(tmp_path)}).sheets == {"brands": str(own)}


def test_a_new_project_has_the_files_of_the_repository(tmp_path: Path) -> None:
    written = init_project(tmp_path)

    assert {*PROJECT_FILES, "data/sheets/artists.csv"} <= list_files(tmp_path)
    assert list_files(tmp_path) == {path.relative_to(tmp_path).as_posix() for path in written}
    for name in list_files(tmp_path):
        assert (tmp_path / name).read_bytes() == (REPOSITORY / name).read_bytes()
    assert is_project(tmp_path)


def test_the_wheel_has_every_file_of_a_project(tmp_path: Path) -> None:
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    included = build["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    init_project(tmp_path)

    assert included == {name: f"laion_assets/project_files/{name}" for name in included}
    for name in list_files(tmp_path):
        assert name in included or str(Path(name).parent) in included


def test_the_examples_of_curation_are_valid(tmp_path: Path) -> None:
    text = (REPOSITORY / "data" / "curation.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text) == {}
    lines = (line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
    examples = "\n".join(line for line in lines if line.startswith("[") or " = " in line)

    assert tomllib.loads(examples).keys() == {"keep", "columns", "publish", "subsets"}
    (tmp_path / "curation.toml").write_text(examples, encoding="utf-8")
    declared = read_curation(tmp_path / "curation.toml")
    check_subsets(declared, ())
    assert [subset.name for subset in declared.subsets] == ["lemurs"]
    names = ["aspect_ratio", "aesthetic_v3", "num_faces"]
    assert [column.name for column in declared.columns] == names
    assert (declared.publish.license, declared.publish.missing) == ("cc-by-4.0", ())


def test_a_project_is_written_twice_and_keeps_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    init_project(tmp_path)
    init_project(tmp_path)

    assert "notes.txt" in list_files(tmp_path)


def test_a_folder_with_other_files_of_these_names_is_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / "workspace.yaml").write_text("load_from: []\n", encoding="utf-8")

    with raises("project-has-other-files"):
        init_project(tmp_path)

    assert list_files(tmp_path) == {"workspace.yaml"}


def test_a_folder_that_cannot_be_made_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = CliRunner().invoke(main, ["init", str(tmp_path / "file" / "project")])

    assert result.exit_code == 1
    assert "not a directory" in result.stderr
    assert result.stderr.count("\n") == 1


def test_init_lists_what_it_wrote(in_empty_folder: Path) -> None:
    result = CliRunner().invoke(main, ["init", "project"])

    assert result.exit_code == 0
    assert set(result.stdout.split()) == {
        f"project/{name}" for name in list_files(in_empty_folder / "project")
    }


def test_a_home_is_set_up_without_changing_what_is_there(tmp_path: Path) -> None:
    (tmp_path / DOTENV).write_text("LAION_SHARDS=/a.parquet\n", encoding="utf-8")

    set_up_home(tmp_path)

    assert list_files(tmp_path) == {".env", "dagster.yaml"}
    assert (tmp_path / DOTENV).read_text(encoding="utf-8") == "LAION_SHARDS=/a.parquet\n"


@pytest.mark.usefixtures("own_environment", "without_checkout")
def test_without_a_checkout_a_command_sets_up_the_home_and_works_there(
    in_empty_folder: Path, without_checkout: Path
) -> None:
    home = without_checkout / ".local" / "share" / "laion"
    for name in ("LAION_HOME", "LAION_DATA_DIR", "DAGSTER_HOME"):
        os.environ.pop(name, None)

    settings = load_environment()

    assert settings.data_dir == home / "data"
    assert {os.environ["DAGSTER_HOME"], os.environ["PWD"], str(Path.cwd())} == {str(home)}
    assert list_files(in_empty_folder) == set()
    assert all(Path(location).is_file() for location in settings.sheets.values())
    assert load_environment() == settings


@pytest.mark.usefixtures("own_environment")
def test_a_relative_home_is_the_same_for_every_later_call(in_empty_folder: Path) -> None:
    os.environ["LAION_HOME"] = "mine"

    settings = load_environment()

    assert settings.data_dir == in_empty_folder / "mine" / "data"
    assert load_environment() == settings
