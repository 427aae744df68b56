"""Columns of the shards that `[keep]` names are in Lance under their own names, and in releases."""

import pyarrow as pa
import pytest

from laion_assets.curation.place import CurationError
from laion_assets.releases.diff import compare_releases
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.subsets.make_subset import SubsetOrder, make_subset
from laion_assets_tests.declared_columns.test_add_declared import (
    add,
    declare,
    kept,
    list_behind,
    make_rows,
    read,
)
from laion_assets_tests.declared_columns.test_releases import release
from laion_assets_tests.pipeline import bring
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow


KEEP = '[keep]\nsource_columns = ["num_faces"]\n'


@pytest.mark.exhaustive
def test_a_column_of_the_shards_is_on_its_row_in_releases_and_in_subsets(
    settings: Settings,
) -> None:
    count = 20_000
    faces = [row % 9 if row % 4 else None for row in range(count)]
    bring(settings, "a", make_rows(count, NUM_FACES=pa.array(faces, pa.int32())))
    bring(settings, "b", make_rows(5))
    text = KEEP + '[subsets.crowds]\nwhere = "num_faces > 6"\ncolumns = ["url", "num_faces"]'
    curation = declare(settings, text)
    assert list_behind(settings, curation) == {"a": ["num_faces"], "b": ["num_faces"]}
    made = add(settings, curation, "b")["num_faces"]
    assert made.oddities == "the file of the shard has no such column"
    made = add(settings, curation, "a")["num_faces"]
    assert (made.type, made.oddities) == ("INTEGER", "")
    # The first shard said nothing of its type.
    add(settings, curation, "b")
    assert list_behind(settings, curation) == {}
    assert read(settings, "num_faces") == {row: faces[row] for row in kept(count)}
    assert set(read(settings, "num_faces", "b").values()) == {None}
    store = LanceStore(settings.lance_dir)
    assert store.open("images").schema.field("num_faces").type == pa.int32()

    first = release(settings, curation).manifest
    (declared,) = first.declared
    assert (declared.type, dict(declared.definition)) == ("int32", {"source_column": "num_faces"})
    (subset,) = curation.subsets
    made_subset = make_subset(store, SubsetOrder(subset, "run"), lambda _: None)
    assert made_subset.record.row_count == sum((faces[row] or 0) > 6 for row in kept(count))

    # Another load has its own values, and the digest and the comparison say so.
    others = [1 if face is None else face for face in faces]
    bring(settings, "a", make_rows(count, num_faces=pa.array(others, pa.int32())))
    assert list_behind(settings, curation) == {"a": ["num_faces"]}
    add(settings, curation, "a")
    assert read(settings, "num_faces") == {row: others[row] for row in kept(count)}
    second = release(settings, curation).manifest
    assert second.columns_sha256 != first.columns_sha256
    (change,) = compare_releases(store, first.release, second.release).columns_changed
    assert (change.column, change.what) == ("num_faces", "other values")


def test_shards_of_other_types_are_refused_or_take_the_type_of_the_column(
    settings: Settings,
) -> None:
    curation = declare(settings, KEEP)
    bring(settings, "a", make_rows(3, num_faces=pa.array([1, 2, 3], pa.int64())))
    bring(settings, "b", make_rows(3, num_faces=pa.array([1, 2, 3], pa.int8())))
    bring(settings, "c", make_rows(3, num_faces=["1", "none", "3"]))
    bring(settings, "d", make_rows(3, num_faces=pa.array([[1], [2], [3]])))
    for shard in ("a", "b"):
        assert add(settings, curation, shard)["num_faces"].type == "BIGINT"
        assert read(settings, "num_faces", shard) == {0: 1, 1: 2, 2: 3}
    with raises("kept-type-other"):
        add(settings, curation, "c")
    with raises("kept-type"):
        add(settings, curation, "d")
    assert sorted(list_behind(settings, curation)) == ["c", "d"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("keep = 3", "keep-no-list"),
        ("[keep]\nsource_columns = 'faces'", "keep-no-list"),
        ("[keep]\nsource_column = ['faces']", "curation-key-unknown"),
        ("[keep]\nsource_columns = ['Width']", "column-name-taken"),
        ("[keep]\nsource_columns = ['faces', 'Faces']", "column-name-taken"),
        ("[keep]\nsource_columns = ['num faces']", "column-name-invalid"),
        ("[columns.faces]\nsql = '1'\n[keep]\nsource_columns = ['faces']", "column-name-taken"),
    ],
)
def test_what_cannot_be_kept_is_refused(settings: Settings, text: str, code: str) -> None:
    with pytest.raises(CurationError) as found:
        declare(settings, text)
    assert found.value.code == code
    assert "\n" not in str(found.value)
