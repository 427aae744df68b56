"""A subset has the rows and columns that it is declared with, and says where they come from."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from laion_assets.cli.main import main
from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.embeddings.vector_index import PARTITION_VECTORS, VECTOR_INDEX
from laion_assets.releases.catalog import find_release
from laion_assets.releases.cleanup import delete_release
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.subsets import make_subset as make_module
from laion_assets.subsets.make_subset import SubsetOrder, make_subset
from laion_assets.subsets.subset_record import (
    RECORD_KEY,
    find_made,
    find_removed,
    list_made,
    read_record,
)
from laion_assets.subsets.subset_states import name_behind, read_subsets_status
from laion_assets_tests.conftest import copy_made, make_settings
from laion_assets_tests.pipeline import read_removals
from laion_assets_tests.raises import raises
from laion_assets_tests.subsets.shards import (
    COLUMNS,
    DIMENSION,
    bring_all,
    declare,
    make,
    make_rows,
    release,
)

pytestmark = pytest.mark.slow

SHARDS = {"b": 60, "a": 90, "c": 45}
Rows = list[dict[str, Any]]


class Compass:
    """Reads each text as the same direction: an encoder without a model."""

    name = "compass"
    dimension = DIMENSION
    digest = "c" * 64

    def embed_texts(self, texts: list[str]) -> np.ndarray[Any, Any]:
        """Returns the direction of the first axis, or nothing for a text that says so."""
        axis = np.zeros((len(texts), DIMENSION), np.float32)
        axis[:, 0] = [text != "nothing" for text in texts]
        return axis


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Three shards in a release, with pictures, vectors and two declared columns."""
    settings = make_settings(tmp_path_factory.mktemp("released"))
    curation = declare(settings, COLUMNS)
    for shard, row_count in SHARDS.items():
        bring_all(settings, shard, make_rows(shard, row_count), curation)
    release(settings, curation)
    return settings


@pytest.fixture
def own(released: Settings, settings: Settings) -> Settings:
    """A copy of the release for one test."""
    return copy_made(released, settings)


def read_release(settings: Settings) -> Rows:
    """Returns all rows of `images`, by shard and place."""
    rows = LanceStore(settings.lance_dir).open("images").to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["shard"], row["row_index"]))


def read_table(settings: Settings, name: str = "lemurs", version: str | None = None) -> pa.Table:
    return LanceStore(settings.lance_dir).open(name, version).to_table()


def pick(rows: Rows, columns: tuple[str, ...]) -> Rows:
    return [{name: row[name] for name in columns} for row in rows]


CHOSEN = ("image_id", "url", "caption", "image", "img_emb", "split")


def test_a_condition_picks_rows_with_pictures_and_vectors_in_a_fixed_order(own: Settings) -> None:
    subset = DeclaredSubset("lemurs", where="ratio > 1 AND NOT is_wide", columns=CHOSEN)
    made = make(own, subset, "ratio", "is_wide")
    expected = [r for r in read_release(own) if r["width"] <= 320 and r["width"] > r["height"]]
    table = read_table(own)
    assert 5 < len(expected) < 100
    assert table.schema.names == list(CHOSEN)
    assert table.to_pylist() == pick(expected, CHOSEN)
    images = LanceStore(own.lance_dir).open("images").schema
    assert [table.schema.field(n).type for n in CHOSEN] == [images.field(n).type for n in CHOSEN]

    record = made.record
    assert (record.row_count, record.match_count) == (len(expected), len(expected))
    assert record.picture_count == sum(row["image"] is not None for row in expected)
    assert record.vector_count == sum(row["img_emb"] is not None for row in expected)
    assert record.missing["image"] == len(expected) - record.picture_count
    assert dict(record.definition) == {"where": subset.where, "columns": list(CHOSEN)}


def test_the_table_has_the_tag_of_the_release_and_its_record(own: Settings) -> None:
    made = make(own, DeclaredSubset("lemurs", where="width > 400"))
    table = lancedb.connect(str(own.lance_dir)).open_table("lemurs")
    table.checkout(made.record.release)
    assert table.count_rows() == made.record.row_count
    dataset = lance.dataset(str(own.lance_dir / "lemurs.lance"), version=made.record.release)
    assert read_record(dataset) == made.record
    # All columns but words of ours.
    images = LanceStore(own.lance_dir).open("images").schema.names
    assert dataset.schema.names == [name for name in images if name != "caption_words"]
    assert {"ratio", "is_wide", "image", "img_emb"} < set(dataset.schema.names)
    assert list_made(LanceStore(own.lance_dir)) == {"lemurs": made.record}


