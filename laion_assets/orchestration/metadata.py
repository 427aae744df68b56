"""Metadata that Dagster shows on the page of an asset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.schemas import Column

if TYPE_CHECKING:
    import duckdb

    from laion_assets.stores.rows import Rows

# What `daily_refresh` makes: late after one day that was missed, overdue after two.
DAILY = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=49), warn_window=timedelta(hours=25)
)
# A page with a 10,000-character caption is no page.
MAX_CELL_LENGTH = 120
# Characters of a line of a chart.
MAX_NAME_LENGTH = 32
BAR_LENGTH = 40


def describe_table(name: str, columns: Iterable[Column]) -> dict[str, object]:
    """Returns what an asset's definition says of its table: its name and its columns."""
    schema = dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=c.name,
                type=c.type,
                description=c.description,
                constraints=dg.TableColumnConstraints(nullable=not c.is_required),
            )
            for c in columns
        ]
    )
    return {"dagster/table_name": name, "dagster/column_schema": schema}


def describe_place(place: str) -> dg.MetadataValue[str]:
    """Returns a path or URL so that the page shows what it is; a browser follows only its own."""
    if place.startswith(("http://", "https://")):
        return dg.MetadataValue.url(place)
    return dg.MetadataValue.text(place) if "://" in place else dg.MetadataValue.path(place)


def percent(part: int, whole: int) -> float:
    """Returns a share in per cent; 0 of nothing."""
    return round(100 * part / whole, 2) if whole else 0.0


def show_rows(rows: Rows) -> dg.TableMetadataValue:
    """Returns a small table; long texts are cut."""
    return show_table(rows.records, rows.columns)


def show_shares(
    shares: Sequence[tuple[str, float, str]],
) -> dg.MarkdownMetadataValue:
    """Returns a chart with a bar for each share.

    Args:
        shares: of what, how many per cent, and what stands behind.
    """
    names = [_shorten(name.replace("`", "'"), MAX_NAME_LENGTH) for name, *_ in shares]
    width = max(map(len, names), default=0)
    lines = [
        f"{name:<{width}} {_draw_bar(share)} {share:5.1f} % {note}"
        for name, (_, share, note) in zip(names, shares, strict=True)
    ]
    return dg.MetadataValue.md("\n".join(("```text", *(lines or ["nothing yet"]), "```")))


def show_missing(missing: Mapping[str, int], row_count: int) -> dg.TableMetadataValue:
    """Returns a table of how many rows have no value in each column, the most first."""
    ranked = sorted(missing.items(), key=lambda item: -item[1])
    records = [
        {"column": column, "rows_without": count, "percent": percent(count, row_count)}
        for column, count in ranked
    ]
    return show_table(records, ("column", "rows_without", "percent"))


def preview(rows: duckdb.DuckDBPyConnection) -> dg.TableMetadataValue:
    """Returns the rows of an executed query as a table."""
    from laion_assets.stores.rows import fetch_rows

    return show_rows(fetch_rows(rows))


def show_table(
    records: Sequence[Mapping[str, object]], columns: Sequence[str]
) -> dg.TableMetadataValue:
    """Returns a table of text and numbers; long texts are cut."""
    schema = dg.TableSchema(columns=[dg.TableColumn(name=name) for name in columns])
    cells = [dg.TableRecord({name: _cell(record[name]) for name in columns}) for record in records]
    return dg.MetadataValue.table(cells, schema)


def _cell(value: object) -> str | int | float:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, int):
        return value
    return _shorten("" if value is None else str(value), MAX_CELL_LENGTH)


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _draw_bar(share: float) -> str:
    filled = round(BAR_LENGTH * share / 100)
    return "█" * filled + "░" * (BAR_LENGTH - filled)
