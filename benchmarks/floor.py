"""The least that the engines can do: read a shard, write DuckDB, write Lance, index captions.

Run `python -m benchmarks.floor DATA_DIR FILE`, as `benchmarks.compare` does. No row is looked at:
no checksum, no verification, no rejection, no id, no name, no other index.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import lance

QUERY = """
CREATE TABLE images AS
SELECT *, split_part(url, '/', 3) AS domain, 'shard' AS shard
FROM read_parquet($path, file_row_number = true)
WHERE url <> '' AND text <> ''
"""


def main() -> None:
    data_dir, file = map(Path, sys.argv[1:])
    data_dir.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(data_dir / "floor.duckdb")) as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(QUERY, {"path": str(file)})
        connection.sql("SELECT domain, count(*) FROM images GROUP BY domain").fetchall()
        rows = connection.sql("FROM images").to_arrow_reader(122_880)
        images = lance.write_dataset(rows, data_dir / "floor.lance", data_storage_version="2.1")
    images.create_scalar_index(
        "TEXT" if "TEXT" in images.schema.names else "text",
        "INVERTED",
        with_position=True,
        stem=False,
        remove_stop_words=False,
        max_token_length=None,
    )


if __name__ == "__main__":
    main()
