"""Writes what a page says as HTML or JSON."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup, escape

from laion_assets.amounts import say_amount
from laion_assets.search.filter import SIZES
from laion_assets.web.facet_html import draw_bar, write_facets, write_share
from laion_assets.web.highlight import fold_words, mark_words
from laion_assets.web.params import CompareQuery, SearchQuery, write_path
from laion_assets.web.responses import Answer, Problem
from laion_assets.web.wording import (
    FACETS,
    SORT_CHOICES,
    describe_filters,
    describe_hidden,
    introduce_query,
    name_value,
)

# Links to pages of ours, and forms that lead to them.
PAGE_LINK = re.compile(
    r'href="(/(?!static/|o(?:penapi|pensearch|embed)|favicon|releases\.atom)[^"#]*)"'
)
PAGE_FORM = re.compile('<form class="search"[^>]*>')
TEMPLATES = Path(__file__).with_name("templates")


@cache
def open_templates() -> jinja2.Environment:
    """Returns the templates; everything that they write is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        # Else each page would look whether somebody wrote its templates again.
        auto_reload=False,
    )
    environment.globals.update(
        write_path=write_path,
        mark_words=mark_words,
        fold_words=fold_words,
        search=SearchQuery(),
        describe_filters=describe_filters,
        describe_hidden=describe_hidden,
        introduce_query=introduce_query,
        sort_choices=SORT_CHOICES,
        facet_names=FACETS,
        sizes=SIZES,
        name_value=name_value,
        draw_bar=draw_bar,
        write_facets=write_facets,
        start_comparing=CompareQuery.begin,
    )
    environment.filters.update(
        thousands=_thousands,
        amount=say_amount,
        moment=_moment,
        link=_link,
        share=write_share,
        breakable=_breakable,
    )
    environment.filters["facet_name"] = lambda name: FACETS.get(name, name)
    return environment


def render_html(template: str, **context: Any) -> bytes:
    """Returns a page."""
    return open_templates().get_template(f"{template}.html").render(context).encode()


def render_xml(template: str, **context: Any) -> bytes:
    """Returns an XML document."""
    return open_templates().get_template(f"{template}.xml").render(context).encode()


def pin_links(html: bytes, release: str) -> bytes:
    """Returns a page whose links and forms lead to pages of the same release.

    What is between quotes in a template is escaped, so that no caption looks like a link.
    """
    pair = urlencode({"release": release})
    field = f'<input type="hidden" name="release" value="{escape(release)}">'

    def pin(match: re.Match[str]) -> str:
        address = match[1]
        if "release=" in address:
            return match[0]
        return f'href="{address}{"&amp;" if "?" in address else "?"}{pair}"'

    text = PAGE_LINK.sub(pin, html.decode())
    return PAGE_FORM.sub(lambda match: match[0] + field, text).encode()


def render_json(answer: Answer | Problem) -> bytes:
    """Returns what a page says as JSON."""
    return answer.model_dump_json().encode()


def _thousands(number: int) -> str:
    return f"{number:,}"


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _breakable(host: str) -> Markup:
    """Returns a host that is broken after its dots, if it has to be."""
    return escape(host).replace(".", Markup(".<wbr>"))


def _link(url: str) -> str | None:
    """Returns the URL if a browser may follow it: of no other scheme than HTTP."""
    return url if url.lower().startswith(("http://", "https://")) else None
