"""The reference says what the code says, and the pages link to what there is."""

import re
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from docs.generate_reference import FOLDER, METADATA, write_pages
from laion_assets.definitions import build_defs, build_resources
from laion_assets.exports.asset import datasette
from laion_assets.runs.backfill import discover_shards
from laion_assets.settings import REPOSITORY, VARIABLES, Settings
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pictures.painting import paint

SETTINGS = REPOSITORY / "laion_assets" / "settings.py"
TEMPLATES = [*(REPOSITORY / ".github").rglob("*.md")]
PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *TEMPLATES]
README_LINES = 150


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """What `make reference` writes."""
    return write_pages()


@pytest.mark.parametrize(
    "name", ["commands.md", "settings.md", "assets.md", "tables.md", "messages.md"]
)
def test_a_page_of_the_reference_is_what_the_code_says(pages: dict[str, str], name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == pages[name], "run `make reference`"


def test_every_variable_that_is_read_is_described() -> None:
    read = re.findall(r'"((?:LAION|HF|AWS)_[A-Z0-9_]*)"', SETTINGS.read_text(encoding="utf-8"))
    described = {variable.name.replace("<KIND>", "") for variable in VARIABLES}
    assert set(read) == described


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


@pytest.mark.exhaustive
def test_the_metadata_of_every_materialization_is_described(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    # Most rows are rejected, so that the page says so too; one picture is whole, one is not.
    write_shard(
        "s",
        URL=["https://a.test/1", "https://a.test/2", "", "", ""],
        TEXT=["a", "b", "c", "d", "e"],
        punsafe=[0.1] * 5,
        jpg=pa.array([paint(1), b"?", None, None, None], pa.binary()),
        img_emb=pa.array([[0.6, 0.8]] * 5, pa.list_(pa.float32())),
    )
    declared = "[columns.ratio]\nsql = 'width / height'\n[subsets.some]"
    settings.curation_file.write_text(declared, encoding="utf-8")
    discover_shards(settings, instance)
    settings = replace(settings, publish=str(settings.data_dir.with_name("published")))
    defs = build_defs(settings)
    runs = [
        defs.resolve_job_def("ingest_shards").execute_in_process(
            instance=instance, partition_key="s"
        ),
        defs.resolve_job_def("add_pictures").execute_in_process(
            instance=instance, partition_key="s"
        ),
        defs.resolve_job_def("refresh_counts").execute_in_process(instance=instance),
        dg.materialize([datasette], instance=instance, resources=build_resources(settings)),
    ]
    kinds = set(settings.sheets)
    groups = {**dict.fromkeys(kinds, "names"), "some": "subsets"}
    shown = {
        (groups.get(asset, asset), key.replace("punsafe_", "<score>_"))
        for run in runs
        for event in run.get_asset_materialization_events()
        for asset in [event.materialization.asset_key.to_user_string()]
        for key in event.materialization.metadata
    }
    shown = {(asset, re.sub("|".join(kinds), "<kind>", key)) for asset, key in shown}
    described = {(asset, key) for asset, keys in METADATA.items() for key in [*keys, "duration_s"]}
    assert shown == described


def test_every_function_of_the_architecture_is_there() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    steps = re.findall(r"^ *(?:\d\.|\*) `(\w+/.*\.py)` ?((?:`\w+`(?:, )?)*)", text, flags=re.M)
    package = REPOSITORY / "laion_assets"
    assert len(steps) > 15
    missing = [
        f"{module}: {function}"
        for module, functions in steps
        for function in re.findall(r"\w+", functions)
        if f"def {function}(" not in (package / module).read_text(encoding="utf-8")
    ]
    assert missing == []
