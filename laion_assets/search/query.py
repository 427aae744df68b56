"""Reads a query as people write it, and writes its parts as Lance asks them.

Words are those of SQLite FTS5, as in the name counts. What a query says and we do not understand is
searched as words where that is possible, and a note says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from laion_assets.counts.captions import SEPARATOR, Folding
from laion_assets.errors import LaionError
from laion_assets.lance_images.caption_words import escape_words
from laion_assets.search.filter import match_place
from laion_assets.search.sites import Place, read_place

if TYPE_CHECKING:
    from lance.query import FullTextQuery

# Of a query, in characters: what follows takes longer than any caption is long.
MAX_QUERY_LENGTH = 2_000
# Each takes milliseconds.
MAX_WORDS = 64
# A phrase in quotes, perhaps with a minus before it; or what stands between blanks.
_PIECE = re.compile(r'(-?)"([^"]*)"|([^\s"]+)')
_SITE = "site:"
# The column with the words of the captions that Lance reads otherwise.
OTHERS = "caption_words"
_FIELD = re.compile(r"([A-Za-z]+):.")


@dataclass(frozen=True)
class Term:
    """Words that stand together in a caption.

    Attributes:
        words: folded as FTS5 does, one blank between.
        is_prefix: whether it is the beginning of a word.
    """

    words: str
    is_prefix: bool = False


@dataclass(frozen=True)
class Query:
    """What a caption must have, and where its image must come from.

    Attributes:
        phrases: all of these, words and phrases.
        groups: of each group at least one.
        excluded: none of these.
        sites: the image is from one of these.
        excluded_sites: and from none of these.
        notes: what was not understood, in sentences.
    """

    phrases: tuple[str, ...] = ()
    groups: tuple[tuple[Term, ...], ...] = ()
    excluded: tuple[Term, ...] = ()
    sites: tuple[Place, ...] = ()
    excluded_sites: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_words(self) -> bool:
        """Whether a caption must have anything."""
        return bool(self.phrases or self.groups)

    def match_sites(self, *, has_sites: bool) -> str:
        """Returns the sites as Lance takes them; empty without any.

        Args:
            has_sites: as `SearchFilter` has it.
        """
        wanted, excluded = (
            [match_place(place, has_sites=has_sites) for place in places]
            for places in (self.sites, self.excluded_sites)
        )
        conditions = [f"({' OR '.join(wanted)})"] if wanted else []
        conditions.extend(f"NOT ({condition})" for condition in excluded)
        return " AND ".join(conditions)

    @property
    def marked(self) -> tuple[str, ...]:
        """What to mark in captions: words and phrases; the beginning of a word ends with `*`."""
        terms = [term for group in self.groups for term in group]
        return (*self.phrases, *(f"{t.words}*" if t.is_prefix else t.words for t in terms))


# A page asks some ten times what its query means.
@lru_cache(256)
def read_query(text: str) -> Query:
    """Returns what a query asks for.

    Raises:
        LaionError: it is longer than 2,000 characters, or has more than 64 words.
    """
    if len(text) > MAX_QUERY_LENGTH:
        raise LaionError(
            f"the query has {len(text):,} characters; {MAX_QUERY_LENGTH:,} at most",
            code="query-too-long",
        )
    reader = _Reader()
    if _is_quote_open(text):
        reader.notes.append("A quotation mark without a second one was ignored.")
    for minus, phrase, loose in _cut(text):
        if loose:
            reader.read(loose)
        else:
            reader.add(phrase, f'"{phrase}"', is_excluded=bool(minus))
    return reader.finish()


def read_meaning(text: str) -> str:
    """Returns what of a query is the text whose meaning is searched: all but what leaves out.

    Args:
        text: a query that `read_query` takes.
    """
    kept = []
    for minus, phrase, loose in _cut(text):
        is_excluded = minus or (loose.startswith("-") and len(loose) > 1)
        if not (is_excluded or loose == "OR" or loose.lower().startswith(_SITE)):
            kept.append(phrase or loose)
    return " ".join(" ".join(kept).split())


def _is_quote_open(text: str) -> bool:
    return text.count('"') % 2 == 1


def _cut(text: str) -> list[tuple[str, str, str]]:
    """Returns the pieces of a query: the minus before a phrase, the phrase, or else what is loose.

    A quotation mark without a second one is none.
    """
    text = text.encode(errors="replace").decode()
    return _PIECE.findall(text.replace('"', " ") if _is_quote_open(text) else text)


class _Reader:
    """Puts the pieces of a query together."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._groups: list[list[Term]] = []
        self._excluded: list[Term] = []
        self._sites: list[Place] = []
        self._excluded_sites: list[Place] = []
        self._is_or = False

    def read(self, piece: str) -> None:
        """Takes what stands between blanks."""
        is_excluded = piece.startswith("-") and len(piece) > 1
        text = piece[1:] if is_excluded else piece
        if piece == "OR":
            self._is_or = True
        elif text.lower().startswith(_SITE):
            self._add_site(text[len(_SITE) :], is_excluded=is_excluded)
        else:
            if piece in {"AND", "NOT", "NEAR"}:
                better = "-word leaves a word out" if piece == "NOT" else "all words are needed"
                self.notes.append(f"{piece} was searched as a word; {better}.")
            elif field := _FIELD.match(text):
                self.notes.append(f"{field[1]}: has no meaning here; {text} was searched as words.")
            if "(" in text or ")" in text:
                self.notes.append("Parentheses have no meaning and were ignored.")
            self.add(text, piece, is_excluded=is_excluded, may_be_prefix=True)

    def add(self, text: str, piece: str, *, is_excluded: bool, may_be_prefix: bool = False) -> None:
        """Takes a word or a phrase."""
        words = learn_folding().phrase(text)
        is_prefix = may_be_prefix and text.endswith("*") and SEPARATOR not in words
        if not words:
            self.notes.append(f"{piece} has no letter or digit, so it was ignored.")
            return
        if text.count("*") > is_prefix:
            self.notes.append(f"* has a meaning only at the end of a word; in {piece} it has none.")
        term = Term(words, is_prefix)
        if is_excluded:
            self._excluded.append(term)
        elif self._is_or and self._groups:
            self._groups[-1].append(term)
        else:
            self._groups.append([term])
        self._check_or(is_joined=not is_excluded and sum(map(len, self._groups)) > 1)

    def finish(self) -> Query:
        """Returns the query.

        Raises:
            LaionError: it has too many words.
        """
        self._check_or(is_joined=False)
        groups = [tuple(dict.fromkeys(group)) for group in self._groups]
        plain = [g[0].words for g in groups if len(g) == 1 and not g[0].is_prefix]
        query = Query(
            phrases=tuple(dict.fromkeys(plain)),
            groups=tuple(dict.fromkeys(g for g in groups if len(g) > 1 or g[0].is_prefix)),
            excluded=tuple(dict.fromkeys(self._excluded)),
            sites=tuple(dict.fromkeys(self._sites)),
            excluded_sites=tuple(dict.fromkeys(self._excluded_sites)),
            notes=tuple(dict.fromkeys(self.notes)),
        )
        texts = (*query.marked, *(term.words for term in query.excluded))
        if sum(text.count(SEPARATOR) + 1 for text in texts) > MAX_WORDS:
            raise LaionError(
                f"the query has more than {MAX_WORDS} words; use fewer",
                code="query-of-too-many-words",
            )
        return query

    def _add_site(self, text: str, *, is_excluded: bool) -> None:
        site = read_place(text)
        if site is None:
            self.notes.append("site: needs a host right behind it, such as site:example.org.")
            return
        (self._excluded_sites if is_excluded else self._sites).append(site)
        # Several sites are joined so anyway.
        self._check_or(is_joined=len(self._sites) > 1 and not is_excluded)

    def _check_or(self, *, is_joined: bool) -> None:
        if self._is_or and not is_joined:
            self.notes.append("OR joins two words or phrases; here it was ignored.")
        self._is_or = False


