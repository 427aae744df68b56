"""The asset checks of tables that hold all shards: they run once a refresh, or alone from the UI.

They tell of every shard at once, because Dagster shows the latest result of a check alone: a
warning stays until its shard is mended, whichever shards were loaded since. What somebody changes
behind the project's back shows here too.
"""

from pathlib import Path

import dagster as dg

from laion_assets.failures import explain_failures
from laion_assets.overtaken import is_overtaken
from laion_assets.page import show_rows, show_table
from laion_assets.resources import LanceStore, Warehouse

WARN = dg.AssetCheckSeverity.WARN


@dg.asset_check(
    asset="images",
    blocking=True,
)
@explain_failures
def columns_as_documented(warehouse: Warehouse) -> dg.AssetCheckResult:
    """`images` and `rejected_images` have the columns and types that this version writes.

    If not, nothing is counted or released.
    """
    from laion_assets.lib.soundness import find_wrong_columns

    with warehouse.database.read() as connection:
        wrong = [
            f"{table}.{text}"
            for table in ("images", "rejected_images")
            for text in find_wrong_columns(connection, table)
        ]
    return dg.AssetCheckResult(
        passed=not wrong,
        metadata={
            "wrong_columns": len(wrong),
            "first_wrong": "; ".join(wrong[:5]) or "none",
            "if_it_fails": "Undo the change, or move `laion.duckdb` away and load all again.",
        },
    )


