"""`laion export`: where it writes, and what it says."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from laion_assets.cli.main import main
from laion_assets.settings import Settings
from laion_assets_tests.pipeline import ingest, refresh

pytestmark = pytest.mark.slow


def export(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", "datasette", *arguments])


def count_images(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM images").fetchone()[0])


@pytest.mark.exhaustive
def test_a_release_is_written_to_the_data_folder_or_where_it_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAION_DATA_DIR", str(settings.data_dir))
    assert export().exit_code == 1
    ingest(settings, "a", "a fox", "two foxes")
    refresh(settings, "one")
    ingest(settings, "b", "a third fox")
    refresh(settings, "two")

    newest, old = export(), export(str(tmp_path / "old.db"), "--release", "one")

    assert newest.output.startswith(f"{settings.datasette_file}: release two, 3 images, ")
    assert count_images(settings.datasette_file) == 3
    assert count_images(tmp_path / "old.db") == 2
    assert (
        "2 images, 0 unsafe ones left out, "
        in export("--release", "one", "--without-unsafe").output
    )
    assert old.exit_code == 0

    unknown = export("--release", "never")
    assert unknown.exit_code == 1
    assert "no release 'never'" in unknown.output
    foreign = export(str(settings.database))
    assert foreign.exit_code == 1
    assert "not written by an export, so it is not replaced" in foreign.output


def test_a_release_is_written_as_parquet(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAION_DATA_DIR", str(settings.data_dir))
    ingest(settings, "a", "a fox", "two foxes")
    refresh(settings, "one")
    ingest(settings, "b", "a third fox")
    refresh(settings, "two")

    newest = CliRunner().invoke(main, ["export", "parquet"])
    old = CliRunner().invoke(
        main, ["export", "parquet", str(tmp_path / "x"), "--release", "one", "--without-unsafe"]
    )

    assert newest.output.startswith(f"{settings.parquet_dir}: release two, 3 images, 2 shards, ")
    assert old.output.startswith(
        f"{tmp_path / 'x'}: release one, 2 images, 0 unsafe ones left out, 1 shard, "
    )
    record = json.loads((tmp_path / "x" / "_release.json").read_text("utf-8"))
    assert (record["release"], record["is_safe"]) == ("one", True)
    foreign = CliRunner().invoke(main, ["export", "parquet", str(settings.lance_dir)])
    assert foreign.exit_code == 1
    assert "not written by an export of parquet" in foreign.output
