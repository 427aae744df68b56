"""The lists of names, one asset a kind."""

import dagster as dg

from laion_assets.page import PREVIEW_ROWS, show_table
from laion_assets.resources import SheetSource, Warehouse


def build_names_asset(kind: str) -> dg.AssetsDefinition:
    """Returns the asset of one kind of names, such as `artists`."""

    @dg.asset(
        name=kind,
        group_name="names",
        kinds={"googlesheets", "duckdb"},
        code_version="1",
        metadata={"dagster/table_name": kind},
        description=(
            f"The {kind} whose captions are counted: the list that `LAION_SHEET_{kind.upper()}` "
            f"names, in its order, as the DuckDB table `{kind}`. The column `name` holds the "
            "names, trimmed and each once; the other columns are kept as text. A sheet without any "
            f"name is refused, and the table stays.\n\n```sql\nSELECT * FROM {kind}\n```"
        ),
    )
    def names(sheets: SheetSource, warehouse: Warehouse) -> dg.MaterializeResult[None]:
        from laion_assets.lib.sheets import read_sheet, store_sheet

        sheet = read_sheet(kind, sheets.locations[kind])
        with warehouse.database.write() as connection:
            store_sheet(connection, sheet)
        records = [dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows[:PREVIEW_ROWS]]
        schema = dg.TableSchema(
            columns=[dg.TableColumn(name=column, type="VARCHAR") for column in sheet.columns]
        )
        return dg.MaterializeResult(
            data_version=dg.DataVersion(sheet.sha256),
            metadata={
                "dagster/row_count": len(sheet.rows),
                "preview": show_table(records, sheet.columns),
                "name_column": sheet.name_header,
                "repeated": len(sheet.repeated),
                "repeated_names": ", ".join(sheet.repeated[:20]),
                "without_name": sheet.blank_count,
                "sha256": sheet.sha256,
                "source": dg.MetadataValue.path(sheet.location),
                "dagster/column_schema": schema,
            },
        )

    return names
