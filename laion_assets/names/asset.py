"""The lists of names, one asset a kind."""

import dagster as dg

from laion_assets.names.resource import SheetSource
from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import DAILY, preview
from laion_assets.stores.resources import Warehouse

# The name of the check that comes with each list.
LIST_READ = "list_read"


def build_names_asset(kind: str) -> dg.AssetsDefinition:
    """Returns the asset of one kind of names, such as `artists`."""

    @laion_asset(
        holds="names",
        name=kind,
        group_name="names",
        kinds={"googlesheets", "duckdb"},
        code_version="1",
        freshness_policy=DAILY,
        metadata={"dagster/table_name": kind},
        check_specs=[
            dg.AssetCheckSpec(
                LIST_READ,
                asset=kind,
                description=(
                    "The list could be read with the last refresh. If not, the names of before "
                    "are counted, and the sensor reads it again after a pause."
                ),
            )
        ],
        description=(
            f"The {kind} whose captions are counted: the list that `LAION_SHEET_{kind.upper()}` "
            f"names, in its order, as the DuckDB table `{kind}`. The column `name` holds the "
            "names, trimmed and each once; the other columns are kept as text. A sheet without any "
            f"name is refused, and the table stays.\n\n```sql\nSELECT * FROM {kind}\n```"
        ),
    )
    def names(sheets: SheetSource, warehouse: Warehouse) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster refuses [None] beside checks
        from laion_assets.names.sheets import refresh_or_keep
        from laion_assets.stores.sql import load_sql, quote_identifier

        record, problem = refresh_or_keep(
            warehouse.database, kind, sheets.locations[kind], sheets.rules
        )
        with warehouse.database.read() as connection:
            query = load_sql("names/preview_names").format(table=quote_identifier(kind))
            rows = connection.execute(query)
            columns = [description[0] for description in rows.description or ()]
            sample = preview(rows)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(record.sha256),
            check_results=[check_list_read(problem)],
            metadata={
                "preview": sample,
                "dagster/row_count": record.name_count,
                "is_changed": record.is_changed,
                "name_column": record.name_header,
                "repeated": len(record.repeated),
                "repeated_names": ", ".join(record.repeated[:20]),
                "without_name": record.blank_count,
                "spreadsheet_errors": record.error_count,
                "sha256": record.sha256,
                "source": _link(record.location),
                "dagster/column_schema": dg.TableSchema(
                    columns=[
                        dg.TableColumn(
                            name=column,
                            type="VARCHAR",
                            description="The name, trimmed; each once."
                            if column == "name"
                            else "As in the sheet.",
                        )
                        for column in columns
                    ]
                ),
            },
        )

    return names


def check_list_read(problem: str | None) -> dg.AssetCheckResult:
    """Returns the result of the check `list_read` of any list: why it cannot be read, if so."""
    return dg.AssetCheckResult(
        check_name=LIST_READ,
        passed=problem is None,
        metadata={
            **({"reason": problem} if problem else {}),
            "if_it_fails": "Correct the list as the reason says; it is read again by itself.",
        },
    )


def _link(location: str) -> dg.UrlMetadataValue | dg.PathMetadataValue:
    from laion_assets.names.sheet_download import is_link

    return dg.MetadataValue.url(location) if is_link(location) else dg.MetadataValue.path(location)