@dg.asset_check(asset="images")
@explain_failures
def scores_in_range(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Scores are in their range.

    That is 0 to 1 for punsafe and pwatermark, -1 to 1 for similarity, 0 to 10 for aesthetic. The
    rows stay as the source has them.
    """
    from laion_assets.lib.soundness import find_scores_out_of_range

    with warehouse.database.read() as connection:
        shards, examples = find_scores_out_of_range(connection)
    return dg.AssetCheckResult(
        passed=not shards.records,
        severity=WARN,
        metadata={
            "out_of_range": sum(int(str(record["row_count"])) for record in shards.records),
            "shards": show_rows(shards),
            "examples": show_rows(examples),
            "if_it_fails": "Look at the source of these shards; leave the rows out by their score.",
        },
    )


@dg.asset_check(asset="images")
@explain_failures
def shares_like_other_shards(warehouse: Warehouse) -> dg.AssetCheckResult:
    """No shard stands out by its rejected rows, or by the values that it lacks.

    It does if the share of rejected rows, or of rows without a value in a column, is more than 10
    percentage points from the median of the other shards; or more than 1 point over it and three
    times as much. Differences of less than ten rows do not count, and with fewer than three others
    nothing is compared.
    """
    from laion_assets.lib.soundness import find_odd_shares, summarize_shares

    with warehouse.database.read() as connection:
        odd = find_odd_shares(connection)
        summary = summarize_shares(connection)
    return dg.AssetCheckResult(
        passed=not odd.records,
        severity=WARN,
        metadata={
            "odd_shards": len({record["shard"] for record in odd.records}),
            "odd_shares": len(odd.records),
            "shares": show_rows(odd),
            "of_all_shards": show_rows(summary),
            "if_it_fails": (
                "Compare the columns on the pages of `raw_shards`: is one named otherwise, or is "
                "the shard of another release?"
            ),
        },
    )


@dg.asset_check(asset="images")
@explain_failures
def few_repeats(warehouse: Warehouse) -> dg.AssetCheckResult:
    """No shard repeats more than 5 % of its pairs of URL and caption, and no file is there twice.

    Repeats stay.
    """
    from laion_assets.lib.soundness import find_repeated, find_same_files

    with warehouse.database.read() as connection:
        repeated = find_repeated(connection)
        same_files = find_same_files(connection)
    return dg.AssetCheckResult(
        passed=not (repeated.records or same_files.records),
        severity=WARN,
        metadata={
            "repeating_shards": len(repeated.records),
            "repeated": sum(int(str(record["repeated"])) for record in repeated.records),
            "shards": show_rows(repeated),
            "same_files": show_rows(same_files),
            "if_it_fails": "Take each `image_id` once, or leave one of the files out.",
        },
    )


# Not blocking: `release` looks itself, and says which shard it is.
@dg.asset_check(asset="lance_images")
@explain_failures
def equals_duckdb(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse, lance_store: LanceStore
) -> dg.AssetCheckResult:
    """Lance has each shard's present load, as many rows as DuckDB, and the same sum of ids.

    If not, nothing is released. A shard that is loaded meanwhile may differ until it is copied.
    """
    from laion_assets.lib.lance_images import compare_shards
    from laion_assets.lib.lance_table import open_table, table_path

    dataset = open_table(table_path(Path(lance_store.path), "images"))
    with warehouse.database.read() as connection:
        compared = compare_shards(connection, dataset)
    columns = ("shard", "duckdb_rows", "lance_rows", "has_same_ids", "is_noted")
    differing = [{name: getattr(c, name) for name in columns} for c in compared if not c.is_equal]
    return dg.AssetCheckResult(
        passed=not differing or is_overtaken(context.instance, context.run.run_id),
        metadata={
            "differing_shards": len(differing),
            "shards": len(compared),
            "duckdb_rows": sum(c.duckdb_rows for c in compared),
            "lance_rows": sum(c.lance_rows for c in compared),
            "differing": show_table(differing, columns),
            "if_it_fails": "Materialize `lance_images` of these: `laion backfill --missing`.",
        },
    )


@dg.asset_check(asset="domain_counts")
@explain_failures
def counts_add_up(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse
) -> dg.AssetCheckResult:
    """The counts of all domains add up to the rows of `images`.

    And the rows of each shard in `images` and `rejected_images` to those of its file.
    """
    from laion_assets.lib.soundness import account_domains

    with warehouse.database.read() as connection:
        account = account_domains(connection)
    return dg.AssetCheckResult(
        passed=account.is_sound or is_overtaken(context.instance, context.run.run_id),
        metadata={
            "sum_of_counts": account.counted,
            "images": account.images,
            "images_noted_when_loaded": account.loaded,
            "unaccounted_shards": show_rows(account.unaccounted),
            "if_it_fails": "Load the shards that are named again; then refresh the counts.",
        },
    )


@dg.asset_check(asset="release")
@explain_failures
def indices_cover_every_row(lance_store: LanceStore) -> dg.AssetCheckResult:
    """Each index of the released tables has every row, so that a search misses none."""
    from laion_assets.lib.release import measure_coverage, newest_release

    lance_dir = Path(lance_store.path)
    newest = newest_release(lance_dir)
    coverage = measure_coverage(lance_dir, newest) if newest else []
    columns = ("table", "index", "indexed_rows", "unindexed_rows")
    unindexed = sum(c.unindexed_rows for c in coverage)
    return dg.AssetCheckResult(
        passed=bool(coverage) and not unindexed,
        metadata={
            "release": newest.release if newest else "none yet",
            "unindexed_rows": unindexed,
            "indices": show_table([vars(c) for c in coverage], columns),
            "if_it_fails": "Materialize `release` again.",
        },
    )


@dg.asset_check(asset="release")
@explain_failures
def counts_equal_duckdb(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse, lance_store: LanceStore
) -> dg.AssetCheckResult:
    """The released tables of counts are those of DuckDB, row for row."""
    from laion_assets.lib.release import compare_counts, newest_release

    lance_dir = Path(lance_store.path)
    newest = newest_release(lance_dir)
    differing = compare_counts(warehouse.database, lance_dir, newest) if newest else {}
    return dg.AssetCheckResult(
        passed=newest is not None
        and (not any(differing.values()) or is_overtaken(context.instance, context.run.run_id)),
        metadata={
            "release": newest.release if newest else "none yet",
            **{f"differing_{table}": count for table, count in differing.items()},
            "if_it_fails": "Materialize `release`: the counts were refreshed or changed since.",
        },
    )


TABLE_CHECKS = (
    columns_as_documented,
    scores_in_range,
    shares_like_other_shards,
    few_repeats,
    equals_duckdb,
    counts_add_up,
    indices_cover_every_row,
    counts_equal_duckdb,
)
