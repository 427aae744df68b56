"""A command with `--json` that fails prints the code of its error for programs."""

import json

import pytest
from click.testing import CliRunner, Result

from laion_assets.cli.main import main
from laion_assets.settings import Settings


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_DATA_DIR", str(settings.data_dir))


def test_an_error_has_its_code_and_its_message() -> None:
    result = run("release", "show", "--json")

    error = json.loads(result.stdout)["error"]
    assert result.exit_code == 1
    assert error["code"] == "release-missing"
    assert result.stderr == f"laion: {error['message']}\n"


def test_an_error_without_json_is_a_line_alone() -> None:
    result = run("release", "show")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "release-missing" not in result.stderr


def test_a_setting_that_cannot_be_used_has_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_SHEET_IMAGES", "names.csv")

    error = json.loads(run("search", "fox", "--json").stdout)["error"]

    assert error["code"] == "kind-name-invalid"


def test_wrong_usage_is_not_an_error_of_ours() -> None:
    result = run("search", "fox", "--sort", "size", "--json")

    assert (result.exit_code, result.stdout) == (2, "")
