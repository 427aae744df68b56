import os
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.demo import sample_shards as shards
from laion_assets.demo import vocabulary
from laion_assets.demo.installed_samples import (
    find_sample_files,
    find_sample_shards,
    list_sample_names,
)
from laion_assets.demo.sample_shards import (
    SampleSpec,
    generate_shard,
    sample_shard_name,
    write_sample_shards,
)
from laion_assets.raw_shards.samples import is_sample_file
from laion_assets.settings import Settings
from laion_assets_tests.pipeline import ingest, load

NAMES = ("Vincent van Gogh", "D'Artagnan", 'William "Buffalo Bill" Cody', "葛飾北斎", "Émile Zola")
SPEC = SampleSpec(shard_count=2, rows_per_shard=4_000)
TINY = SampleSpec(shard_count=2, rows_per_shard=10)


@pytest.fixture(scope="module")
def sample() -> pa.Table:
    return make_table(SPEC)


def make_table(spec: SampleSpec, index: int = 0, names: tuple[str, ...] = NAMES) -> pa.Table:
    return pa.Table.from_batches(generate_shard(spec, index, names), shards.SCHEMA)


def read_texts(table: pa.Table, column: str) -> list[str | None]:
    texts: list[str | None] = table[column].to_pylist()
    return texts


def read_host(url: str | None) -> str | None:
    return urlsplit(url).hostname if url else None


def count_matches(captions: list[str], name: str) -> int:
    return sum(name.lower() in text.lower() for text in captions)


def test_the_schema_is_that_of_the_dataset(sample: pa.Table) -> None:
    assert [(field.name, str(field.type)) for field in sample.schema] == [
        ("URL", "string"),
        ("TEXT", "string"),
        ("WIDTH", "int32"),
        ("HEIGHT", "int32"),
        ("similarity", "double"),
        ("punsafe", "float"),
        ("pwatermark", "float"),
        ("AESTHETIC_SCORE", "float"),
        ("hash", "int64"),
        ("__index_level_0__", "int64"),
    ]


def test_the_same_spec_gives_the_same_rows(sample: pa.Table) -> None:
    assert make_table(SPEC).equals(sample)


def test_the_first_rows_never_change() -> None:
    rows = make_table(SampleSpec(rows_per_shard=3)).select(["URL", "TEXT", "hash"]).to_pylist()

    assert rows == [
        {
            "URL": "https://s3.hazelsigoods.example/gallery/256154289897037eff60.jpg",
            "TEXT": (
                "War Lanterns Embroidered Trays Gauze Thermostats - A97cSB Teal Suspenders "
                "Snavinco Gorgeous Oven #7626"
            ),
            "hash": 3090582820163764569,
        },
        {
            "URL": "https://images.summitvenotes.example/fotos/bbd68dab729b8ec630a5.jpg?from=anna@studio.example",
            "TEXT": "The limited ice canvas by Alice Vazton Kowo upbox upholstered best diamond",
            "hash": -7296468195983726002,
        },
        {
            "URL": "http://render.wallcanvas.test/_next/image/chinese_pencil-6934398.jpg#photo?2",
            "TEXT": (
                "This Dark Bowl is Made of Cedar with Baskets. It's Jumbo. Guitarists Are "
                "Skating in Varstadt, Where a Wizard Loves the Health of Simetti."
            ),
            "hash": 1785617992113068060,
        },
    ]


def test_a_chunk_is_not_seen_in_the_rows(sample: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "CHUNK_ROWS", 999)

    assert make_table(SPEC).combine_chunks().equals(sample.combine_chunks())


def test_a_larger_shard_begins_with_the_rows_of_a_smaller_one(sample: pa.Table) -> None:
    assert make_table(SampleSpec(2, 1_000)).equals(sample.slice(0, 1_000))


