import lance
import numpy as np
import pytest

from laion_assets.search import row_values
from laion_assets.search.row_values import HIT_COLUMNS, RowValues
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import ingest

pytestmark = pytest.mark.slow


@pytest.fixture
def images(settings: Settings) -> lance.LanceDataset:
    """A table of several fragments, of which one shard was replaced."""
    ingest(settings, "alpha", *(f"a fox {n}" for n in range(5)))
    ingest(settings, "beta", *(f"a hare {n}" for n in range(7)))
    ingest(settings, "gamma", "one", "two")
    ingest(settings, "alpha", *(f"a wolf {n}" for n in range(6)))
    return LanceStore(settings.lance_dir).open("images")


def read_row_ids(images: lance.LanceDataset) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    rows = images.scanner(columns=[], with_row_id=True).to_table()["_rowid"].to_numpy()
    return np.random.default_rng(0).permutation(rows)


@pytest.mark.exhaustive
@pytest.mark.parametrize("most", [10**9, 0], ids=["kept", "too many to keep"])
def test_hits_are_those_of_the_table_in_the_order_asked_for(
    images: lance.LanceDataset, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(row_values, "MAX_KEPT_HITS", most)
    rows = read_row_ids(images)
    expected = {
        row.pop("_rowid"): row
        for row in images.scanner(columns=list(HIT_COLUMNS), with_row_id=True)
        .to_table()
        .to_pylist()
    }

    hits = RowValues(images, keeps_hits=True).read_hits(rows)

    assert len(hits) == 15
    assert hits == [expected[row] for row in rows.tolist()]
    assert [type(value) for value in hits[0].values()] == [
        type(value) for value in expected[rows.tolist()[0]].values()
    ]
    assert RowValues(images, keeps_hits=True).read_hits(rows[:0]) == []


@pytest.mark.exhaustive
def test_rows_that_somebody_deleted_do_not_shift_the_others(images: lance.LanceDataset) -> None:
    images.delete("caption = 'a hare 2'")
    rows = read_row_ids(images)

    kept, each = (RowValues(images, keeps_hits=keeps).read_hits(rows) for keeps in (True, False))

    assert len(kept) == 14
    assert kept == each


@pytest.mark.exhaustive
@pytest.mark.parametrize("most", [10**9, 0], ids=["kept", "too many to keep"])
def test_numbers_are_those_of_the_rows(
    images: lance.LanceDataset, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(row_values, "MAX_KEPT_ROWS", most)
    rows = read_row_ids(images)
    values = RowValues(images)
    expected = [hit["width"] for hit in values.read_hits(rows)]

    assert values.read("width", rows).tolist() == expected
    assert np.isnan(values.read("aesthetic", rows)).all()