def test_words_and_a_limit_take_the_best_and_keep_the_order_of_the_rows(own: Settings) -> None:
    subset = DeclaredSubset(
        "lemurs", search="lemur -fox", columns=("shard", "row_index", "caption")
    )
    make(own, subset)
    expected = [
        row for row in read_release(own) if {"lemur", "lémur"} & set(row["caption"].lower().split())
    ]
    expected = [row for row in expected if "fox" not in row["caption"]]
    every = pick(expected, ("shard", "row_index", "caption"))
    assert read_table(own).to_pylist() == every

    made = make(own, replace(subset, limit=7))
    few = read_table(own).to_pylist()
    assert (len(few), made.record.match_count) == (7, len(every))
    assert [row for row in every if row in few] == few


def test_meaning_takes_the_nearest_of_all_rows_with_a_vector(own: Settings) -> None:
    subset = DeclaredSubset("lemurs", search="tree", like="a lemur in a tree", limit=9)
    order = SubsetOrder(subset, "run")
    store = LanceStore(own.lance_dir)
    made = make_subset(store, order, lambda _: Compass())  # type: ignore[arg-type,return-value]
    having = [
        row for row in read_release(own) if "tree" in row["caption"] and row["img_emb"] is not None
    ]
    nearest = sorted(having, key=lambda row: -row["img_emb"][0])[:9]
    names = ("shard", "row_index")
    expected = [row for row in pick(having, names) if row in pick(nearest, names)]
    assert pick(read_table(own).to_pylist(), names) == expected
    assert made.record.match_count == len(having)
    assert made.record.encoder_digest == "c" * 64


def test_meaning_without_an_encoder_is_one_clear_line(own: Settings) -> None:
    with raises("search-encoder-missing"):
        make(own, DeclaredSubset("lemurs", like="a lemur"))
    order = SubsetOrder(DeclaredSubset("lemurs", like="nothing"), "run")
    with raises("subset-like-unknown"):
        make_subset(LanceStore(own.lance_dir), order, lambda _: Compass())  # type: ignore[arg-type,return-value]
    assert LanceStore(own.lance_dir).find("lemurs") is None


