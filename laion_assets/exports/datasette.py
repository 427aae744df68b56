"""Writes a release as one SQLite file with full-text search, as the site of 2022 had it.

The rows are streamed from Lance, so memory grows with the hosts alone, and an old release can be
exported as well as the newest. Every count in the file is counted from the file: the domains while
the rows go by, the names by FTS5 itself. What differs from the release's own counts is an error.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.errors import LaionError
from laion_assets.exports.caption_index import Indexer, start_indexer
from laion_assets.exports.released_rows import check_removed, list_values, number_rows
from laion_assets.exports.site_metadata import MARK, describe_site, name_list_columns
from laion_assets.releases.catalog import find_release, open_released
from laion_assets.releases.hidden_rows import find_hidden
from laion_assets.releases.list_columns import ListColumns, read_released_lists
from laion_assets.settings import TAKEN_IN_SQLITE
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.locks import name_digest
from laion_assets.stores.sql import load_sql, quote_identifier
from laion_assets.stores.sqlite_file import (
    check_foreign_keys,
    check_meanwhile,
    check_pages,
    check_replaceable,
    digest_file,
    insert_columns,
    open_sqlite,
    replace_files,
    sync,
    write_sqlite,
)

if TYPE_CHECKING:
    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

    from laion_assets.releases.manifest import Manifest
    from laion_assets.stores.lance_store import LanceStore

FILE_NAME = "laion.db"
# In the order of the table `images`, between `id` and `domain_id`, and after it.
_VALUES = (
    *("url", "caption", "width", "height"),
    *("similarity", "punsafe", "pwatermark", "aesthetic", "hash"),
)
_PLACE = ("shard", "row_index")
# Facets, filters and sorting of millions of rows take seconds without an index.
INDEXED = ("domain_id", "aesthetic")
# SQLite's own limit, less the two columns of the project.
MOST_LIST_COLUMNS = 1_998
# A row with its share of both indices and of the full text, beside its texts.
_BYTES_A_ROW = 250
# Each text is in its table, and once more in pieces in the full-text index, in two copies while its
# parts are merged; Lance packs it to half or less.
_SHARE_OF_LANCE = 3


@dataclass(frozen=True)
class Export:
    """A file that was written.

    Attributes:
        path: the SQLite file.
        release: the tag of the release in it.
        content_sha256: of that release.
        image_count: rows of `images`.
        hidden_count: images of the release that were left out as unsafe; those on the list of
            removals are always.
        domain_count: rows of `domain`.
        name_count: names of all kinds.
        file_bytes: size of the file.
        sha256: of the file, in hexadecimal.
    """

    path: Path
    release: str
    content_sha256: str
    image_count: int
    hidden_count: int
    domain_count: int
    name_count: int
    file_bytes: int
    sha256: str


def export_datasette(
    store: LanceStore, path: Path, tag: str | None = None, *, is_safe: bool = False
) -> Export:
    """Writes a release to a SQLite file, and `metadata.yaml` and `inspect.json` beside it.

    An export that fails leaves the files of the one before.

    Args:
        store: the Lance tables.
        path: of the file, or a folder that is to have it as `laion.db`.
        tag: the release; None: the newest.
        is_safe: whether to leave out the images that the search page hides.

    Raises:
        LaionError: there is no such release, the path is that of another file, or what was written
            is not what the release has.
        DiskSpaceError: the disk has no room for it.
    """
    path = (path / FILE_NAME if path.is_dir() else path).resolve()
    metadata = path.with_name("metadata.yaml")
    with store.lock(f"export-{name_digest(str(path))}"):
        _check_paths(path, metadata)
        with start_indexer(path) as indexer:
            return _export(
                store, path, metadata, find_release(store, tag), indexer, is_safe=is_safe
            )


def _export(
    store: LanceStore,
    path: Path,
    metadata: Path,
    manifest: Manifest,
    indexer: Indexer,
    *,
    is_safe: bool,
) -> Export:
    _check_kinds(manifest)
    images = open_released(store, manifest, "images")
    check_space(path.parent, estimate_export(images), f"exporting release {manifest.release}")
    removed = find_hidden(store, manifest)
    files = (path, metadata, path.with_name("inspect.json"))
    with replace_files(*files) as (unfinished, new_metadata, new_inspect):
        captions = indexer.start(store, manifest.release, removed, is_safe=is_safe)
        with write_sqlite(unfinished) as connection:
            left_out = _write_images(
                connection, images, store, manifest, is_safe=is_safe, removed=removed
            )
            connection.execute("commit")
        with check_meanwhile(unfinished, "images") as checking:
            with write_sqlite(unfinished) as connection:
                captions.copy_to(connection)
                is_complete = not is_safe and not len(removed)
                _write_names(connection, store, manifest, is_complete=is_complete)
                connection.execute("commit")
            row_counts, sha256 = _check(unfinished, manifest, left_out, checking)
        lists = read_released_lists(open_released(store, manifest, "entity_counts"))
        kinds = {
            sheet.kind: name_list_columns(lists.get(sheet.kind, ListColumns()).columns)
            for sheet in manifest.sheets
        }
        hidden_count = left_out - len(removed)
        export = Export(
            path=path,
            release=manifest.release,
            content_sha256=manifest.content_sha256,
            image_count=row_counts["images"],
            hidden_count=hidden_count,
            domain_count=row_counts["domain"],
            name_count=sum(row_counts[kind] for kind in kinds),
            file_bytes=unfinished.stat().st_size,
            sha256=sha256,
        )
        site = describe_site(
            manifest,
            kinds,
            path.stem,
            row_counts["images"],
            hidden_count if is_safe else None,
        )
        new_metadata.write_text(site, encoding="utf-8")
        new_inspect.write_text(_describe_file(export, row_counts), encoding="utf-8")
        check_removed(store, manifest, removed)
    return export


def estimate_export(images: lance.LanceDataset) -> int:
    """Returns what the file of a release takes at most.

    The first file of each fragment has what shards bring; pictures and what else was added later
    are in the others, and not in the export.
    """
    packed = sum(f.data_files()[0].file_size_bytes or 0 for f in images.get_fragments())
    return LEAST_BYTES + _SHARE_OF_LANCE * packed + _BYTES_A_ROW * images.count_rows()


def _check_paths(path: Path, metadata: Path) -> None:
    check_replaceable(path)
    if metadata.exists() and not metadata.read_text("utf-8", errors="replace").startswith(MARK):
        raise LaionError(
            f"{metadata}: not written by an export, so it is not replaced; choose another folder",
            code="export-metadata-of-others",
        )


def _check_kinds(manifest: Manifest) -> None:
    for sheet in manifest.sheets:
        if sheet.kind in TAKEN_IN_SQLITE or sheet.kind.startswith("sqlite_"):
            raise LaionError(
                f"release {manifest.release}: its list `{sheet.kind}` cannot be a table of this "
                "file, which has or needs that name; rename the list and make a new release",
                code="export-list-name-taken",
            )


def _write_images(
    connection: sqlite3.Connection,
    images: lance.LanceDataset,
    store: LanceStore,
    manifest: Manifest,
    *,
    is_safe: bool,
    removed: Numbers,
) -> int:
    """Writes the images and their domains; returns how many images are left out."""
    # The largest first, so that most rows have a short number.
    released = open_released(store, manifest, "domain_counts").to_table()
    domains = released["domain"].to_pylist()
    for table in ("images", "domain"):
        connection.execute(load_sql(f"exports/create_{table}"))
    ids = {domain: number for number, domain in enumerate(domains, start=1)}
    counts: Counter[int] = Counter()
    insert = load_sql("exports/insert_image")
    columns = [*_VALUES, *_PLACE, "domain"]
    for batch in number_rows(images, columns, removed, is_safe=is_safe):
        try:
            of_domains = [ids[domain] for domain in list_values(batch["domain"])]
        except KeyError as error:
            raise _differ(manifest, f"`domain_counts`, which lacks {error}") from None
        before = [list_values(batch[column]) for column in ("id", *_VALUES)]
        after = [list_values(batch[column]) for column in _PLACE]
        insert_columns(connection, insert, [*before, of_domains, *after])
        counts.update(of_domains)
    is_complete = not is_safe and not len(removed)
    if is_complete and [counts[i] for i in ids.values()] != released["image_count"].to_pylist():
        raise _differ(manifest, "`domain_counts`")
    kept = ((number, domain, counts[number]) for domain, number in ids.items() if counts[number])
    connection.executemany(load_sql("exports/insert_domain"), kept)
    for column in INDEXED:
        connection.execute(load_sql("exports/index_column").format(column=column))
    return images.count_rows() - counts.total()


def _write_names(
    connection: sqlite3.Connection, store: LanceStore, manifest: Manifest, *, is_complete: bool
) -> None:
    """Writes a table for each kind of names, with what FTS5 counts for each."""
    names = open_released(store, manifest, "entity_counts")
    released, lists = names.to_table().to_pylist(), read_released_lists(names)
    for sheet in manifest.sheets:
        table = quote_identifier(sheet.kind)
        kept = lists.get(sheet.kind, ListColumns())
        columns = name_list_columns(kept.columns)
        if len(columns) > MOST_LIST_COLUMNS:
            raise LaionError(
                f"release {manifest.release}: its list `{sheet.kind}` has {len(columns):,} columns "
                f"beside the names, and SQLite takes {MOST_LIST_COLUMNS:,}; remove some, and make "
                "a new release",
                code="export-list-too-wide",
            )
        definitions = "".join(f"{quote_identifier(column)} TEXT, " for column in columns)
        create = load_sql("exports/create_names")
        connection.execute(create.format(table=table, columns=definitions))
        known = {row["name"]: row["image_count"] for row in released if row["kind"] == sheet.kind}
        counted = _count_matches(connection, known)
        if is_complete and counted != known:
            name = next(name for name in known if counted[name] != known[name])
            raise _differ(manifest, f"`entity_counts` of {name!r}")
        blank = ("",) * len(columns)
        rows = ((name, *kept.values.get(name, blank), counted[name]) for name in known)
        values = ", ".join("?" * (len(columns) + 2))
        connection.executemany(
            load_sql("exports/insert_name").format(table=table, values=values), rows
        )


def _count_matches(connection: sqlite3.Connection, names: Iterable[str]) -> dict[str, int]:
    query = load_sql("exports/count_matches")
    quoted = {name: name.replace('"', '""') for name in names}
    return {
        name: int(connection.execute(query, (text,)).fetchone()[0]) for name, text in quoted.items()
    }


def _check(
    path: Path, manifest: Manifest, hidden_count: int, checking_images: Future[None]
) -> tuple[dict[str, int], str]:
    """Checks the whole file, its full-text index, and its rows against the release's record.

    Args:
        path: the file.
        manifest: the record of the release.
        hidden_count: how many images the file does not have.
        checking_images: the check of `images` and its indices, which has begun.

    Returns:
        The number of rows of each table, and the SHA-256 of the file.
    """
    checks = (_check_captions, check_pages, check_foreign_keys)
    # All of them only read, and none needs Python's lock; the disk writes meanwhile.
    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(1) as writer:
        writing = writer.submit(sync, path)
        # One of two threads waits for the check that has begun, so that two processors have work.
        checking = [pool.submit(checking_images.result)]
        checking += [pool.submit(check, path) for check in checks]
        counting, digesting = pool.submit(_count_rows, path), pool.submit(digest_file, path)
        for check in (*checking, writing):
            check.result()
        row_counts, sha256 = counting.result(), digesting.result()
    of_names = sum(row_counts[sheet.kind] for sheet in manifest.sheets)
    if row_counts["images"] + hidden_count != manifest.row_counts["images"]:
        raise _differ(manifest, "the number of `images`")
    if of_names != manifest.row_counts["entity_counts"]:
        raise _differ(manifest, "the number of names")
    return row_counts, sha256


def _check_captions(path: Path) -> None:
    """Checks that the full-text index is sound and has every word of every caption."""
    with open_sqlite(path) as connection:
        # FTS5 writes its totals again at a commit, which would have to wait for all who read.
        connection.execute("begin")
        try:
            connection.execute(load_sql("exports/check_captions"))
            connection.execute("rollback")
        except sqlite3.DatabaseError as error:
            raise LaionError(
                f"the full-text index of the new file is damaged ({error}); check the disk, then "
                "try again",
                code="export-full-text-damaged",
            ) from error


def _count_rows(path: Path) -> dict[str, int]:
    query = load_sql("exports/count_rows")
    with open_sqlite(path) as connection:
        tables = [table for (table,) in connection.execute(load_sql("exports/select_tables"))]
        # FTS5 would count the captions by reading each. It has a size of each that it indexed.
        counted_in = ["images_fts_docsize" if table == "images_fts" else table for table in tables]
        counted = [connection.execute(query.format(table=quote_identifier(t))) for t in counted_in]
        return {table: int(rows.fetchone()[0]) for table, rows in zip(tables, counted, strict=True)}


def _describe_file(export: Export, row_counts: dict[str, int]) -> str:
    """Returns what `datasette inspect` would find, so that Datasette need not count the rows."""
    described = {
        "hash": export.sha256,
        "size": export.file_bytes,
        "file": export.path.name,
        "tables": {table: {"count": count} for table, count in row_counts.items()},
    }
    return json.dumps({export.path.stem: described}, indent=2) + "\n"


def _differ(manifest: Manifest, what: str) -> LaionError:
    return LaionError(
        f"release {manifest.release}: the images differ from {what}; the file was not written. "
        "Make a new release (`laion backfill --all`) and export that",
        code="export-differs",
    )