@cache
def learn_folding() -> Folding:
    """Returns what this process knows of FTS5's words."""
    return Folding()


def match_captions(phrases: Collection[str]) -> FullTextQuery | None:
    """Returns the query for the captions that Lance reads as FTS5 does; None if none can fit."""
    return _match(phrases, "caption") if all(map(_is_alike, phrases)) else None


def match_words(phrases: Collection[str]) -> FullTextQuery:
    """Returns the query for the other captions, by the column that has their words."""
    return _match(tuple(map(escape_words, phrases)), OTHERS)


def match_any(words: Sequence[str], column: str) -> FullTextQuery | None:
    """Returns the query for one of several words, as the column has them; None without any."""
    from lance.query import FullTextOperator, MatchQuery

    return MatchQuery(" ".join(words), column, operator=FullTextOperator.OR) if words else None


def _is_alike(phrase: str) -> bool:
    return escape_words(phrase) == phrase


def _match(phrases: Collection[str], column: str) -> FullTextQuery:
    from lance.query import BooleanQuery, FullTextOperator, MatchQuery, Occur, PhraseQuery

    words = [phrase for phrase in phrases if SEPARATOR not in phrase]
    parts: list[FullTextQuery] = [PhraseQuery(p, column) for p in phrases if SEPARATOR in p]
    if words:
        parts.insert(0, MatchQuery(" ".join(words), column, operator=FullTextOperator.AND))
    if len(parts) == 1:
        return parts[0]
    return BooleanQuery([(Occur.MUST, part) for part in parts])
