"""Says in words how many there are."""

from __future__ import annotations


def say_amount(count: int, noun: str) -> str:
    """Returns a number and what is counted: `1 shard`, `1,234 shards`.

    Args:
        count: how many.
        noun: what, as of one.
    """
    many = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"
