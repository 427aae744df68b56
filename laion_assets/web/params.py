"""What a page is asked for: the parameters of its address, checked, and addresses made of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal
from urllib.parse import quote, urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from laion_assets.search.filter import SearchFilter
from laion_assets.search.query import MAX_QUERY_LENGTH
from laion_assets.search.search import MAX_TOTAL, Order
from laion_assets.web.current_release import CountOrder

# What a path may end with, to say in which form its page is wanted; HTML is, without any.
JSON, CSV, HTML = SUFFIXES = (".json", ".csv", ".html")
# Clients take them for steps within a path, percent-encoded too.
DOTS = ("/.", "/..")
PAGE_SIZE = 20
ROWS_PAGE_SIZE = 100
# As far as the best matches are ranked.
LAST_PAGE = MAX_TOTAL // PAGE_SIZE
# A shard may have hosts that no DNS knows.
MAX_NAME_LENGTH = 2_000
# Above it an image is hidden until somebody asks for it; the seed of many a LAION subset.
PUNSAFE_THRESHOLD = 0.5


def _none_if_blank(value: object) -> object:
    """A form sends every field, also those that nobody filled in."""
    return None if isinstance(value, str) and not value.strip() else value


def _threshold_if_blank(value: object) -> object:
    return PUNSAFE_THRESHOLD if _none_if_blank(value) is None else value


Score = Annotated[float | None, BeforeValidator(_none_if_blank)]
Pixels = Annotated[int | None, BeforeValidator(_none_if_blank)]
Text = Annotated[str | None, BeforeValidator(_none_if_blank)]
Punsafe = Annotated[
    float,
    BeforeValidator(_threshold_if_blank),
    Field(ge=0, le=1, description="Hides images that are more probably unsafe; 1 shows all."),
]


class Query(BaseModel):
    """The parameters of a page; those that it does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def write(self, path: str, **changes: object) -> str:
        """Returns the address of a path with these parameters, some of them changed."""
        given = {**self.model_dump(exclude_defaults=True), **changes}
        fields = type(self).model_fields
        kept = {
            name: value
            for name, value in given.items()
            if name in fields and value is not None and value != fields[name].default
        }
        return f"{path}?{urlencode(kept)}" if kept else path


class SearchQuery(Query):
    """What is searched for, and how it is shown."""

    q: str = Field(
        default="", max_length=MAX_QUERY_LENGTH, description="Words, and phrases in quotes."
    )
    domain: Text = Field(default=None, max_length=MAX_NAME_LENGTH, description="The whole host.")
    shard: Text = Field(default=None, max_length=MAX_NAME_LENGTH, description="Partition key.")
    min_aesthetic: Score = Field(default=None, ge=0, le=10, description="Aesthetic score at least.")
    max_punsafe: Punsafe = PUNSAFE_THRESHOLD
    min_width: Pixels = Field(default=None, ge=0, le=1_000_000, description="Pixels at least.")
    min_height: Pixels = Field(default=None, ge=0, le=1_000_000, description="Pixels at least.")
    sort: Order = Field(default="relevance", description="By BM25, or by aesthetic score.")
    view: Literal["list", "grid"] = Field(default="list", description="How a page shows them.")
    page: int = Field(default=1, ge=1, le=LAST_PAGE, description=f"{PAGE_SIZE} images a page.")

    @property
    def is_asking(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self.q.strip() or self.domain or self.shard)

    @property
    def has_filters(self) -> bool:
        """Whether there is more than words."""
        shown = {"q", "sort", "view", "page"}
        return bool(self.model_dump(exclude=shown, exclude_defaults=True))

    @property
    def only(self) -> SearchFilter:
        """What an image has to be."""
        return SearchFilter(
            domain=self.domain,
            shard=self.shard,
            min_aesthetic=self.min_aesthetic,
            hide_punsafe_above=self.max_punsafe if self.max_punsafe < 1 else None,
            min_width=self.min_width,
            min_height=self.min_height,
        )


class ListQuery(Query):
    """Which part of a long list is shown."""

    containing: str = Field(
        default="", max_length=MAX_NAME_LENGTH, description="A text that is in it."
    )
    sort: CountOrder = Field(default="count", description="The most images first, or by name.")
    page: int = Field(default=1, ge=1, description=f"{ROWS_PAGE_SIZE} a page.")


class PictureQuery(Query):
    """How a page with images is shown."""

    max_punsafe: Punsafe = PUNSAFE_THRESHOLD


class NoQuery(Query):
    """A page without parameters."""


def write_path(*parts: object) -> str:
    """Returns the path with these parts, whatever is in them."""
    path = "/" + "/".join(_quote(str(part)) for part in parts)
    # A name that ends like one of the forms of a page, or that is a step within a path.
    return f"{path}{HTML}" if path.endswith((*SUFFIXES, *DOTS)) else path


@lru_cache(4096)
def _quote(part: str) -> str:
    return quote(part, safe="")
