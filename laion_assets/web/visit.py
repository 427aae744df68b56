"""What a page is, and what it knows when it is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias, TypeVar

from starlette.convertors import Convertor, register_url_convertor

from laion_assets.web.current_release import OpenRelease, Shelf
from laion_assets.web.params import FilterQuery, Query, write_path
from laion_assets.web.responses import Answer, Images

# Shards of more rows than this are no parquet files that anybody has.
ROW_INDEX = re.compile("[0-9]{1,15}")

Row: TypeAlias = Mapping[str, object]
AnyQuery = TypeVar("AnyQuery", bound=Query)


class TextConvertor(Convertor[str]):
    """The rest of a path with all that is in it; Starlette's `path` ends at a line break."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """Returns the text as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Returns the text as it is."""
        return value


register_url_convertor("text", TextConvertor())


class NotFoundError(Exception):
    """There is nothing at this address; the message says what is missing."""


@dataclass(frozen=True)
class Visit:
    """What a page knows when it is asked.

    Attributes:
        shelf: all releases.
        release: the one that is shown.
        path: the parts of the path that name something.
        query: the checked parameters.
        public_url: what comes before the paths of pages in an address.
    """

    shelf: Shelf
    release: OpenRelease
    path: Mapping[str, str]
    query: Query
    public_url: str = ""

    @property
    def tag(self) -> str:
        """Tag of the release that is shown."""
        return self.release.manifest.release

    def ask(self, model: type[AnyQuery]) -> AnyQuery:
        """Returns the parameters as the model that they were checked with."""
        assert isinstance(self.query, model)
        return self.query


@dataclass(frozen=True)
class Page:
    """A page in all its forms.

    Attributes:
        name: of its template.
        path: as Starlette writes routes, without a suffix; the page is there as HTML, with `.json`
            as JSON and, if there are rows, with `.csv`, `.ndjson` and `.parquet` as a file.
        summary: what it is, in a few words.
        query: its parameters.
        answer: what it says.
        build: makes the answer.
        rows: yields all rows of a list, of all pages.
        columns: of these rows.
    """

    name: str
    path: str
    summary: str
    query: type[Query]
    answer: type[Answer]
    build: Callable[[Visit], Answer]
    rows: Callable[[Visit], Iterable[Row]] | None = None
    columns: tuple[str, ...] = ()

    @property
    def has_card(self) -> bool:
        """Whether there is a number on it that other sites may show."""
        return issubclass(self.answer, Images)

    def list_words(self, visit: Visit) -> list[str]:
        """Returns what a file of its rows is named after."""
        texts = {"q", "containing", "domain", "site", "shard"}
        asked = visit.query.model_dump(include=texts)
        given = (v if isinstance(v, tuple) else (v,) for v in asked.values() if v)
        # Files of the same words and of other filters lie side by side in one folder.
        filters = FilterQuery.model_fields.keys() - Query.model_fields.keys()
        others = visit.query.model_dump(include={*filters, "sort"} - texts, exclude_defaults=True)
        chosen = (
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in others.items()
            if value is not None
        )
        words = [*visit.path.values(), *chain.from_iterable(given), *chosen]
        return words if visit.path or self.name == "search" else [self.name, *words]

    def write_path(self, parts: Mapping[str, str]) -> str:
        """Returns the path of the page of something."""
        named = re.findall(r"{(\w+)", self.path)
        if not named:
            return self.path
        return write_path(self.path.split("/")[1], *(parts[name] for name in named))
