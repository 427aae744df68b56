"""What must hold of the counts, with figures and what to do if it does not."""

from collections.abc import Iterable

import dagster as dg

from laion_assets.names.checks import build_names_kept
from laion_assets.orchestration.check_steps import Check, laion_check
from laion_assets.orchestration.metadata import show_rows
from laion_assets.orchestration.overtaken import is_overtaken
from laion_assets.stores.resources import Warehouse


def build_checks(kinds: Iterable[str]) -> list[Check]:
    """Returns the checks of the names and their counts."""
    kinds = tuple(kinds)
    return [
        _build_every_name_counted(kinds),
        _build_equals_fts5(kinds),
        names_match,
        *(build_names_kept(kind) for kind in kinds),
    ]


@laion_check(asset="entity_counts")
def names_match(warehouse: Warehouse) -> dg.AssetCheckResult:
    """In each list, some name is in a caption.

    If none is, the list may be one of other things: of numbers, addresses, or another language.
    """
    from laion_assets.stores.rows import fetch_rows
    from laion_assets.stores.sql import load_sql

    with warehouse.database.read() as connection:
        lists = fetch_rows(connection.execute(load_sql("counts/summarize_lists")))
    without = [
        str(record["kind"])
        for record in lists.records
        if record["name_count"] == record["unmatched_count"]
    ]
    return dg.AssetCheckResult(
        passed=not without,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "lists_without_match": ", ".join(without) or "none",
            "lists": show_rows(lists),
            "if_it_fails": "Check the column that was taken for the names, and the shards.",
        },
    )


def _build_every_name_counted(kinds: tuple[str, ...]) -> Check:
    @laion_check(
        asset="entity_counts",
        description="Every name of every sheet is counted for every shard.",
    )
    def every_name_counted(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> dg.AssetCheckResult:
        from laion_assets.counts.refresh import find_uncounted

        uncounted = find_uncounted(warehouse.database, kinds)
        return dg.AssetCheckResult(
            passed=not uncounted or is_overtaken(context.instance, context.run.run_id),
            metadata={
                "uncounted_pairs": sum(uncounted.values()),
                "shards": ", ".join(list(uncounted)[:20]),
                "if_it_fails": "Materialize entity_counts again.",
            },
        )

    return every_name_counted


def _build_equals_fts5(kinds: tuple[str, ...]) -> Check:
    @laion_check(
        asset="entity_counts",
        description=(
            "On a sample of 200 names and one shard, the counts are those of SQLite FTS5, whose "
            "index is built for this. Each state of the tables has a sample of its own."
        ),
    )
    def equals_fts5(warehouse: Warehouse) -> dg.AssetCheckResult:
        from laion_assets.counts.fts5_sample import compare_with_fts5

        comparison = compare_with_fts5(warehouse.database, kinds)
        first = [
            f"{name}: {ours}, FTS5 {theirs}"
            for name, (ours, theirs) in list(comparison.differing.items())[:20]
        ]
        return dg.AssetCheckResult(
            passed=not comparison.differing,
            metadata={
                "names": comparison.name_count,
                "captions": comparison.caption_count,
                "shard": comparison.shard or "none yet",
                "differing": len(comparison.differing),
                "differing_names": "; ".join(first),
                "if_it_fails": "Report it with the names: this would be a bug.",
            },
        )

    return equals_fts5


@laion_check(asset="domain_counts")
def counts_add_up(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse
) -> dg.AssetCheckResult:
    """The counts of all domains add up to the rows of `images`.

    And the rows of each shard in `images` and `rejected_images` to those of its file, and the
    images of its domains to those in `images`.
    """
    from laion_assets.images.soundness import account_domains

    with warehouse.database.read() as connection:
        account = account_domains(connection)
    return dg.AssetCheckResult(
        passed=account.is_sound or is_overtaken(context.instance, context.run.run_id),
        metadata={
            "sum_of_counts": account.counted,
            "images": account.images,
            "images_noted_when_loaded": account.loaded,
            "unaccounted_shards": show_rows(account.unaccounted),
            "if_it_fails": "Refresh the counts. If shards are still named, load them again.",
        },
    )


@laion_check(asset="site_counts")
def site_counts_add_up(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse
) -> dg.AssetCheckResult:
    """The counts of all registered domains add up to the rows of `images`.

    And their hosts to the different hosts of all shards.
    """
    from laion_assets.stores.sql import load_sql

    with warehouse.database.read() as connection:
        ((counted, counted_hosts, images, hosts),) = connection.execute(
            load_sql("counts/sum_site_counts")
        ).fetchall()
    is_sound = (counted, counted_hosts) == (images, hosts)
    return dg.AssetCheckResult(
        passed=is_sound or is_overtaken(context.instance, context.run.run_id),
        metadata={
            "sum_of_counts": counted,
            "images": images,
            "sum_of_hosts": counted_hosts,
            "hosts": hosts,
            "if_it_fails": "Materialize `site_counts` again.",
        },
    )