@pytest.mark.exhaustive
def test_the_same_rows_loaded_in_another_order_have_the_same_digest(
    own: Settings, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = make_settings(tmp_path / "other")
    curation = declare(other, COLUMNS)
    for shard in sorted(SHARDS):
        bring_all(other, shard, make_rows(shard, SHARDS[shard]), curation)
    release(other, curation)
    subset = DeclaredSubset("lemurs", where="is_wide", limit=50)
    digests = {make(each, subset).record.digest for each in (own, other)}
    assert len(digests) == 1
    assert make(own, replace(subset, limit=49)).record.digest not in digests


@pytest.mark.exhaustive
def test_rows_that_are_read_in_many_parts_are_the_same(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    subset = DeclaredSubset("lemurs", where="width > 200")
    whole = make(own, subset).record
    every = read_table(own)
    assert whole.row_count > 5 * make_module.LEAST_ROWS
    monkeypatch.setattr(make_module, "PICTURE_BYTES", 1)
    monkeypatch.setattr(make_module, "TRIM_BYTES", 1)
    LanceStore(own.lance_dir).open("lemurs").tags.delete(whole.release)
    again = make(own, subset)
    assert (again.is_new, again.record.digest) == (True, whole.digest)
    assert read_table(own) == every


def test_what_is_made_is_not_made_again(own: Settings) -> None:
    subset = DeclaredSubset("lemurs", where="is_wide", columns=("url",))
    first = make(own, subset)
    version = LanceStore(own.lance_dir).open("lemurs").version
    again = make(own, subset)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.record == first.record
    assert LanceStore(own.lance_dir).open("lemurs").version == version
    # Another definition of the same release takes the tag.
    other = make(own, replace(subset, where="NOT is_wide"))
    assert other.is_new
    assert read_table(own, version=other.record.release).num_rows == other.record.row_count


@pytest.mark.exhaustive
def test_another_release_has_another_tag_and_the_old_one_stays_until_it_is_deleted(
    own: Settings,
) -> None:
    subset = DeclaredSubset("lemurs", where="is_wide", columns=("url", "image"))
    first = make(own, subset).record
    old = read_table(own)
    curation = declare(own, COLUMNS)
    bring_all(own, "b", make_rows("b", 80, seed=1), curation)
    tag = release(own, curation)
    second = make(own, subset).record
    assert (second.release, second.release != first.release) == (tag, True)
    assert read_table(own) != old
    assert read_table(own, version=first.release) == old

    store = LanceStore(own.lance_dir)
    delete_release(store, first.release, keep_days=0)
    make(own, replace(subset, limit=3))
    assert list(store.open("lemurs").tags.list()) == [tag]


GONE = ("https://a.test/3.jpg", "b.test")


def is_gone(row: dict[str, Any]) -> bool:
    return bool(row["url"] == GONE[0] or row["domain"] == GONE[1])


@pytest.mark.parametrize(
    "terms",
    [{"where": "width > 0"}, {"search": "lemur"}, {"like": "a lemur"}, {"limit": 100}],
    ids=lambda terms: str(*terms),
)
def test_a_new_subset_has_no_row_that_is_on_the_list_of_removals(
    own: Settings, terms: dict[str, Any]
) -> None:
    subset = DeclaredSubset("lemurs", columns=("url", "domain"), **terms)
    order, store = SubsetOrder(subset, "run"), LanceStore(own.lance_dir)

    def make_it() -> Rows:
        make_subset(store, order, lambda _: Compass())  # type: ignore[arg-type,return-value]
        rows: Rows = read_table(own).to_pylist()
        return rows

    before = make_it()
    assert any(map(is_gone, before))
    read_removals(own, *GONE)
    after = make_it()
    if subset.limit is None:
        assert after == [row for row in before if not is_gone(row)]
    assert not any(map(is_gone, after))
    assert len(after) > 20


def test_a_subset_that_does_not_tell_what_was_removed_is_made_again(own: Settings) -> None:
    telling = DeclaredSubset("telling", columns=("url", "image_id"))
    silent = DeclaredSubset("silent", columns=("caption", "split"))
    for subset in (telling, silent):
        make(own, subset)
    store = LanceStore(own.lance_dir)
    removed = read_removals(own, *GONE).removals
    assert len(find_removed(store.open("telling"), removed)) == SHARDS["b"] + 1
    with raises("removals-untold"):
        find_removed(store.open("silent"), removed)
    states = {each.subset: each.state for each in read_subsets_status(store, (telling, silent))}
    assert states == {"telling": "done", "silent": "behind"}
    word = name_behind(store, (telling, silent))
    assert "silent" in str(word)

    made = make(own, silent)
    assert made.is_new
    assert made.record.row_count == sum(SHARDS.values()) - SHARDS["b"] - 1
    assert len(find_removed(store.open("silent"), removed)) == 0
    assert make(own, silent).is_new is False
    assert name_behind(store, (telling, silent)) is None
    # Another list is another reason, so that the sensor does not take it for the one of before.
    read_removals(own, "a.test")
    assert name_behind(store, (telling, silent)) not in {None, word}


@pytest.mark.exhaustive
def test_a_release_names_the_subsets_that_were_made_of_it(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAION_DATA_DIR", str(own.data_dir))

    def show(tag: str, *options: str) -> str:
        result = CliRunner().invoke(main, ["release", "show", tag, *options])
        assert result.exit_code == 0, result.output
        return result.stdout

    old = find_release(LanceStore(own.lance_dir)).release
    assert "SHA-256 of the values" not in show(old)
    assert json.loads(show(old, "--json"))["subsets"] == []
    wide = DeclaredSubset("wide", where="is_wide", columns=("url",))
    first, few = make(own, wide).record, make(own, DeclaredSubset("few", limit=3)).record
    curation = declare(own, COLUMNS)
    bring_all(own, "b", make_rows("b", 80, seed=1), curation)
    new = release(own, curation)
    second = make(own, wide).record

    assert json.loads(show(old, "--json"))["subsets"] == [
        each.model_dump(mode="json") for each in (few, first)
    ]
    shown = " ".join(show(old).split())
    for part in ("where = 'is_wide'", "limit = 3", f"{first.row_count} {first.digest[:20]}"):
        assert part in shown
    (only,) = json.loads(show(new, "--json"))["subsets"]
    assert only["digest"] == second.digest != first.digest


def test_captions_and_declared_columns_are_indexed(own: Settings) -> None:
    columns = ("caption", "domain", "ratio", "is_wide")
    make(own, DeclaredSubset("lemurs", columns=columns), "ratio", "is_wide")
    dataset = LanceStore(own.lance_dir).open("lemurs")
    indices = {index.name: index.num_rows_indexed for index in dataset.describe_indices()}
    rows = sum(SHARDS.values())
    assert indices == dict.fromkeys(("caption_idx", "domain_idx", "ratio_idx", "is_wide_idx"), rows)
    table = lancedb.connect(str(own.lance_dir)).open_table("lemurs")
    hits = table.search("lemur", query_type="fts").limit(500).to_list()
    assert len(hits) == sum("mur" in row["caption"] for row in read_table(own).to_pylist())


def test_a_subset_without_rows_is_an_empty_table(own: Settings) -> None:
    made = make(own, DeclaredSubset("lemurs", where="width > 5000"), "ratio")
    assert (made.record.row_count, read_table(own).num_rows) == (0, 0)
    assert make(own, DeclaredSubset("lemurs", where="width > 5000"), "ratio").is_new is False


def test_a_table_of_somebody_else_is_left_alone(own: Settings) -> None:
    mine = pa.table({"a": [1]})
    lancedb.connect(str(own.lance_dir)).create_table("lemurs", mine)
    with raises("subset-table-foreign"):
        make(own, DeclaredSubset("lemurs"))
    assert read_table(own) == mine


def test_a_record_of_another_version_is_written_anew(own: Settings) -> None:
    subset = DeclaredSubset("lemurs", where="is_wide", columns=("url",))
    made = make(own, subset)
    store = LanceStore(own.lance_dir)
    store.open("lemurs").update_schema_metadata({RECORD_KEY: "{}"}, replace=True)
    assert find_made(store, "lemurs") is None
    again = make(own, subset)
    assert (again.is_new, again.record.digest) == (True, made.record.digest)


def test_a_column_that_the_release_lacks_is_named(own: Settings) -> None:
    with raises("subset-column-missing"):
        make(own, DeclaredSubset("lemurs", columns=("url", "later")))
    with raises("expression-column"):
        make(own, DeclaredSubset("lemurs", where="later > 1"))


@pytest.mark.exhaustive
def test_rows_without_tag_are_made_again(own: Settings) -> None:
    """As after a process that was killed between its commit and the tag."""
    subset = DeclaredSubset("lemurs", where="is_wide")
    made = make(own, subset)
    store = LanceStore(own.lance_dir)
    store.open("lemurs").tags.delete(made.record.release)
    assert find_made(store, "lemurs") is None
    again = make(own, subset)
    assert (again.is_new, again.record.digest) == (True, made.record.digest)
    assert find_made(store, "lemurs") == again.record


@pytest.mark.exhaustive
def test_the_release_itself_can_be_an_older_one(own: Settings) -> None:
    curation = declare(own, COLUMNS)
    store = LanceStore(own.lance_dir)
    (old,) = store.open("images").tags.list()
    bring_all(own, "d", make_rows("d", 20), curation)
    release(own, curation)
    made = make_subset(store, SubsetOrder(DeclaredSubset("lemurs"), "run", (), old), lambda _: None)
    assert made.record.release == old
    assert made.record.row_count == store.open("images", old).count_rows()
    assert made.record.row_count == sum(SHARDS.values())


@pytest.mark.exhaustive
def test_many_vectors_have_an_index_of_their_own(settings: Settings) -> None:
    table = make_rows("a", 5000).drop_columns(["image"])
    curation = declare(settings, "")
    bring_all(settings, "a", table, curation)
    release(settings, curation)
    made = make(settings, DeclaredSubset("lemurs", columns=("row_index", "img_emb")))
    dataset = LanceStore(settings.lance_dir).open("lemurs")
    assert made.record.vector_count > PARTITION_VECTORS
    assert [index.name for index in dataset.describe_indices()] == [VECTOR_INDEX]
    wanted = dataset.to_table(["img_emb"], filter="row_index = 8")["img_emb"][0].as_py()
    query: Any = {"column": "img_emb", "q": np.array(wanted, np.float32), "k": 10}
    found = dataset.to_table(["row_index"], nearest=query | {"refine_factor": 10})
    assert 8 in found["row_index"].to_pylist()
