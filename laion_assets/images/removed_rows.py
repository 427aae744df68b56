"""Removes from the verified file of a shard the rows that are on the list of removals."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.images.load import define_macros
from laion_assets.images.text_repair import repair_file
from laion_assets.raw_shards.picture_columns import find_key, find_picture_columns
from laion_assets.raw_shards.source_columns import select_list
from laion_assets.raw_shards.verify import STREAMED, plain_path
from laion_assets.removals.matching import Matcher
from laion_assets.stores.database import open_engine
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawShard, RawStore
from laion_assets.stores.removal_file import Removals
from laion_assets.stores.sql import load_sql, quote_identifier, quote_path

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


def take_out_removed(store: RawStore, raw: RawShard, removals: Removals) -> RawShard:
    """Removes what is on the list from the file of a shard; returns its record.

    Args:
        store: the verified files.
        raw: the record of the shard's file.
        removals: the list.

    Raises:
        ShardError: another file was fetched meanwhile.
        OSError: the file cannot be written.
    """
    matcher = Matcher.of(removals)
    found = {} if matcher.is_empty else _find_rows(store.path(raw.shard), raw, matcher)
    if not found:
        return raw
    rows = sorted({row for rows in found.values() for row in rows})
    return store.remove_rows(raw, found, _read_keys(store.path(raw.shard), rows))


def check_same_list(store: LanceStore, removals: Removals) -> None:
    """Checks that a shard was loaded with the list that is in force now.

    Raises:
        LaionError: it was read again meanwhile, and has others on it.
    """
    if store.removals.read().digest != removals.digest:
        raise LaionError(
            "the list of removals changed while the shard was loaded; load it again",
            is_passing=True,
            code="removals-changed",
        )


def _find_rows(path: Path, raw: RawShard, matcher: Matcher) -> dict[str, list[int]]:
    """Returns the positions of the rows on the list, by entry."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    found: dict[str, list[int]] = {}
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine())
        engine.execute(load_sql("raw_shards/set_progress_off"))
        engine.execute(load_sql("raw_shards/set_geoparquet_off"))
        define_macros(engine)
        # DuckDB reads no texts that are not UTF-8.
        whole = path if raw.is_utf8 else stack.enter_context(repair_file(path))[0]
        readable = stack.enter_context(plain_path(whole))
        view = load_sql("images/view_source").format(
            columns=select_list(pq.read_schema(readable)), path=quote_path(str(readable))
        )
        engine.execute(view)
        authorities: dict[str, list[str]] = {}
        for authority, host in engine.execute(load_sql("images/select_hosts")).fetchall():
            if host is not None:
                authorities.setdefault(host, []).append(authority)
        hosts = matcher.match_hosts(authorities)
        removed = [(a, value) for host, value in hosts.removed.items() for a in authorities[host]]
        suspected = [(a,) for host in hosts.suspected for a in authorities[host]]
        ids = list(matcher.image_ids.items())
        _register(engine, "removed_hosts", removed, authority=pa.string(), entry=pa.string())
        _register(engine, "suspected_hosts", suspected, authority=pa.string())
        _register(engine, "removed_ids", ids, image_id=pa.int64(), entry=pa.string())
        for row, value in engine.execute(load_sql("images/select_removed")).fetchall():
            found.setdefault(value, []).append(row)
        for row, url in engine.execute(load_sql("images/select_suspected")).fetchall():
            if (matched := matcher.match_url(url)) is not None:
                found.setdefault(matched, []).append(row)
        if matcher.pictures and (column := find_picture_columns(schema).get("md5")):
            place = stack.enter_context(plain_path(path))
            query = load_sql("images/select_removed_pictures").format(
                column=quote_identifier(column), path=quote_path(str(place))
            )
            digests = {"digests": sorted(matcher.pictures)}
            for row, value in engine.execute(query, digests).fetchall():
                found.setdefault(value, []).append(row)
    return found


def _register(
    engine: duckdb.DuckDBPyConnection,
    name: str,
    rows: Sequence[tuple[object, ...]],
    **columns: pa.DataType,
) -> None:
    import pyarrow as pa

    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    arrays = [pa.array(v, kind) for v, kind in zip(values, columns.values(), strict=True)]
    engine.register(name, pa.table(arrays, names=list(columns)))


def _read_keys(path: Path, rows: list[int]) -> set[str]:
    """Returns by which keys an archive has the pictures of some rows."""
    import pyarrow.parquet as pq

    keys: set[str] = set()
    with pq.ParquetFile(path, **STREAMED) as file:
        column = find_key(file.schema_arrow)
        start = 0
        for batch in file.iter_batches(columns=[column]) if column else ():
            end = start + len(batch)
            places = [
                row - start for row in rows[bisect_left(rows, start) : bisect_left(rows, end)]
            ]
            keys.update(str(key) for key in batch.column(0).take(places).to_pylist() if key)
            start = end
    return keys
