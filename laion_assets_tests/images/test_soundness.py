"""Which shards stand out, beside the rule in plain Python."""

import random
from statistics import median

import duckdb
import pytest

from laion_assets.images.soundness import ODD_SHARES, find_odd_shares

ROWS = 1000


def is_odd(share: float, others: list[float], total: int) -> bool:
    if len(others) < ODD_SHARES["least_others"]:
        return False
    difference = share - median(others)
    if abs(difference) * total < ODD_SHARES["least_rows"]:
        return False
    return abs(difference) > ODD_SHARES["far"] or (
        difference > ODD_SHARES["near"] and share > ODD_SHARES["times"] * median(others)
    )


@pytest.mark.parametrize("shard_count", [1, 3, 4, 5, 8, 9, 40])
def test_a_shard_stands_out_from_the_median_of_the_others(shard_count: int) -> None:
    chooser = random.Random(shard_count)  # noqa: S311
    rejected = {f"s{n}": chooser.choice([0, 5, 6, 7, 40, 300]) / ROWS for n in range(shard_count)}
    missing = {shard: chooser.choice([0, 1, 2, 50, 200, 400]) for shard in rejected}
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE shards AS SELECT unnest($names) AS shard, unnest($rejected) AS "
            "rejected_count, 1000 AS file_rows, 1000 - rejected_count AS image_count",
            {"names": list(rejected), "rejected": [int(ROWS * r) for r in rejected.values()]},
        )
        connection.execute(
            "CREATE TABLE shard_figures AS SELECT unnest($names) AS shard, 'missing_width' AS "
            "figure, unnest($missing) AS row_count",
            {"names": list(missing), "missing": list(missing.values())},
        )
        counts = dict(connection.execute("SELECT shard, image_count FROM shards").fetchall())
        odd = find_odd_shares(connection)
    lacking = {shard: missing[shard] / counts[shard] for shard in missing}
    expected = {
        (shard, figure)
        for figure, shares in (("rejected", rejected), ("missing_width", lacking))
        for shard, share in shares.items()
        if is_odd(
            share,
            [other for name, other in shares.items() if name != shard],
            ROWS if figure == "rejected" else counts[shard],
        )
    }
    assert {(record["shard"], record["figure"]) for record in odd.records} == expected
