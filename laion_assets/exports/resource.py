"""Where exports are written."""

import dagster as dg
from pydantic import Field


class ExportFiles(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The files that programs outside this project read."""

    datasette: str = Field(description="The SQLite file for Datasette.")
