"""Replaces one shard in the DuckDB tables `images` and `rejected_images`."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from laion_assets.errors import LaionError, ShardError, first_line
from laion_assets.images.registered_domain import map_hosts
from laion_assets.images.text_repair import repair_file
from laion_assets.raw_shards.samples import is_sample_file, read_file_metadata
from laion_assets.raw_shards.source_columns import select_list
from laion_assets.raw_shards.verify import plain_path
from laion_assets.schemas import CLEANING_VERSION, SPLIT
from laion_assets.stores.published_shards import ORIGIN_KEY
from laion_assets.stores.raw_store import RawShard
from laion_assets.stores.reasons import find_system_reason
from laion_assets.stores.shard_fragments import select_shards
from laion_assets.stores.sql import load_sql, quote_path

# In the order in which they use each other.
MACROS = (
    "is_blank",
    "lower_host",
    "host_of_host_and_port",
    "host_of_authority",
    "url_authority",
    "url_host",
    "rough_authority",
    "rejection_reason",
    "image_id",
)
# Why a row is rejected: as define_rejection_reason.sql has it, or by the list of removals.
REASONS = ("missing_url", "invalid_url", "missing_caption", "removed")
# All that is derived from a shard's rows, so that nothing of the old content is left.
DEPENDENT_TABLES = (
    *("images", "rejected_images", "shard_domains", "caption_matches"),
    *("shards", "shard_figures"),
)


@dataclass(frozen=True)
class ShardLoad:
    """What became of a shard's rows.

    Attributes:
        load_id: names this load; the next one of the same shard has another.
        image_count: rows in `images`.
        rejected: rows in `rejected_images`, by reason.
        repaired_count: rows in either table that had bytes that are no UTF-8, each such piece now
            U+FFFD.
    """

    load_id: str
    image_count: int
    rejected: Mapping[str, int]
    repaired_count: int = 0


def define_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Defines the functions of the cleaning rules for this connection."""
    for macro in MACROS:
        connection.execute(load_sql(f"images/define_{macro}"))


def load_shard(
    connection: duckdb.DuckDBPyConnection, raw: RawShard, path: Path, run_id: str
) -> ShardLoad:
    """Replaces the rows of a shard by those of its file, within the transaction of the caller.

    Args:
        connection: open for writing.
        raw: what is known of the file.
        path: the file.
        run_id: the Dagster run, kept for provenance.

    Raises:
        ShardError: the file cannot be read to its end.
    """
    import pyarrow as pa

    connection.execute(load_sql("images/set_order_free"))
    connection.execute(load_sql("raw_shards/set_geoparquet_off"))
    define_macros(connection)
    delete_shard(connection, raw.shard)
    try:
        image_count, repaired_count = _insert_rows(connection, raw, path)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if _is_about_the_machine(error):
            reason = find_system_reason(error, raw.source)
            raise LaionError(
                reason or f"{raw.source}: {first_line(error)}; check free disk space and memory",
                code="load-failed",
            ) from error
        raise ShardError(
            f"{raw.source}: {first_line(error)}; fetch the file again",
            code="shard-unreadable-by-duckdb",
        ) from error
    rejected = _count_rejected(connection, raw.shard)
    load = ShardLoad(str(uuid.uuid4()), image_count, rejected, repaired_count)
    _check_accounting(raw, load)
    _record(connection, raw, load, run_id, path)
    return load


def delete_shard(connection: duckdb.DuckDBPyConnection, shard: str) -> None:
    """Deletes the rows of a shard in every table, within the transaction of the caller."""
    for table in DEPENDENT_TABLES:
        connection.execute(load_sql(f"images/delete_{table}"), {"shard": shard})


def count_domains(connection: duckdb.DuckDBPyConnection, shards: Collection[str]) -> None:
    """Counts the images of each domain in these shards, but for those that have such counts."""
    query = load_sql("images/insert_shard_domains").format(are_theirs=select_shards(shards))
    connection.execute(query)


def _is_about_the_machine(error: Exception) -> bool:
    if isinstance(error, OSError):
        # pyarrow raises it without a number where the content of a file is wrong.
        return error.errno is not None
    return isinstance(error, duckdb.OutOfMemoryException | duckdb.IOException)


def _insert_rows(
    connection: duckdb.DuckDBPyConnection, raw: RawShard, path: Path
) -> tuple[int, int]:
    if not raw.is_utf8:
        with repair_file(path) as (copy, repaired_count):
            return _insert_file(connection, raw, copy), repaired_count
    return _insert_file(connection, raw, path), 0


def _insert_file(connection: duckdb.DuckDBPyConnection, raw: RawShard, path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with plain_path(path) as readable:
        view = load_sql("images/view_source").format(
            columns=select_list(pq.read_schema(readable)), path=quote_path(str(readable))
        )
        connection.execute(view)
        _register_hosts(connection)
        shard = {"shard": raw.shard}
        # They have neither URL nor caption any more; the record says why.
        removed = pa.table({"row_index": pa.array(raw.list_removed(), pa.int64())})
        connection.register("removed_rows", removed)
        statement = load_sql("images/insert_images").format(split=SPLIT)
        ((image_count,),) = connection.execute(statement, shard).fetchall()
        if image_count < raw.file_rows:
            connection.execute(load_sql("images/insert_rejected_images"), shard)
        count_domains(connection, [raw.shard])
    return int(image_count)


def _count_rejected(connection: duckdb.DuckDBPyConnection, shard: str) -> dict[str, int]:
    return dict(connection.execute(load_sql("images/count_rejected"), {"shard": shard}).fetchall())


def _register_hosts(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes `hosts`: each host of `source`, looked for and looked up once for all of its rows."""
    import pyarrow as pa

    found = connection.sql(load_sql("images/select_hosts")).to_arrow_table()
    registered = map_hosts(found["domain"].to_pylist())
    connection.register(
        "hosts", found.append_column("registered_domain", pa.array(registered, pa.string()))
    )


def _check_accounting(raw: RawShard, load: ShardLoad) -> None:
    rejected_count = sum(load.rejected.values())
    if load.image_count + rejected_count != raw.file_rows:
        raise ShardError(
            f"{raw.source}: {load.image_count} images and {rejected_count} rejected rows are not "
            f"the {raw.file_rows} rows of its footer; fetch the file again",
            code="rows-not-accounted",
        )


def _record(
    connection: duckdb.DuckDBPyConnection,
    raw: RawShard,
    load: ShardLoad,
    run_id: str,
    path: Path,
) -> None:
    values = {
        "shard": raw.shard,
        "load_id": load.load_id,
        "source": raw.source,
        "sha256": raw.sha256,
        "file_bytes": raw.file_bytes,
        "file_rows": raw.file_rows,
        "image_count": load.image_count,
        "rejected_count": sum(load.rejected.values()),
        "cleaning_version": CLEANING_VERSION,
        "run_id": run_id,
        "is_sample": is_sample_file(path),
        "origin_sha256": read_file_metadata(path).get(ORIGIN_KEY),
    }
    connection.execute(load_sql("images/insert_shard"), values)
