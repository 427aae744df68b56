"""`laion publish`: where it publishes to, and what it says."""

from pathlib import Path

import lance
import pytest
from click.testing import CliRunner, Result

from laion_assets.cli.main import main
from laion_assets.settings import Settings
from laion_assets_tests.pipeline import ingest, refresh

pytestmark = pytest.mark.slow


def publish(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["publish", *arguments])


def test_a_release_is_published_to_a_folder(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAION_DATA_DIR", str(settings.data_dir))
    place = tmp_path / "out"
    assert "no release yet" in publish(str(place)).stderr
    ingest(settings, "a", "a fox", "two foxes")
    refresh(settings, "one")
    ingest(settings, "b", "a third fox")
    refresh(settings, "two")

    old = publish(str(place), "--release", "one")

    assert old.exit_code == 0
    assert old.stdout.startswith(f"{place}: release one, 2 images; ")
    assert old.stderr == (
        f"laion: the dataset card lacks license and contact; write them into "
        f"{settings.curation_file} under [publish]\n"
    )
    settings.curation_file.write_text("[publish]\nlicense='cc-by-4.0'\ncontact='me@a.test'\n")
    newest = publish(str(place))
    assert newest.stdout.startswith(f"{place}: release two, 3 images; ")
    assert "MB" in newest.stdout
    assert newest.stderr == ""
    assert publish(str(place)).stdout == f"{place}: release two, 3 images; nothing new\n"
    assert lance.dataset(place / "data" / "train.lance", version="one").count_rows() == 2
    again = publish(str(place), "--release", "one")
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)
    assert "has release two, which is newer than one" in again.stderr
    assert "name one" in publish("s3://bucket/there").stderr
