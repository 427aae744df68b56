"""Writes what a page says as HTML, JSON or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from laion_assets.web.highlight import fold_words, mark_words
from laion_assets.web.params import SearchQuery, write_path
from laion_assets.web.responses import Answer, Problem

TEMPLATES = Path(__file__).with_name("templates")
# What a spreadsheet takes for the beginning of a formula.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


@cache
def open_templates() -> jinja2.Environment:
    """Returns the templates; everything that they write is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        write_path=write_path, mark_words=mark_words, fold_words=fold_words, search=SearchQuery()
    )
    environment.filters.update(thousands=_thousands, moment=_moment, link=_link, share=_share)
    return environment


def render_html(template: str, **context: Any) -> bytes:
    """Returns a page."""
    return open_templates().get_template(f"{template}.html").render(context).encode()


def render_json(answer: Answer | Problem) -> bytes:
    """Returns what a page says as JSON."""
    return answer.model_dump_json().encode()


def write_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> bytes:
    """Returns these columns of rows as CSV, without a header.

    A text that a spreadsheet would take for a formula gets an apostrophe before it: captions are
    from strangers. JSON has them as they are.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_disarm(row[name]) for name in columns] for row in rows)
    return text.getvalue().encode()


def _disarm(value: object) -> object:
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return f"'{value}"
    return value


def _thousands(number: int) -> str:
    return f"{number:,}"


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _link(url: str) -> str | None:
    """Returns the URL if a browser may follow it: of no other scheme than HTTP."""
    return url if url.lower().startswith(("http://", "https://")) else None


def _share(part: float, whole: float) -> str:
    """Returns a part of the whole as the width of a bar, in percent."""
    return f"{100 * part / whole:.2f}" if whole else "0"
