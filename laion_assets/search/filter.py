"""What a hit of a search has to be, besides its caption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.errors import LaionError
from laion_assets.search.row_values import SIDE
from laion_assets.search.safety import UNSAFETY
from laion_assets.search.sites import Place, read_place

if TYPE_CHECKING:
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

# Widths are 32-bit integers.
LARGEST_BOUND = 2**31
SCORES = ("aesthetic", "similarity", "punsafe", "pwatermark")
# By the shorter side in pixels: from the first number to below the second.
SIZES = {
    "small": (None, 256),
    "medium": (256, 512),
    "large": (512, 1024),
    "huge": (1024, None),
}


@dataclass(frozen=True)
class Bounds:
    """Values from one number to below another; written `6.5..7`, `6.5..` or `..7`.

    Attributes:
        at_least: the first value; None: from the least.
        below: where they end, itself not in it; None: to the greatest.
    """

    at_least: float | None
    below: float | None

    @classmethod
    def read(cls, text: str) -> Bounds:
        """Returns what somebody wrote.

        Raises:
            LaionError: it is not of this form, or nothing is in it.
        """
        first, dots, last = text.partition("..")
        try:
            at_least, below = (float(end) if end.strip() else None for end in (first, last))
        except ValueError:
            at_least = below = None
        if not dots or (at_least is None and below is None):
            raise LaionError(
                f"{text!r} is not a range; write 6.5..7, 6.5.. or ..7", code="filter-range-invalid"
            )
        if at_least is not None and below is not None and not at_least < below:
            raise LaionError(
                f"{text!r} is an empty range; write the smaller number first",
                code="filter-range-empty",
            )
        return cls(at_least, below)

    def __str__(self) -> str:
        ends = ("" if end is None else f"{end:g}" for end in (self.at_least, self.below))
        return "..".join(ends)


@dataclass(frozen=True)
class SearchFilter:
    """What a hit has to be, besides its caption; a row without the value is no hit.

    Attributes:
        domain: the whole host, in whatever case.
        site: a registered domain, a host, `*.host` or an address, as `read_place` takes it.
        has_sites: whether each row has a `registered_domain`, as in older releases none has.
        shard: partition key.
        min_aesthetic: aesthetic score at least.
        max_punsafe: probability of being unsafe at most.
        hide_punsafe_above: the same, but where the probability is not known, the row is a hit
            unless its source labels it unsafe; what is left out is counted as hidden.
        min_width: pixels at least.
        min_height: pixels at least.
        size: one of `SIZES`, by the shorter side.
        aesthetic: bounds of the aesthetic score.
        similarity: bounds of the similarity of caption and image.
        punsafe: bounds of the probability of being unsafe.
        pwatermark: bounds of the probability of a watermark.
        license: as in the source.
        nsfw: label as in the source.
        language: as in the source.
        where: an SQL condition over the columns, declared ones among them; see `search/where.py`.
        alike: SHARD/ROW of an image: only what repeats it among the hits, and itself.
    """

    domain: str | None = None
    site: str | None = None
    has_sites: bool = True
    shard: str | None = None
    min_aesthetic: float | None = None
    max_punsafe: float | None = None
    hide_punsafe_above: float | None = None
    min_width: int | None = None
    min_height: int | None = None
    size: str | None = None
    aesthetic: Bounds | None = None
    similarity: Bounds | None = None
    punsafe: Bounds | None = None
    pwatermark: Bounds | None = None
    license: str | None = None
    nsfw: str | None = None
    language: str | None = None
    where: str | None = None
    alike: str | None = None

    def __post_init__(self) -> None:
        """Refuses what no value can be.

        Raises:
            LaionError: a bound is no number, or too large.
        """
        for name, value in vars(self).items():
            if isinstance(value, str | bool | Bounds) or value is None:
                continue
            if not abs(value) < LARGEST_BOUND:
                raise LaionError(
                    f"{name}: {value!r} is not a value of that column", code="filter-value-invalid"
                )
        if self.size is not None and self.size not in SIZES:
            raise LaionError(
                f"size: {self.size!r} is not one of {', '.join(SIZES)}", code="filter-size-unknown"
            )

    @property
    def equalities(self) -> str:
        """What few rows are, as Lance takes it; empty without any."""
        wanted = {"domain": self.domain and self.domain.lower(), "shard": self.shard}
        conditions = [
            match_text(column, value) for column, value in wanted.items() if value is not None
        ]
        if self.site is not None:
            place = read_place(self.site)
            if place is None:
                raise LaionError(
                    f"site: there is no host in {self.site!r}; write example.com or an address",
                    code="filter-site-invalid",
                )
            conditions.append(match_place(place, has_sites=self.has_sites))
        return " AND ".join(conditions)

    @property
    def labels(self) -> Mapping[str, str]:
        """Texts that a row has, by column. There is no index of them."""
        wanted = {"license": self.license, "nsfw": self.nsfw, "language": self.language}
        return {column: value for column, value in wanted.items() if value is not None}

    @property
    def ranges(self) -> tuple[Range, ...]:
        """What many rows are."""
        ranges = (
            Range("aesthetic", at_least=self.min_aesthetic),
            Range("punsafe", at_most=self.max_punsafe),
            Range("width", at_least=self.min_width),
            Range("height", at_least=self.min_height),
            Range(SIDE, *SIZES.get(self.size or "", (None, None))),
            *(
                Range(column, bounds.at_least, bounds.below)
                for column in SCORES
                if (bounds := getattr(self, column)) is not None
            ),
        )
        return tuple(r for r in ranges if (r.at_least, r.below, r.at_most) != (None, None, None))

    @property
    def shown(self) -> Range | None:
        """What is shown of the hits; the others are hidden, and counted."""
        if self.hide_punsafe_above is None:
            return None
        return Range(UNSAFETY, at_most=self.hide_punsafe_above, is_missing_kept=True)


@dataclass(frozen=True)
class Range:
    """A column of numbers, and the least or the greatest value that a hit has there.

    Attributes:
        column: its name, or `UNSAFETY`.
        at_least: the least value, None if there is none.
        below: what all values are below, None if there is no such bound.
        at_most: the greatest value, None if there is none.
        is_missing_kept: whether a row without a value is a hit.
    """

    column: str
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    is_missing_kept: bool = False

    def holds(self, values: Numbers) -> Numbers:
        """Returns which values are in the range; a missing one is NaN."""
        import numpy as np

        held = ~np.isnan(values)
        if self.at_least is not None:
            held &= values >= _as_stored(self.at_least)
        if self.below is not None:
            held &= values < _as_stored(self.below)
        if self.at_most is not None:
            held &= values <= _as_stored(self.at_most)
        return held | np.isnan(values) if self.is_missing_kept else held


EVERYTHING = SearchFilter()


def match_place(place: Place, *, has_sites: bool) -> str:
    """Returns the condition that an image is from a place, as Lance takes it.

    Args:
        place: what somebody wrote for a site.
        has_sites: as `SearchFilter` has it.
    """
    # A host may end with a dot.
    host = f"domain IN ({quote_text(place.host)}, {quote_text(place.host + '.')})"
    ends = (f"ends_with(domain, {quote_text(f'.{place.host}{dot}')})" for dot in ("", "."))
    below = f"({host} OR {' OR '.join(ends)})"
    is_site = place.host == place.site
    # The hosts below a suffix are sites of their own: it takes `*.` to mean them.
    if not place.is_wild and (place.is_suffix or not is_site):
        return host
    if not has_sites or place.is_suffix:
        return below
    # The index finds the rows of the site; for a part of it, only they are compared.
    site = f"registered_domain = {quote_text(place.site)}"
    return site if is_site else f"({site} AND {below})"


def match_text(column: str, text: str) -> str:
    """Returns the condition that a column has a text, as Lance takes it."""
    return f"{column} = {quote_text(text)}"


def quote_text(text: str) -> str:
    """Returns a text as Lance takes it; unlike DuckDB it takes a NUL, as some hosts have one."""
    return "'" + text.replace("'", "''") + "'"


def _as_stored(value: float) -> float:
    """Returns the 32-bit float next to a number: 6.7 is to find what was stored as 6.7."""
    import numpy as np

    return float(np.float32(value))
