"""`laion pictures retry` asks again for what may be had now, and for nothing else."""

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets_tests.integration.conftest import Shell

# No resolver knows such names (RFC 6761).
URL = "http://nowhere.invalid/1.jpg"


def read_times(shell: Shell) -> list[tuple[str, bool, str]]:
    with duckdb.connect(str(shell.settings.database), read_only=True) as database:
        query = "SELECT reason, is_passing, fetched_at FROM pictures"
        return database.execute(query).fetchall()


@pytest.mark.exhaustive
def test_a_retry_asks_for_what_may_pass(shell: Shell) -> None:
    refused = shell.run("laion", "pictures", "retry")
    assert refused.returncode == 1
    assert "nothing is fetched; set LAION_PICTURES=fetch" in refused.stderr

    shell.variables.update(LAION_PICTURES="fetch", LAION_FETCH_CONTACT="a@example.org")
    folder = shell.data_dir / "shards"
    folder.mkdir(parents=True)
    shell.variables["LAION_SHARDS"] = str(folder / "*.parquet")
    pq.write_table(pa.table({"url": [URL], "caption": ["a fox"]}), folder / "a.parquet")
    loaded = shell.run("laion", "backfill", "--all", "--pictures", "--no-refresh")
    assert loaded.returncode == 0, loaded.stderr
    assert "a (pictures): 0 pictures (0 %)" in loaded.stderr
    ((reason, is_passing, first),) = read_times(shell)
    assert (reason, is_passing) == ("dns", True)

    unknown = shell.run("laion", "pictures", "retry", "b")
    assert unknown.returncode == 2
    assert "no shard 'b'" in unknown.stderr

    again = shell.run("laion", "pictures", "retry", "a", "--no-refresh")
    assert again.returncode == 0, again.stderr
    ((reason, _, last),) = read_times(shell)
    assert (reason, last > first) == ("dns", True)

    with duckdb.connect(str(shell.settings.database)) as database:
        database.execute("UPDATE pictures SET is_passing = false")
    nothing = shell.run("laion", "pictures", "retry")
    assert nothing.returncode == 0
    assert "no picture is left that may be had now" in nothing.stderr
