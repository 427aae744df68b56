"""Shards in Lance datasets: `….lance`, on this machine or on the Hugging Face Hub.

Each fragment of a dataset is a shard; a release that was published has the shards that it was made
from (`published_release.py`). A shard is written into a parquet file, piece by piece, so that
it is then as any other shard. Lance never changes a file that it wrote: a fragment is the same as
long as its list of files is.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from laion_assets.errors import GoneError, ShardError, first_line
from laion_assets.raw_shards.picture_columns import find_picture_columns
from laion_assets.raw_shards.source_columns import check_columns, list_read_columns
from laion_assets.raw_shards.sources.published_release import (
    describe_columns,
    describe_file,
    find_rows,
    list_columns,
    read_rows,
)
from laion_assets.raw_shards.sources.source import (
    SUFFIX,
    Report,
    Source,
    SourceRules,
    describe_each,
    has_glob,
    hide_secrets,
    shard_of,
    split_scheme,
)
from laion_assets.raw_shards.sources.urls import LOOPBACK
from laion_assets.raw_shards.vector_files import find_vector_column
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.part import Origin, Part
from laion_assets.stores.published_shards import PublishedShard, read_published_shards
from laion_assets.stores.source_dataset import open_source_dataset

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

LANCE_SUFFIX = ".lance"
FORM = "hf://datasets/<org>/<name>[@revision]/<path>.lance"
# What Lance reads at once, and what becomes a row group, about. A scan of a whole fragment would
# hold all of its pictures, whatever its buffers are set to.
HELD_BYTES = 32 << 20
MAX_HELD_ROWS = 122_880
# Of a dataset whose manifest does not say how large its files are.
CAREFUL_ROWS = 512
BATCH_ROWS = 1024
# What of a fragment makes it another one.
_IDENTITY = ("physical_rows", "deletion_file", "overlays")
_FILE_IDENTITY = ("path", "fields", "column_indices", "base_id")
_LOCATION = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^/]+))?/(.+)", re.IGNORECASE)


def is_dataset(location: str) -> bool:
    """Returns whether a location names Lance datasets."""
    return location.rstrip("/").lower().endswith(LANCE_SUFFIX)


def list_fragments(
    location: str, rules: SourceRules, only: str | None = None
) -> list[Source | ShardError]:
    """Returns the shards of a dataset, or of those that a glob matches on this machine.

    Args:
        location: a path, a glob, or `hf://…`.
        rules: how to talk to the Hub.
        only: the one shard that is wanted; a dataset is opened only if one of its fragments has
            that name.

    Raises:
        ShardError: there is no such dataset, or it cannot be read.
    """
    found: list[Source | ShardError] = []
    for place in _list_places(location.rstrip("/")):
        if only is not None and not _may_have(place, only):
            continue
        with _name_failures(hide_secrets(place)):
            dataset = _open(place, rules)
            published = read_published_shards(dataset)
            fragments = dataset.get_fragments()
        if published is not None:
            found += describe_each(published.values(), partial(_describe_published, place))
            continue
        found += describe_each(fragments, lambda f, d=dataset, p=place: _describe(p, d, f))  # type: ignore[misc]
    return found


def write_rows(source: Source, part: Part, rules: SourceRules, report: Report) -> Source:
    """Writes a shard into the part, as a parquet file, a bounded number of bytes at a time.

    It has the columns that are read, and those of single values. A part that was left begins anew.

    Returns:
        The source, with the version that was written.

    Raises:
        GoneError: the dataset, or the shard in it, is not there any more.
        ShardError: it has no URL or caption column, or cannot be read.
        DiskSpaceError: the disk has no room for it.
        OSError: it cannot be written.
    """
    with _name_failures(source.name):
        dataset = _open(source.place, rules)
        if source.fragment is None:
            return _write_published(dataset, source, part, report)
        fragment = _find_fragment(dataset, source)
        scanned = _scan(fragment, None).projected_schema
        check_columns(scanned, source.name)
        total = _count_bytes(fragment)
        check_space(part.path.parent, LEAST_BYTES + (total or 0), f"fetching {source.name}")
        newest = _describe(source.place, dataset, fragment)
        columns = _choose_columns(scanned)
        with _fill(part, newest):
            schema = _scan(fragment, columns).projected_schema
            _write(_read_pieces(fragment, columns), schema, total, part, report)
    return newest


def _write_published(
    dataset: lance.LanceDataset, source: Source, part: Part, report: Report
) -> Source:
    record = (read_published_shards(dataset) or {}).get(source.shard)
    if record is None:
        raise _is_gone(source)
    places = find_rows(dataset, record, source.name)
    check_columns(dataset.schema, source.name)
    columns = list_columns(_choose_columns(dataset.schema))
    numbers = set(places.fragment.tolist())
    fragments = [f for f in dataset.get_fragments() if f.fragment_id in numbers]
    rows = max(sum(fragment.physical_rows for fragment in fragments), 1)
    at_hand = sum(_count_bytes(fragment) or 0 for fragment in fragments)
    total = at_hand * record.image_count // rows
    check_space(part.path.parent, LEAST_BYTES + total, f"fetching {source.name}")
    newest = _describe_published(source.place, record)
    at_once = _count_rows_at_once(rows, at_hand)
    with _fill(part, newest):
        schema = describe_columns(dataset, columns).with_metadata(describe_file(record))
        pieces = read_rows(dataset, record, places, columns, at_once)
        _write(pieces, schema, total, part, report)
    return newest


@contextmanager
def _fill(part: Part, source: Source) -> Iterator[None]:
    # Nobody can go on with it: the same rows may be written in other bytes.
    part.start(Origin(source.name, source.version, None, None))
    try:
        yield
    except BaseException:
        part.remove()
        raise


def check_place(location: str) -> None:
    """Checks that a dataset would be read from a location.

    Raises:
        ShardError: it is neither on this machine nor on the Hub.
    """
    if split_scheme(location) not in ("", "hf"):
        raise ShardError(
            f"{hide_secrets(location)}: a Lance dataset is read from this machine or from hf:// "
            "alone; copy it here",
            code="lance-place-unknown",
        )


def _list_places(location: str) -> list[str]:
    check_place(location)
    if split_scheme(location):
        return [location]
    location = os.path.expanduser(location)  # noqa: PTH111 - as for files
    if glob.has_magic(location) and not Path(location).exists():
        matching = glob.glob(location, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute one
        # The files of a dataset are named so too.
        found = [one for one in matching if Path(one).is_dir()]
    else:
        found = [location]
    return sorted(os.path.abspath(one) for one in found)  # noqa: PTH100 - removes ..


def _may_have(place: str, shard: str) -> bool:
    return re.fullmatch(rf"{re.escape(_stem(place))}-\d{{5,}}", shard) is not None


def _stem(place: str) -> str:
    name = place.rpartition("/")[2][: -len(LANCE_SUFFIX)]
    return unquote(name) if split_scheme(place) else name


def _open(place: str, rules: SourceRules) -> lance.LanceDataset:
    if not split_scheme(place):
        return open_source_dataset(place, {})
    match = _LOCATION.fullmatch(place)
    if match is None or has_glob(match[3]):
        raise ShardError(
            f"{hide_secrets(place)}: expected {FORM}; name one dataset", code="lance-hub-location"
        )
    hub = urlsplit(rules.hub_endpoint)
    is_safe = hub.scheme == "https" or LOOPBACK.fullmatch(hub.hostname or "")
    options = {"hf_revision": unquote(match[2] or "main")}
    if rules.hub_token and is_safe:
        options["hf_token"] = rules.hub_token
    return open_source_dataset(f"hf://datasets/{match[1]}/{match[3]}", options)


def _describe(place: str, dataset: lance.LanceDataset, fragment: lance.LanceFragment) -> Source:
    number = int(fragment.fragment_id)
    name = f"{hide_secrets(place)} (fragment {number})"
    shard = shard_of(f"{_stem(place)}-{number:05d}{SUFFIX}", name)
    metadata = fragment.metadata.to_json()
    identity = [
        *(metadata.get(key) for key in _IDENTITY),
        [[file.get(key) for key in _FILE_IDENTITY] for file in metadata["files"]],
        [(field.name, str(field.type)) for field in dataset.schema],
    ]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return Source(shard, place, name, f"lance:{digest}", fragment=number)


def _describe_published(place: str, record: PublishedShard) -> Source:
    name = f"{hide_secrets(place)} (shard {record.shard})"
    shard = shard_of(f"{record.shard}{SUFFIX}", name)
    return Source(shard, place, name, f"released:{record.digest}", is_released=True)


def _find_fragment(dataset: lance.LanceDataset, source: Source) -> lance.LanceFragment:
    assert source.fragment is not None, source
    fragment = dataset.get_fragment(source.fragment)
    if fragment is None:
        raise _is_gone(source)
    return fragment


def _is_gone(source: Source) -> GoneError:
    return GoneError(
        f"{source.name}: the dataset does not have it any more; list the sources again",
        code="lance-fragment-gone",
    )


def _count_bytes(fragment: lance.LanceFragment) -> int | None:
    sizes = [file["file_size_bytes"] for file in fragment.metadata.to_json()["files"]]
    return None if None in sizes else sum(sizes)


def _scan(
    fragment: lance.LanceFragment, columns: list[str] | None, start: int = 0, rows: int = 1
) -> lance.LanceScanner:
    return fragment.scanner(
        columns=columns,
        offset=start,
        limit=rows,
        batch_size=BATCH_ROWS,
        batch_readahead=2,
        # Pictures that Lance keeps apart come as what they are.
        blob_handling="all_binary",
    )


def _choose_columns(schema: pa.Schema) -> list[str]:
    """Returns the columns that are read, and those of single values, in the dataset's order."""
    import pyarrow as pa

    read = {
        *list_read_columns(schema),
        *find_picture_columns(schema).values(),
        find_vector_column(schema),
    }
    large = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary)
    return [
        field.name
        for field in schema
        if field.name in read or not any(test(field.type) for test in large)
    ]


