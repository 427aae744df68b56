"""What `laion demo` says at its end."""

from dataclasses import replace

import pytest

from laion_assets.demo.report import print_report
from laion_assets.settings import Settings
from laion_assets_tests.pipeline import ingest, refresh

pytestmark = pytest.mark.slow


def test_the_report_says_what_there_is_and_where(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(settings, "a", "some artists", "a hen", "")
    ingest(settings, "b", "a red boat")
    tag = refresh(settings)

    print_report(settings)

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "images 3 of 2 shards, 1 rows rejected",
        "domain_counts 2 domains: a.test (2), b.test (1)",
        "entity_counts 3 names, 1 of them in a caption",
        f"DuckDB {settings.database}",
        f"Lance {settings.lance_dir}",
        f"parquet files {settings.raw_dir}",
    ):
        assert line in lines
    assert any(line.startswith(f"release {tag}, Lance version ") for line in lines)
    assert not any("--by meaning" in line for line in lines)
    print_report(replace(settings, embeddings="compute"))
    printed = capsys.readouterr().out
    assert "search 'red boat at sunset' --by meaning" in printed
    assert "drawn for their captions, with their vectors" in printed