@pytest.mark.parametrize(
    ("spec", "index"),
    [
        pytest.param(SPEC, 1, id="other index"),
        pytest.param(SampleSpec(2, 4_000, seed=7), 0, id="other seed"),
    ],
)
def test_shards_differ(sample: pa.Table, spec: SampleSpec, index: int) -> None:
    urls = set(read_texts(sample, "URL"))
    other = read_texts(make_table(spec, index), "URL")

    assert sum(url in urls for url in other) < 0.01 * len(other)


def test_sites_are_invented_and_long_tailed(sample: pa.Table) -> None:
    hosts = [host for url in read_texts(sample, "URL") if (host := read_host(url))]
    counts = Counter(hosts)

    assert {host.rpartition(".")[2] for host in hosts} == {"example", "test"}
    assert counts["i.pinboard.example"] > 0.05 * len(hosts)
    assert sum(count == 1 for count in counts.values()) > 0.25 * len(hosts)


def test_a_few_rows_of_every_kind_are_unusable(sample: pa.Table) -> None:
    urls, captions = read_texts(sample, "URL"), read_texts(sample, "TEXT")
    without_host = [url for url in urls if not read_host(url)]
    without_caption = [caption for caption in captions if not (caption and caption.strip())]

    assert {None, "", "   ", "not a url", "data:image/png;base64,AAAA"} & set(without_host)
    assert set(without_host) <= set(vocabulary.BROKEN_URLS)
    assert 0.001 < len(without_host) / len(urls) < 0.006
    assert {None, ""} <= set(without_caption)
    assert 0.001 < len(without_caption) / len(captions) < 0.006


@pytest.mark.exhaustive
def test_rows_repeat_earlier_ones_the_more_often_the_more_there_are() -> None:
    table = make_table(SampleSpec(1, 80_000))
    pairs = list(zip(read_texts(table, "URL"), read_texts(table, "TEXT"), strict=True))
    first = {pair: row for row, pair in reversed(list(enumerate(pairs)))}
    is_repeat = [first[pair] < row for row, pair in enumerate(pairs)]

    assert sum(is_repeat[:5_000]) < 10
    assert 0.005 < sum(is_repeat[62_500:]) / 17_500 < 0.015


def test_names_appear_with_a_long_tail_in_several_spellings(sample: pa.Table) -> None:
    captions = [caption or "" for caption in read_texts(sample, "TEXT")]
    counts = Counter({name: count_matches(captions, name) for name in NAMES})
    (favourite, most), *_, (_, least) = counts.most_common()

    assert 0.02 < sum(counts.values()) / len(captions) < 0.06
    assert most > 10 * least
    assert any(favourite in text for text in captions)
    assert any(favourite.upper() in text for text in captions)
    assert any(favourite.lower() in text for text in captions)


def test_without_names_the_other_rows_stay_the_same(sample: pa.Table) -> None:
    nameless = make_table(SPEC, names=())
    pairs = zip(read_texts(nameless, "TEXT"), read_texts(sample, "TEXT"), strict=True)

    assert 0.02 < sum(one != other for one, other in pairs) / len(sample) < 0.06
    assert nameless.drop_columns(["TEXT"]).equals(sample.drop_columns(["TEXT"]))


def test_captions_have_the_entities_of_the_web() -> None:
    captions = [text for text in read_texts(make_table(SampleSpec(1, 20_000)), "TEXT") if text]

    assert all(any(mark in text for text in captions) for mark in ("&amp;", "&#39;", "&quot;"))


def test_numbers_are_in_range_with_a_few_gaps(sample: pa.Table) -> None:
    ranges = {
        "WIDTH": (200, 2_000),
        "HEIGHT": (100, 4_000),
        "similarity": (0.25, 0.5),
        "punsafe": (0, 1),
        "pwatermark": (0, 1),
        "AESTHETIC_SCORE": (6, 8),
    }
    for column, (low, high) in ranges.items():
        values = sample[column].drop_null().to_pylist()
        assert 0.99 * len(sample) < len(values) <= len(sample)
        assert low <= min(values) <= max(values) <= high

    assert sample["punsafe"].null_count > 0
    assert min(sample["hash"].to_pylist()) < 0 < max(sample["hash"].to_pylist())