def _read_pieces(fragment: lance.LanceFragment, columns: list[str]) -> Iterator[pa.Table]:
    at_once = _count_rows_at_once(fragment.physical_rows, _count_bytes(fragment))
    for start in range(0, fragment.count_rows(), at_once):
        yield _scan(fragment, columns, start, at_once).to_table()


def _count_rows_at_once(rows: int, size: int | None) -> int:
    """Returns how many of these rows may be held at a time."""
    fitting = CAREFUL_ROWS if size is None else HELD_BYTES * rows // max(size, 1)
    return min(max(fitting, 1), MAX_HELD_ROWS)


def _write(
    pieces: Iterator[pa.Table], schema: pa.Schema, total: int | None, part: Part, report: Report
) -> None:
    """Writes the pieces, each a row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    large = (pa.types.is_nested, pa.types.is_large_binary, pa.types.is_binary)
    small = [field.name for field in schema if not any(test(field.type) for test in large)]
    report(0, total)
    with (
        part.open() as file,
        # Pictures are compressed already, and vectors hardly can be.
        pq.ParquetWriter(
            file,
            schema,
            use_dictionary=small,
            compression={name: "zstd" if name in small else "none" for name in schema.names},
        ) as writer,
    ):
        for piece in pieces:
            writer.write_table(piece, max(len(piece), 1))
            done = file.tell()
            report(done if total is None else min(done, total), total)
    done = part.count_bytes()
    report(done, done)


@contextmanager
def _name_failures(name: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except pa.ArrowNotImplementedError as error:
        raise ShardError(
            f"{name}: cannot be written as parquet ({first_line(error)}); write the dataset again",
            code="lance-not-parquet",
        ) from error
    except (ValueError, RuntimeError, pa.ArrowException) as error:
        raise _name_failure(name, error) from error
    except OSError as error:
        # Lance has words of its own, and no error number, for what it cannot read.
        if error.errno is not None:
            raise
        raise _name_failure(name, error) from error


def _name_failure(name: str, error: Exception) -> ShardError:
    text = first_line(error)
    if "was not found" in text:
        return GoneError(f"{name}: no such Lance dataset; correct LAION_SHARDS", code="lance-gone")
    if "PermissionDenied" in text or "401" in text or "403" in text:
        return ShardError(
            f"{name}: not allowed; ask for access to the dataset and set HF_TOKEN",
            code="lance-not-allowed",
        )
    return ShardError(
        f"{name}: cannot be read ({text}); check the dataset and the network, then try again",
        code="lance-unreadable",
        is_passing="://" in name,
    )
