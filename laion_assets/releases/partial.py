"""A release while Lance lacks the present load of some shards: the others are not held back.

Such a shard is outdated. Where Lance still has the rows that the newest release has of it, the
next release carries them on, with their record and their counts. Where it has none, or rows that
no record describes, the release is without the shard. Either way, counts and record are those of
the rows that the release has.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import duckdb

from laion_assets.amounts import say_amount
from laion_assets.counts.refresh import recount
from laion_assets.errors import StaleTableError
from laion_assets.lance_images.copy import compare_shards
from laion_assets.lance_images.table import remove_shards
from laion_assets.releases.catalog import newest_release, open_released
from laion_assets.releases.manifest import Manifest, OutdatedShard, ReleasedShard
from laion_assets.schemas import LANCE_IMAGES
from laion_assets.stores.database import Database, open_engine
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.loads import list_loaded
from laion_assets.stores.rows import fetch_rows
from laion_assets.stores.shard_fragments import select_shards
from laion_assets.stores.shard_sums import show_sums
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import lance

# All that counts and records are made of.
CARRIED_COLUMNS = ["shard", "image_id", "caption", "domain", "registered_domain"]


def take_out_unrecorded(database: Database, store: LanceStore) -> None:
    """Removes the rows of outdated shards from Lance that no record of a release describes.

    They come back with the next copy of the shard. Hold the lock of the release meanwhile.

    Raises:
        StaleTableError: Lance has rows of a shard that DuckDB does not have, or has no shard as
            DuckDB has it.
    """
    with database.read() as connection:
        compared = compare_shards(connection, store.find("images"), is_reading=False)
        _check_some_sound(connection, [c.shard for c in compared if not c.is_equal])
    outdated = {c.shard for c in compared if not c.is_equal}
    unrecorded = {c.shard for c in compared if c.shard in outdated and c.lance_rows}
    if unrecorded:
        unrecorded -= {record.shard for record in find_carried(store, unrecorded)}
    if unrecorded:
        with store.lock_shards(unrecorded):
            remove_shards(store, "images", unrecorded)


def find_carried(store: LanceStore, shards: Collection[str]) -> list[ReleasedShard]:
    """Returns the records of those shards of which Lance has the very rows of the newest release.

    Every value is compared, but for columns that came later: another load can have the same ids.
    """
    newest = newest_release(store)
    if newest is None or not shards:
        return []
    released, present = open_released(store, newest, "images"), store.open("images")
    # Columns that came later are another matter, and so are those of users.
    ours = {column.name for column in LANCE_IMAGES}
    columns = [
        name for name in released.schema.names if name in present.schema.names and name in ours
    ]
    before, now = (_digest(dataset, columns, shards) for dataset in (released, present))
    return [
        record
        for record in newest.shards
        if record.shard in shards and before.get(record.shard) == now.get(record.shard)
    ]


def describe_outdated(
    connection: duckdb.DuckDBPyConnection, outdated: Collection[str], carried: Collection[str]
) -> tuple[OutdatedShard, ...]:
    """Returns what a release says of the shards whose present load it does not have."""
    query = load_sql("releases/select_outdated_shards")
    records = fetch_rows(connection.execute(query, {"shards": sorted(outdated)})).records
    return tuple(
        OutdatedShard.model_validate({**record, "is_carried": record["shard"] in carried})
        for record in records
    )


def show_sound(
    connection: duckdb.DuckDBPyConnection,
    dataset: lance.LanceDataset,
    outdated: Collection[str],
    carried: Collection[ReleasedShard],
) -> None:
    """Lets this connection see the tables as they are without the outdated shards' present loads.

    The carried ones have the rows of Lance in place of theirs. Tables of this connection alone
    stand before those of the file, and the counts are made anew from them.

    Args:
        connection: open for reading.
        dataset: the Lance table `images`.
        outdated: the shards.
        carried: the records of those that are carried on.
    """
    names = [record.shard for record in carried]
    reader = dataset.scanner(columns=CARRIED_COLUMNS, filter=select_shards(names)).to_reader()
    connection.register("lance_rows", reader)
    connection.execute(load_sql("releases/create_carried_images"))
    connection.unregister("lance_rows")
    for table in ("shards", "shard_domains", "caption_matches"):
        query = load_sql(f"releases/create_sound_{table}")
        connection.execute(query, {"outdated": sorted(outdated)})
    query = load_sql("releases/create_sound_images").format(are_outdated=select_shards(outdated))
    connection.execute(query)
    show_sums(connection, "images")
    for table in ("domain_counts", "site_counts", "entity_counts", "refreshes"):
        connection.execute(load_sql(f"releases/create_sound_{table}"))
    for record in carried:
        values = record.model_dump(exclude={"id_sum", "removed_count"})
        connection.execute(load_sql("releases/insert_carried_shard"), values)
    recount(connection)


def show_released(
    connection: duckdb.DuckDBPyConnection, store: LanceStore, manifest: Manifest
) -> None:
    """Lets this connection see the tables with the loads that a release has, as `show_sound`."""
    outdated = [shard.shard for shard in manifest.outdated]
    carried = [shard for shard in manifest.shards if shard.shard in outdated]
    show_sound(connection, open_released(store, manifest, "images"), outdated, carried)


def find_outdated(
    connection: duckdb.DuckDBPyConnection, dataset: lance.LanceDataset, store: LanceStore
) -> tuple[list[str], list[ReleasedShard]]:
    """Returns the outdated shards, and the records of those that are carried on.

    Raises:
        StaleTableError: Lance has rows of one that no record describes; `take_out_unrecorded`
            takes them out. Or no shard is sound.
    """
    compared = compare_shards(connection, dataset, is_reading=False)
    outdated = [c.shard for c in compared if not c.is_equal]
    _check_some_sound(connection, outdated)
    carried = find_carried(store, outdated)
    known = {record.shard for record in carried}
    for each in compared:
        if not each.is_equal and each.lance_rows and each.shard not in known:
            raise StaleTableError(
                f"shard {each.shard!r}: loaded during the release; release again",
                is_passing=True,
                code="release-shard-overtaken",
            )
    return outdated, carried


def refuse(uncopied: Collection[str]) -> StaleTableError:
    """Returns why there is no release while these shards differ."""
    return StaleTableError(
        f"DuckDB and Lance differ for {say_amount(len(uncopied), 'shard')}, "
        f"the first is {min(uncopied)}; "
        "materialize `lance_images` of them first (`laion backfill --missing`), or remove "
        "those that `laion status` shows without a partition (`laion remove`)",
        code="release-shards-differ",
    )


def _check_some_sound(connection: duckdb.DuckDBPyConnection, outdated: Collection[str]) -> None:
    loaded = list_loaded(connection)
    # What Lance alone has is for a person to judge.
    if outdated and (loaded <= set(outdated) or not set(outdated) <= loaded):
        raise refuse(outdated)


def _digest(
    dataset: lance.LanceDataset, columns: list[str], shards: Collection[str]
) -> dict[str, tuple[int, int]]:
    reader = dataset.scanner(columns=columns, filter=select_shards(shards)).to_reader()
    with open_engine() as engine:
        engine.execute(load_sql("raw_shards/set_progress_off"))
        engine.register("lance_rows", reader)
        rows = engine.execute(load_sql("releases/digest_rows")).fetchall()
    return {shard: (count, digest) for shard, count, digest in rows}
