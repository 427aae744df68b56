"""What a search looks for: words, a meaning, or what is like a picture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from laion_assets.errors import LaionError

if TYPE_CHECKING:
    import numpy as np

By: TypeAlias = Literal["words", "meaning", "both"]
# An image, as the address of its page has it; longer numbers do not fit into 64 bits.
PLACE = re.compile(r"(.+)/([0-9]{1,15})", re.DOTALL)
WAYS: tuple[By, ...] = get_args(By)


@dataclass(frozen=True)
class Wanted:
    """What a search looks for: exactly one of query, like, picture and vector.

    Attributes:
        query: words.
        by: whether captions have to have the words, or pictures their meaning, or what is good in
            either comes first.
        like: shard and row of an image of the table.
        picture: the file of another.
        vector: that of another, by the same model as the vectors of the table.
        aesthetic_weight: how much an aesthetic score raises a near picture, 0 to 1; see
            `fusion.weigh`.
    """

    query: str | None = None
    by: By = "words"
    like: tuple[str, int] | None = None
    picture: bytes | None = None
    vector: np.ndarray[Any, Any] | None = None
    aesthetic_weight: float = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be asked.

        Raises:
            LaionError: it is not exactly one of them, or a value that there is not.
        """
        ways = self.query, self.like, self.picture, self.vector
        if sum(way is not None for way in ways) != 1:
            raise LaionError(
                "give exactly one of a query, an image of the table, a picture, and a vector",
                code="search-of-several",
            )
        if self.by not in WAYS:
            raise LaionError(
                f"by: {self.by!r} is not one of {', '.join(WAYS)}", code="search-by-unknown"
            )
        if not 0 <= self.aesthetic_weight <= 1:
            raise LaionError(
                f"aesthetic_weight: {self.aesthetic_weight!r} is not between 0 and 1",
                code="search-weight-invalid",
            )

    @property
    def is_ranking(self) -> bool:
        """Whether vectors are compared."""
        return self.query is None or self.by != "words"


def read_like(text: str) -> tuple[str, int]:
    """Returns the shard and the row of an image that somebody named.

    Raises:
        LaionError: it has not this form.
    """
    named = PLACE.fullmatch(text)
    if not named:
        raise LaionError(
            f"like: {text!r} names no image; write SHARD/ROW, as in the address of its page",
            code="search-like-invalid",
        )
    return named[1], int(named[2])
