"""Says how to quote a number: what was counted, in which release, and where to see it again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from laion_assets.amounts import say_amount
from laion_assets.web.responses import Citation
from laion_assets.web.wording import describe_filters, describe_hidden, introduce_query

if TYPE_CHECKING:
    from laion_assets.releases.manifest import Manifest
    from laion_assets.search.search import SearchAnswer
    from laion_assets.web.params import SearchQuery

BIBTEX = """@misc{{laion-{release}-{digest},
  title = {{{{{title}}}}},
  howpublished = {{LAION captions, release {release}}},
  note = {{Content SHA-256 {content_sha256}}},
  year = {{{year}}},
  url = {{{address}}}
}}"""
# Of LaTeX; what they are written as stands in for them.
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
}


def cite(manifest: Manifest, query: SearchQuery, answer: SearchAnswer, address: str) -> Citation:
    """Returns how to quote the number of images that a search found.

    Args:
        manifest: the record of the release that was searched.
        query: what was searched for.
        answer: what was found.
        address: where the same release gives the same number again.
    """
    title = " ".join(_describe(query, answer).split())
    release, digest = manifest.release, manifest.content_sha256
    return Citation(
        image_count=answer.total,
        query=query.q,
        filters=tuple(describe_filters(query)),
        release=release,
        content_sha256=digest,
        address=address,
        title=title,
        text=f"{title}. LAION captions, release {release}, content SHA-256 {digest}. {address}",
        bibtex=BIBTEX.format(
            release=re.sub(r"[^\w.-]", "-", release),
            digest=digest[:8],
            title=_escape(title),
            content_sha256=digest,
            year=manifest.released_at.year,
            address=address,
        ),
    )


def _describe(query: SearchQuery, answer: SearchAnswer) -> str:
    """Returns what was counted, as the heading of the page has it."""
    words = query.q.strip()
    conditions = [f"{introduce_query(words)} {words}"] if words else []
    conditions.extend(describe_filters(query))
    counted = f"{say_amount(answer.total, 'image')} {', '.join(conditions)}"
    return f"{counted} ({answer.hidden:,} {describe_hidden(query)})" if answer.hidden else counted


def _escape(text: str) -> str:
    return "".join(SPECIAL.get(sign, sign) for sign in text)
