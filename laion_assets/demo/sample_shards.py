"""Sample shards: Parquet files in the schema of `improved_aesthetics_6plus`, at any size.

The rows are invented, but have the habits of the real ones: sites and names with a long tail,
several languages, repeats, gaps, broken URLs. The same `SampleSpec` and names give the same rows
everywhere and with every version of NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from laion_assets.demo.draws import (
    Fractions,
    Integers,
    Seeds,
    derive_number,
    draw,
    draw_below,
    draw_fraction,
    is_drawn,
    start_seeds,
)
from laion_assets.demo.sample_captions import list_name_forms, make_captions
from laion_assets.demo.sample_urls import make_urls
from laion_assets.demo.scenes import caption_scene, draw_scene, invent_scene
from laion_assets.raw_shards.samples import SAMPLE_METADATA, is_sample_file

SCHEMA = pa.schema(
    [
        ("URL", pa.string()),
        ("TEXT", pa.string()),
        ("WIDTH", pa.int32()),
        ("HEIGHT", pa.int32()),
        ("similarity", pa.float64()),
        ("punsafe", pa.float32()),
        ("pwatermark", pa.float32()),
        ("AESTHETIC_SCORE", pa.float32()),
        ("hash", pa.int64()),
        ("__index_level_0__", pa.int64()),
    ]
)
# As img2dataset writes them.
PICTURE_SCHEMA = SCHEMA.append(pa.field("jpg", pa.binary()))
# Of the first rows so many have a picture: a shard of millions is not larger for it.
PICTURED_ROWS = 20_000
PICTURED_PER_10_000 = 100
# Rows of a record batch and of a row group. It has no influence on the rows themselves.
CHUNK_ROWS = 65_536
# A row repeats an earlier one the more often, the more rows are before it, but one in 100 at most.
# Of the 5,000 real rows of `laion_assets_tests/demo/test_sample_captions.py`, two captions do.
REPEATED_PER_10_MILLION = (8, 5)
MOST_REPEATED_PER_10_MILLION = 100_000
# Numbers of 1,000: two rows have a broken URL, two a broken caption, and one has both.
URL_FAULTS = (0, 1, 2)
CAPTION_FAULTS = (2, 3, 4)
WIDTHS_PX = (236, 300, 340, 400, 450, 474, 500, 564, 570, 600, 640, 700, 736, 800, 1000, 1024, 1200)
ASPECT_RATIOS_PERCENT = (*(100,) * 4, *(75, 133, 150, 67) * 2, 56, 80, 125, 141, 178)


@dataclass(frozen=True)
class SampleSpec:
    """How many sample rows there are, and which.

    Attributes:
        shard_count: number of shards, at least 1.
        rows_per_shard: rows in each of them. A larger shard begins with the rows of a smaller one.
        seed: another seed gives other rows.
        has_pictures: whether some captions are of small scenes, with their pictures beside them.
    """

    shard_count: int = 7
    rows_per_shard: int = 20_000
    seed: int = 2022
    has_pictures: bool = False

    def __post_init__(self) -> None:
        if self.shard_count < 1 or self.rows_per_shard < 0:
            message = f"{self}: needs a shard_count of 1 or more and a rows_per_shard of 0 or more"
            raise ValueError(message)


DEFAULT_SPEC = SampleSpec(has_pictures=True)


def sample_shard_name(spec: SampleSpec, index: int) -> str:
    """Returns the shard's partition key: its file name without `.parquet`.

    Raises:
        IndexError: the spec has no shard of that index.
    """
    if not 0 <= index < spec.shard_count:
        message = f"shard {index} of {spec.shard_count}: indices start at 0"
        raise IndexError(message)
    mark = derive_number(spec.seed, spec.shard_count, spec.rows_per_shard, index)
    return f"train-{index:05}-of-{spec.shard_count:05}-{mark:016x}"


def generate_shard(spec: SampleSpec, index: int, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yields the shard's rows, `CHUNK_ROWS` at a time; what is kept between is 8 bytes a row.

    Args:
        spec: size and seed.
        index: which shard, from 0.
        names: what about 4 % of the captions mention, some names often and others never.

    Yields:
        Record batches of `SCHEMA`, or of `PICTURE_SCHEMA` if there are pictures.
    """
    seeds = _repeat_rows(start_seeds(spec.rows_per_shard, spec.seed, index))
    name_forms = list_name_forms(names, spec.seed)
    for start in range(0, len(seeds), CHUNK_ROWS):
        batch = _make_batch(seeds[start : start + CHUNK_ROWS], start, name_forms)
        yield _add_pictures(batch, seeds, start) if spec.has_pictures else batch