def test_every_language_has_as_many_phrases() -> None:
    assert len({len(phrases) for phrases in vocabulary.PHRASES}) == 1


def test_files_have_the_names_and_the_rows_of_the_shards(tmp_path: Path) -> None:
    paths = write_sample_shards(tmp_path / "shards", NAMES, TINY)

    assert [path.stem for path in paths] == [sample_shard_name(TINY, index) for index in (0, 1)]
    assert sorted(tmp_path.glob("shards/*")) == sorted(paths)
    assert pq.read_table(paths[1]).equals(make_table(TINY, 1))


def test_a_name_tells_the_place_of_the_shard() -> None:
    name = sample_shard_name(SampleSpec(), 3)

    assert name.startswith("train-00003-of-00007-")
    assert len(name) == len("train-00003-of-00007-") + 16
    assert name != sample_shard_name(SampleSpec(seed=1), 3)


def test_a_shard_that_is_there_is_left_untouched(tmp_path: Path) -> None:
    first, second = write_sample_shards(tmp_path, NAMES, TINY)
    os.utime(first, (0, 0))
    second.unlink()

    write_sample_shards(tmp_path, (), TINY)

    assert first.stat().st_mtime == 0
    assert second.exists()


def test_a_shard_is_marked_as_a_sample_and_one_from_before_the_mark_is_written_again(
    tmp_path: Path,
) -> None:
    first, second = write_sample_shards(tmp_path, NAMES, TINY)
    assert is_sample_file(first)
    rows = pq.read_table(second)
    pq.write_table(rows.replace_schema_metadata(), second)
    assert not is_sample_file(second)

    write_sample_shards(tmp_path, NAMES, TINY)

    assert is_sample_file(second)
    assert pq.read_table(second).equals(rows)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no footer PAR1"])
def test_what_cannot_be_read_is_no_sample(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "[a] 'b\\c.parquet"
    if content is not None:
        path.write_bytes(content)

    assert not is_sample_file(path)


@pytest.mark.slow
def test_only_samples_are_found_by_mark_name_or_rows(settings: Settings) -> None:
    ingest(settings, "mine", "a fox")
    folder = settings.data_dir / "shards"
    before_the_mark = folder / f"{min(list_sample_names())}.parquet"
    pq.write_table(pa.table({"url": [], "caption": []}), before_the_mark)
    (folder / "broken.parquet").write_bytes(b"PAR1")
    marked = write_sample_shards(folder, NAMES, TINY)
    load(settings, marked[0].stem, marked[0])
    load(settings, "renamed", marked[1])

    assert find_sample_files(settings) == sorted([before_the_mark, *marked])
    for path in marked:
        path.unlink()
    found = find_sample_shards(settings) - list_sample_names()
    assert found == {marked[0].stem, "renamed"}
    (settings.raw_dir / "renamed.parquet").unlink()
    assert "renamed" in find_sample_shards(settings)


def test_a_shard_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> pa.RecordBatch:
        raise OSError("disk full")

    monkeypatch.setattr(shards, "_make_batch", fail)

    with pytest.raises(OSError, match="disk full"):
        write_sample_shards(tmp_path, NAMES, TINY)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_without_rows_is_a_file_with_the_schema(tmp_path: Path) -> None:
    (path,) = write_sample_shards(tmp_path, NAMES, SampleSpec(1, 0))

    assert pq.read_table(path).equals(shards.SCHEMA.empty_table())


@pytest.mark.parametrize(
    ("shard_count", "rows_per_shard"),
    [pytest.param(0, 1, id="no shard"), pytest.param(1, -1, id="fewer than no rows")],
)
def test_an_impossible_size_is_refused(shard_count: int, rows_per_shard: int) -> None:
    with pytest.raises(ValueError, match="needs a shard_count"):
        SampleSpec(shard_count, rows_per_shard)


def test_a_shard_beyond_the_last_is_refused() -> None:
    with pytest.raises(IndexError, match="shard 2 of 2"):
        sample_shard_name(TINY, 2)
