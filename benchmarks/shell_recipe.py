"""How the search engine of 2022 was built, with its own tools, step by step.

Run `python -m benchmarks.shell_recipe DATA_DIR FILE… [--names NAMES.csv …]`, as
`benchmarks.compare` does. Source: Simon Willison, "Exploring the training data behind Stable
Diffusion" (2022): parquet to CSV by pandas, `sqlite3 .import`, `sqlite-utils enable-fts`, a
function for the domain, `extract`, and counts by query. Needs the program `sqlite3`, and the
packages of the extra `bench`.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

TO_CSV = "import pandas, sys; pandas.read_parquet(sys.argv[1]).to_csv(sys.stdout, index=False)"
DOMAIN = """
from urllib.parse import urlparse

def domain(url):
    return urlparse(url).netloc
"""
COUNT_DOMAINS = """
WITH counts AS (SELECT domain_id, count(*) AS c FROM images GROUP BY domain_id)
UPDATE domain SET image_counts = counts.c FROM counts WHERE id = counts.domain_id
"""
COUNT_NAMES = """
WITH counts AS (
    SELECT name, (
        SELECT count(*) FROM images_fts
        WHERE images_fts MATCH '"' || replace(name, '"', '""') || '"'
    ) AS search_count
    FROM {table}
)
UPDATE {table} SET image_counts = counts.search_count FROM counts WHERE {table}.name = counts.name
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--names", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    options.data_dir.mkdir(parents=True, exist_ok=True)
    database = str(options.data_dir / "laion.db")
    create_images(database, options.files[0])
    for file in options.files:
        import_file(database, file)
    utils("enable-fts", database, "images", text_column(options.files[0]))
    utils("add-column", database, "images", "domain")
    utils(database, "UPDATE images SET domain = domain(URL)", "--functions", DOMAIN)
    utils("extract", database, "images", "domain")
    utils("add-column", database, "domain", "image_counts", "integer")
    utils(database, COUNT_DOMAINS)
    for names in options.names:
        utils("insert", database, names.stem, str(names), "--csv")
        utils("add-column", database, names.stem, "image_counts", "integer")
        utils(database, COUNT_NAMES.format(table=names.stem))


def text_column(file: Path) -> str:
    import pyarrow.parquet as pq

    return next(str(name) for name in pq.read_schema(file).names if name.lower() == "text")


def create_images(database: str, file: Path) -> None:
    import pyarrow.parquet as pq

    kinds = {"string": "TEXT", "large_string": "TEXT", "double": "FLOAT", "float": "FLOAT"}
    columns = ", ".join(
        f"[{field.name}] {kinds.get(str(field.type), 'INTEGER')}" for field in pq.read_schema(file)
    )
    run(["sqlite3", database, f"CREATE TABLE images ({columns})"])


def import_file(database: str, file: Path) -> None:
    to_csv = shlex.join([sys.executable, "-c", TO_CSV, str(file)])
    load = shlex.join(["sqlite3", "-csv", database, ".import --skip 1 '|cat -' images"])
    run(["bash", "-o", "pipefail", "-c", f"{to_csv} | {load}"])


def utils(*arguments: str) -> None:
    run([sys.executable, "-m", "sqlite_utils", *arguments])


def run(command: list[str]) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
