import numpy as np
import pyarrow as pa

from laion_assets.training.row_batch import RowBatch

VECTOR = pa.list_(pa.float16(), 2)


def make_table(*, is_missing: bool) -> pa.Table:
    """Returns two rows; the second has no value, or has one."""

    def pick(value: object) -> object:
        return None if is_missing else value

    return pa.table(
        {
            "width": pa.array([7, pick(8)], pa.int32()),
            "image_id": pa.array([2**62 + 1, pick(2)], pa.int64()),
            "score": pa.array([0.5, pick(1.5)], pa.float32()),
            "is_sharp": pa.array([True, pick(True)], pa.bool_()),
            "img_emb": pa.array([[1, 2], pick([3, 4])], VECTOR),
            "caption": pa.array(["a", pick("b")]),
            "image": pa.array([b"1", pick(b"2")], pa.large_binary()),
        }
    )


def test_types_do_not_depend_on_what_is_missing() -> None:
    whole = RowBatch(make_table(is_missing=False)).to_arrays()
    gaps = RowBatch(make_table(is_missing=True)).to_arrays()
    kinds = {name: getattr(value, "dtype", type(value)) for name, value in whole.items()}
    assert kinds == {name: getattr(value, "dtype", type(value)) for name, value in gaps.items()}
    assert kinds["width"] == np.int32
    assert kinds["img_emb"] == np.float16
    assert [name for name, kind in kinds.items() if kind is list] == ["caption", "image"]


def test_what_is_missing_is_said() -> None:
    batch = RowBatch(make_table(is_missing=True)).to_arrays()
    assert batch["width"].tolist() == [7, 0]
    assert batch["image_id"].tolist() == [2**62 + 1, 0]
    assert batch["is_sharp"].tolist() == [True, False]
    assert np.isnan(batch["score"]).tolist() == [False, True]
    assert np.isnan(batch["img_emb"]).tolist() == [[False, False], [True, True]]
    assert batch["caption"] == ["a", None]
    assert batch["image"] == [b"1", None]
    for is_null in batch["is_null"].values():
        assert is_null.tolist() == [False, True]
    assert list(batch["is_null"]) == make_table(is_missing=True).column_names


def test_arrays_can_be_written_to_and_fit_rows_from_the_middle() -> None:
    batch = RowBatch(make_table(is_missing=False).slice(1, 1)).to_arrays()
    assert batch["img_emb"].tolist() == [[3, 4]]
    batch["img_emb"][:] = 0
    batch["width"][0] = 1


def test_rows_are_dictionaries() -> None:
    rows = RowBatch(make_table(is_missing=True))
    assert len(rows) == 2
    assert rows[0]["caption"] == "a"
    assert rows[-1] == rows[1] == list(rows)[1] == rows[1:][0]
    assert rows[1]["img_emb"] is None