def write_sample_shards(
    directory: Path, names: Sequence[str], spec: SampleSpec = DEFAULT_SPEC
) -> list[Path]:
    """Writes the shards that are not there yet; one that is there stays as it is.

    A file gets its name only when it is complete. One that an older version wrote, without the
    mark of a sample or without pictures, is written again.

    Args:
        directory: made if need be.
        names: as in `generate_shard`.
        spec: how many shards of what size.

    Returns:
        The paths of all shards, in their order.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(spec.shard_count):
        path = directory / f"{sample_shard_name(spec, index)}.parquet"
        schema = PICTURE_SCHEMA if spec.has_pictures else SCHEMA
        if not (is_sample_file(path) and pq.read_schema(path).equals(schema)):
            _write_shard(path, schema, generate_shard(spec, index, names))
        paths.append(path)
    return paths


def _write_shard(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    # The name does not end in .parquet, and two processes that write at once do not share it.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            with pq.ParquetWriter(file, schema, compression="snappy") as writer:
                for batch in batches:
                    writer.write_batch(batch)
                writer.add_key_value_metadata(SAMPLE_METADATA)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _repeat_rows(seeds: Seeds) -> Seeds:
    """Returns the seeds, with up to 1 % replaced by that of an earlier row."""
    times, each = REPEATED_PER_10_MILLION
    shares = np.arange(len(seeds)) * times // each
    is_repeat = draw_below(seeds, "is repeated", 10_000_000) < np.minimum(
        shares, MOST_REPEATED_PER_10_MILLION
    )
    repeats = np.flatnonzero(is_repeat)
    bits = draw(seeds[repeats], "repeated row")
    sources = (bits % repeats.astype(np.uint64)).astype(np.int64)
    # The seed of a source that is itself replaced would not be that of any row.
    is_kept = ~is_repeat[sources]
    repeated = seeds.copy()
    repeated[repeats[is_kept]] = seeds[sources[is_kept]]
    return repeated


def _make_batch(seeds: Seeds, start: int, name_forms: pa.Array) -> pa.RecordBatch:
    fault = draw_below(seeds, "fault", 1_000)
    columns = [
        make_urls(seeds, np.isin(fault, URL_FAULTS)),
        make_captions(seeds, np.isin(fault, CAPTION_FAULTS), name_forms),
        *_make_sizes(seeds),
        *_make_scores(seeds),
        pa.array(draw(seeds, "hash").view(np.int64)),
        pa.array(np.arange(start, start + len(seeds), dtype=np.int64)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _add_pictures(batch: pa.RecordBatch, seeds: Seeds, start: int) -> pa.RecordBatch:
    """Turns some rows into scenes: their captions, sizes, scores and pictures agree."""
    seeds = seeds[start : start + batch.num_rows]
    is_sound = draw_below(seeds, "fault", 1_000) > max(CAPTION_FAULTS)
    is_first = np.arange(start, start + batch.num_rows) < PICTURED_ROWS
    is_scene = is_drawn(seeds, "is scene", PICTURED_PER_10_000) & is_sound & is_first
    scenes = [invent_scene(int(number)) for number in draw(seeds[is_scene], "scene")]
    sizes = np.array([scene.size for scene in scenes], dtype=np.int32).reshape(-1, 2)
    new = {
        "TEXT": [caption_scene(scene) for scene in scenes],
        "WIDTH": sizes[:, 0],
        "HEIGHT": sizes[:, 1],
        "punsafe": np.zeros(len(scenes), dtype=np.float32),
    }
    mask = pa.array(is_scene)
    for name, values in new.items():
        index = SCHEMA.get_field_index(name)
        column = pa.array(values, SCHEMA.field(index).type)
        batch = batch.set_column(index, name, pc.replace_with_mask(batch[name], mask, column))
    pictures = np.full(batch.num_rows, None, dtype=object)
    pictures[is_scene] = [draw_scene(scene) for scene in scenes]
    return pa.RecordBatch.from_arrays(
        [*batch.columns, pa.array(pictures, pa.binary())], schema=PICTURE_SCHEMA
    )


def _make_sizes(seeds: Seeds) -> tuple[pa.Array, pa.Array]:
    usual = np.array(WIDTHS_PX)[draw_below(seeds, "usual width", len(WIDTHS_PX))]
    other = 200 + draw_below(seeds, "other width", 1_800)
    width = np.where(is_drawn(seeds, "is usual", 6_500), usual, other)
    ratios = np.array(ASPECT_RATIOS_PERCENT)
    ratio = ratios[draw_below(seeds, "ratio", len(ratios))]
    height = width * ratio // 100 + draw_below(seeds, "crop", 5)
    return (
        _with_gaps(seeds, "no width", 20, width, pa.int32()),
        _with_gaps(seeds, "no height", 20, height, pa.int32()),
    )


def _make_scores(seeds: Seeds) -> tuple[pa.Array, ...]:
    similarity = draw_fraction(seeds, "similarity") * draw_fraction(seeds, "second similarity")
    unsafe = _skew(draw_fraction(seeds, "punsafe"))
    watermark = _skew(draw_fraction(seeds, "pwatermark"))
    aesthetic = draw_fraction(seeds, "aesthetic") * draw_fraction(seeds, "second aesthetic")
    return (
        _with_gaps(seeds, "no similarity", 5, 0.27 + 0.2 * similarity, pa.float64()),
        _with_gaps(seeds, "no punsafe", 30, unsafe, pa.float32()),
        _with_gaps(seeds, "no pwatermark", 30, watermark, pa.float32()),
        _with_gaps(seeds, "no aesthetic", 5, 6.0 + 2.0 * aesthetic, pa.float32()),
    )


def _skew(fractions: Fractions) -> Fractions:
    # By multiplication, because powers are not rounded alike everywhere.
    for _ in range(4):
        fractions = fractions * fractions
    return fractions


def _with_gaps(
    seeds: Seeds,
    field: str,
    share_per_10_000: int,
    values: Integers | Fractions,
    data_type: pa.DataType,
) -> pa.Array:
    """Returns the values as an Arrow array, null for that share of the rows."""
    is_null = is_drawn(seeds, field, share_per_10_000)
    return pa.array(values.astype(data_type.to_pandas_dtype()), data_type, mask=is_null)
