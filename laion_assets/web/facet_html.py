"""Writes facets as HTML.

They are most of a page of few images. A template, which escapes, looks up and calls piece by piece,
takes several times as long for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from markupsafe import Markup, escape

from laion_assets.amounts import say_amount
from laion_assets.web.responses import Facet, Facets
from laion_assets.web.wording import FACETS, name_bounds, name_value

# A name that is longer by more than the second number is cut.
MAX_NAME, LEEWAY = 60, 5
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 100, 24


def write_share(part: float, whole: float) -> str:
    """Returns a part of the whole, in percent."""
    return f"{100 * part / whole:.2f}" if whole else "0"


def draw_bar(part: float, whole: float) -> Markup:
    """Returns a bar as long as a part is of the whole."""
    share = write_share(part, whole)
    return Markup(f'<svg class="bar" aria-hidden="true"><rect width="{share}%"/></svg>')  # noqa: S704 - numbers alone


def draw_histogram(facet: Facet) -> Markup:
    """Returns a picture of how many images each of some ranges has."""
    return _draw(tuple(value.image_count for value in facet.values))


# One image has few places to be in, and so have two.
@lru_cache(1024)
def _draw(counts: Sequence[int]) -> Markup:
    width, largest = HISTOGRAM_WIDTH / len(counts), max(counts)
    bars = []
    for place, count in enumerate(counts):
        height = HISTOGRAM_HEIGHT * count / largest
        bars.append(
            f'<rect x="{place * width:.1f}" y="{HISTOGRAM_HEIGHT - height:.1f}" '
            f'width="{width - 1:.1f}" height="{height:.1f}"/>'
        )
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="histogram" viewBox="0 0 {HISTOGRAM_WIDTH} {HISTOGRAM_HEIGHT}" '
        f'preserveAspectRatio="none" aria-hidden="true">{"".join(bars)}</svg>'
    )


def write_facets(facets: Facets) -> Markup:
    """Returns each facet with a line for each value that any image has.

    A line is a link to these images, and their number.
    """
    return Markup("".join(_write(facet, facets.counted) for facet in facets.facets))  # noqa: S704 - each text in it is escaped


def _write(facet: Facet, counted: int) -> str:
    name = FACETS.get(facet.name, facet.name)
    picture = f"{draw_histogram(facet)}\n" if facet.is_range else ""
    lines = [
        f'<li><a href="{escape(value.address)}" rel="nofollow">'
        f"<bdi>{escape(_name(facet, value.value))}</bdi></a> {value.image_count:,}"
        f"{'' if facet.is_range else draw_bar(value.image_count, counted)}</li>\n"
        for value in facet.values
        if value.image_count
    ]
    return (
        f"<section>\n<h2>{escape(name[:1].upper() + name[1:])}</h2>\n{picture}"
        f"<ul>\n{''.join(lines)}</ul>\n{_write_rest(facet)}</section>\n"
    )


def _write_rest(facet: Facet) -> str:
    """Returns how many images have other values or none, if there are."""
    parts = []
    if facet.other_count:
        parts.append(f"{facet.other_count:,} with {say_amount(facet.other_values, 'other value')}")
    if facet.missing_count:
        parts.append(f"{facet.missing_count:,} without any")
    return f'<p class="note">{"; ".join(parts)}</p>\n' if parts else ""


def _name(facet: Facet, value: str) -> str:
    """Returns a value as people read it, with dots at the end if it is long."""
    if not facet.is_own:
        value = name_value(facet.name, value)
    elif facet.is_range:
        value = name_bounds(value)
    if len(value) <= MAX_NAME + LEEWAY:
        return value
    return value[: MAX_NAME - 3].rsplit(" ", 1)[0] + "..."
