"""`laion search`: what it prints of totals, and its orders."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from laion_assets.cli.main import main
from laion_assets.settings import Settings
from laion_assets_tests.conftest import make_settings
from laion_assets_tests.pipeline import ingest, refresh
from laion_assets_tests.web.conftest import ingest as ingest_rows


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Four foxes, one of them unsafe; the command only reads them."""
    settings = make_settings(tmp_path_factory.mktemp("released"))
    ingest(settings, "alpha", "a fox", "two foxes and a fox", "a hare", "the fox")
    ingest_rows(settings, "beta", [("an unsafe fox", "https://b.test/1.jpg", 0.9, 7.0)])
    ingest_rows(settings, "gamma", [("a lynx without a score", "https://c.test/1.jpg", None, 7.0)])
    refresh(settings)
    return settings


@pytest.fixture
def search(released: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command over them."""
    monkeypatch.setenv("LAION_DATA_DIR", str(released.data_dir))
    return lambda *arguments: CliRunner().invoke(main, ["search", "fox", *arguments])


@pytest.mark.exhaustive
def test_the_count_is_of_all_matches(search: Callable[..., Result]) -> None:
    assert search("--count").output == "4\n"
    assert search("--count", "--hide-unsafe").stdout == "3\n"
    assert search("--count", "--min-width", "2").output == "2\n"


def test_hidden_images_are_counted(search: Callable[..., Result]) -> None:
    printed = search("--hide-unsafe", "--limit", "1").stdout
    answer = json.loads(search("--hide-unsafe", "--limit", "1", "--json").stdout)

    assert printed.startswith("4 captions in release ")
    assert ", 1 of them hidden as unsafe (" in printed
    assert [answer[name] for name in ("total", "hidden", "shown")] == [4, 1, 3]
    assert len(answer["hits"]) == 1


@pytest.mark.usefixtures("search")
def test_images_without_a_score_are_told_of() -> None:
    def search(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["search", "fox OR lynx", *arguments])

    printed = search("--hide-unsafe")
    answer = json.loads(search("--hide-unsafe", "--json").stdout)

    assert printed.stderr == (
        "laion: 1 of the 4 that are shown have no score: nobody knows whether they are unsafe\n"
    )
    assert (answer["shown"], answer["unscored"]) == (4, 1)
    assert search().stderr == ""
    assert json.loads(search("--json").stdout)["unscored"] is None


def test_all_matches_are_sorted(search: Callable[..., Result]) -> None:
    def widths(*arguments: str) -> list[int]:
        return [hit["width"] for hit in json.loads(search("--json", *arguments).output)["hits"]]

    assert widths("--sort", "width", "--limit", "2") == [100, 3]
    assert widths("--sort", "width", "--ascending") == [0, 1, 3, 100]
    wrong = search("--sort", "url")
    assert (wrong.exit_code, "takes one of relevance, aesthetic" in wrong.output) == (2, True)


@pytest.mark.usefixtures("search")
def test_what_is_not_understood_is_said() -> None:
    result = CliRunner().invoke(main, ["search", "fox NOT", "--count"])

    assert result.stdout == "0\n"
    assert result.stderr == "laion: NOT was searched as a word; -word leaves a word out.\n"
