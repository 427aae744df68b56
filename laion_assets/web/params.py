"""What a page is asked for: the parameters of its address, checked, and addresses made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import quote, urlencode

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from laion_assets.errors import LaionError
from laion_assets.search.filter import SIZES, Bounds, SearchFilter
from laion_assets.search.order import ORDERS, Order
from laion_assets.search.query import MAX_QUERY_LENGTH
from laion_assets.search.safety import PUNSAFE_THRESHOLD
from laion_assets.search.wanted import By
from laion_assets.search.where import MAX_LENGTH
from laion_assets.web.current_release import CountOrder

# What a path may end with, to say in which form its page is wanted; HTML is, without any.
JSON, HTML = ".json", ".html"
LISTS = CSV, NDJSON, PARQUET = (".csv", ".ndjson", ".parquet")
SUFFIXES = (JSON, *LISTS, HTML)
# Clients take them for steps within a path, percent-encoded too.
DOTS = ("/.", "/..")
PAGE_SIZE = 20
ROWS_PAGE_SIZE = 100
# More than any release can have.
LAST_PAGE = 10**9
# A shard may have hosts that no DNS knows.
MAX_NAME_LENGTH = 2_000
# That are compared; each is a search.
MAX_PHRASES = 20


def none_if_blank(value: object) -> object:
    """A form sends every field, also those that nobody filled in."""
    return None if isinstance(value, str) and not value.strip() else value


def _threshold_if_blank(value: object) -> object:
    return PUNSAFE_THRESHOLD if none_if_blank(value) is None else value


def _read_bounds(text: str | None) -> Bounds | None:
    return None if text is None else Bounds.read(text)


def _check_bounds(text: str | None) -> str | None:
    return None if text is None else str(_read_bounds(text))


def _list_phrases(value: object) -> object:
    """Leaves out fields of a form that nobody filled in, and what is there twice."""
    if not isinstance(value, list | tuple):
        return value
    phrases = dict.fromkeys(text.strip() for text in value if text.strip())
    if len(phrases) > MAX_PHRASES:
        raise LaionError(
            f"{len(phrases)} phrases to compare; {MAX_PHRASES} at most", code="compare-too-many"
        )
    for text in phrases:
        if len(text) > MAX_QUERY_LENGTH:
            raise LaionError(
                f"a phrase has {len(text):,} characters; {MAX_QUERY_LENGTH:,} at most",
                code="compare-phrase-too-long",
            )
    return tuple(phrases)


Score = Annotated[float | None, BeforeValidator(none_if_blank)]
Pixels = Annotated[int | None, BeforeValidator(none_if_blank)]
Text = Annotated[str | None, BeforeValidator(none_if_blank)]
Between = Annotated[str | None, BeforeValidator(none_if_blank), AfterValidator(_check_bounds)]
Punsafe = Annotated[
    float,
    BeforeValidator(_threshold_if_blank),
    Field(
        ge=0,
        le=1,
        description="Hides images that are more probably unsafe, and those without a probability "
        "that their source labels NSFW or UNSURE; 1 shows all.",
    ),
]

Fold = Annotated[
    bool,
    Field(
        description="Show only the first of the images that have the same caption or URL; in a "
        "ranking, of those that look alike."
    ),
]
Weight = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="In a ranking: of the 200 nearest, the score grows by so many tenths for each "
        "point that the aesthetic score is above 5, and shrinks below.",
    ),
]


class Query(BaseModel):
    """The parameters of a page; those that it does not know are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    # Parameters that may be given more than once.
    REPEATED: ClassVar[frozenset[str]] = frozenset()

    release: Text = Field(
        default=None,
        max_length=MAX_NAME_LENGTH,
        description="Tag of the release to show; the newest if none is named.",
    )

    @classmethod
    def read(cls, given: Sequence[tuple[str, str]]) -> Self:
        """Returns the parameters of an address.

        Raises:
            LaionError: one of them is not known, or given twice.
            ValidationError: one of them has a value that it cannot have.
        """
        names = [name for name, _ in given]
        for name in names:
            if name not in cls.model_fields:
                known = ", ".join(cls.model_fields)
                raise LaionError(
                    f"unknown parameter {name[:100]!r}; this page takes {known}",
                    code="parameter-unknown",
                )
            if names.count(name) > 1 and name not in cls.REPEATED:
                raise LaionError(f"parameter {name!r} is given twice", code="parameter-twice")
        lists = {name: [v for n, v in given if n == name] for name in cls.REPEATED & {*names}}
        return cls.model_validate({**dict(given), **lists})

    def write(self, path: str, **changes: object) -> str:
        """Returns the address of a path with these parameters, some of them changed."""
        return _join(path, self._change(changes).values())

    def write_each(
        self, path: str, name: str, values: Iterable[object], **changes: object
    ) -> Iterator[str]:
        """Yields such an address for each value of a parameter; they differ in nothing else.

        A page has some hundred addresses, and most of them are of such a row.
        """
        pairs = self._change({name: None, **changes})
        place, written = list(pairs).index(name), list(pairs.values())
        before, after = ("&".join(filter(None, p)) for p in (written[:place], written[place + 1 :]))
        start = f"{path}?{before}&" if before else f"{path}?"
        end = f"&{after}" if after else ""
        default = _list_defaults(type(self))[name]
        for value in values:
            if value is not None and value != default:
                yield f"{start}{_write_pair(name, value)}{end}"
            else:
                yield _join(path, (before, after))

    def _change(self, changes: Mapping[str, object]) -> dict[str, str]:
        """Returns the parameters as an address has them, in order; empty where they say nothing."""
        # As `list_given` has it, but each pair is written once.
        defaults = _list_defaults(type(self))
        pairs = {"q": "", **self._pairs, **dict.fromkeys(changes, "")}
        for name, value in changes.items():
            if name in defaults and value is not None and value != defaults[name]:
                pairs[name] = _write_pair(name, value)
        pairs["release"] = pairs.pop("release", "")
        return pairs

    def list_given(self, **changes: object) -> dict[str, object]:
        """Returns the parameters that are not as they are by default, the words first.

        The release is the last.
        """
        given = {**self._dumped, **changes}
        given = {"q": given.pop("q", None), **given}
        given["release"] = given.pop("release", None)
        defaults = _list_defaults(type(self))
        return {
            name: value
            for name, value in given.items()
            if name in defaults and value is not None and value != defaults[name]
        }

    @cached_property
    def _pairs(self) -> dict[str, str]:
        return {name: _write_pair(name, value) for name, value in self.list_given().items()}

    @cached_property
    def _dumped(self) -> dict[str, object]:
        return self.model_dump(exclude_defaults=True)

    def count_given(self) -> int:
        """Returns how many parameters its address has."""
        values = self.list_given().values()
        return sum(len(value) if isinstance(value, tuple) else 1 for value in values)


class FilterQuery(Query):
    """What an image has to be besides its caption."""

    domain: Text = Field(default=None, max_length=MAX_NAME_LENGTH, description="The whole host.")
    site: Text = Field(
        default=None,
        max_length=MAX_NAME_LENGTH,
        description="A registered domain with all of its hosts, a host, *.host, or an address.",
    )
    shard: Text = Field(default=None, max_length=MAX_NAME_LENGTH, description="Partition key.")
    min_aesthetic: Score = Field(default=None, ge=0, le=10, description="Aesthetic score at least.")
    max_punsafe: Punsafe = PUNSAFE_THRESHOLD
    min_width: Pixels = Field(default=None, ge=0, le=1_000_000, description="Pixels at least.")
    min_height: Pixels = Field(default=None, ge=0, le=1_000_000, description="Pixels at least.")
    license: Text = Field(
        default=None, max_length=MAX_NAME_LENGTH, description="As the source has it."
    )
    nsfw: Text = Field(
        default=None, max_length=MAX_NAME_LENGTH, description="Label, as the source has it."
    )
    language: Text = Field(
        default=None, max_length=MAX_NAME_LENGTH, description="As the source has it."
    )
    size: Annotated[Literal[tuple(SIZES)] | None, BeforeValidator(none_if_blank)] = Field(  # type: ignore[valid-type]
        default=None, description="By the shorter side, in pixels."
    )
    aesthetic: Between = Field(
        default=None, description="Aesthetic score: 6.5..7, 6.5.. or ..7; 7 is not in it."
    )
    similarity: Between = Field(default=None, description="Similarity to the caption, so too.")
    punsafe: Between = Field(default=None, description="Probability of being unsafe, so too.")
    pwatermark: Between = Field(default=None, description="Probability of a watermark, so too.")
    where: Text = Field(
        default=None,
        max_length=MAX_LENGTH,
        description="An SQL condition over the columns, such as width > 2 * height.",
    )
    alike: Text = Field(
        default=None,
        max_length=MAX_NAME_LENGTH,
        description="SHARD/ROW: only the images that repeat this one, and itself.",
    )

    @cached_property
    def only(self) -> SearchFilter:
        """What an image has to be."""
        return SearchFilter(
            domain=self.domain,
            site=self.site,
            shard=self.shard,
            min_aesthetic=self.min_aesthetic,
            hide_punsafe_above=self.max_punsafe if self.max_punsafe < 1 else None,
            min_width=self.min_width,
            min_height=self.min_height,
            license=self.license,
            nsfw=self.nsfw,
            language=self.language,
            size=self.size,
            aesthetic=_read_bounds(self.aesthetic),
            similarity=_read_bounds(self.similarity),
            punsafe=_read_bounds(self.punsafe),
            pwatermark=_read_bounds(self.pwatermark),
            where=self.where,
            alike=self.alike,
        )


class SearchQuery(FilterQuery):
    """What is searched for, and how it is shown."""

    q: str = Field(
        default="",
        max_length=MAX_QUERY_LENGTH,
        description='Words, "phrases", -word, OR, begin*, site:host.',
    )
    sort: Literal[ORDERS] = Field(  # type: ignore[valid-type]
        default="relevance",
        description="By BM25 or by a column, the highest first; with `_asc` the lowest.",
    )
    view: Literal["list", "grid"] = Field(default="list", description="How a page shows them.")
    fold: Fold = False
    by: By = Field(
        default="words",
        description="Captions with the words; or a ranking of pictures by their meaning, or both.",
    )
    like: Text = Field(
        default=None,
        max_length=MAX_NAME_LENGTH,
        description="SHARD/ROW in place of words: a ranking by how like this one images look.",
    )
    aesthetic_weight: Weight = 0
    page: int = Field(default=1, ge=1, le=LAST_PAGE, description=f"{PAGE_SIZE} images a page.")

    @property
    def is_asking(self) -> bool:
        """Whether there is anything to look for: words, or a filter that leaves some images out."""
        only = self.only
        hidden = SearchFilter(hide_punsafe_above=only.hide_punsafe_above)
        return bool(self.q.strip() or self.like) or only != hidden

    @property
    def is_ranking(self) -> bool:
        """Whether images are ranked by what they show, and not picked by their captions."""
        return self.like is not None or (self.by != "words" and bool(self.q.strip()))

    @property
    def has_filters(self) -> bool:
        """Whether there is more than words."""
        shown = {"q", "sort", "view", "fold", "page", "by", "like"}
        return bool(self.model_dump(exclude=shown, exclude_defaults=True))

    @property
    def order(self) -> Order:
        """Which images come first."""
        return Order.read(self.sort)


class CompareQuery(FilterQuery):
    """What is compared."""

    REPEATED: ClassVar[frozenset[str]] = frozenset({"q"})

    q: Annotated[tuple[str, ...], BeforeValidator(_list_phrases)] = Field(
        default=(), description=f"A search; up to {MAX_PHRASES} of them, each as `q=`."
    )
    history: bool = Field(default=False, description="Count in earlier releases, too.")

    def of(self, phrase: str) -> SearchQuery:
        """Returns the search for one phrase."""
        filters = self.model_dump(include=set(FilterQuery.model_fields), exclude_defaults=True)
        return SearchQuery(q=phrase, **filters)

    @classmethod
    def begin(cls, query: SearchQuery) -> CompareQuery:
        """Returns what compares a search with others."""
        filters = query.model_dump(include=set(FilterQuery.model_fields), exclude_defaults=True)
        return cls(q=(query.q,), **filters)


class ListQuery(Query):
    """Which part of a long list is shown."""

    containing: str = Field(
        default="", max_length=MAX_NAME_LENGTH, description="A text that is in it."
    )
    sort: CountOrder = Field(default="count", description="The most images first, or by name.")
    page: int = Field(default=1, ge=1, description=f"{ROWS_PAGE_SIZE} a page.")


class DomainsQuery(ListQuery):
    """Which part of the domains is shown."""

    site: Text = Field(
        default=None,
        max_length=MAX_NAME_LENGTH,
        description="A registered domain, or a host or address of it: only its hosts.",
    )


class PictureQuery(Query):
    """How a page with images is shown."""

    max_punsafe: Punsafe = PUNSAFE_THRESHOLD

    @property
    def only(self) -> SearchFilter:
        """What is hidden."""
        return SearchFilter(hide_punsafe_above=self.max_punsafe if self.max_punsafe < 1 else None)


class UploadQuery(FilterQuery):
    """What may be found that looks like a picture, and which part of the ranking is shown."""

    fold: Fold = False
    aesthetic_weight: Weight = 0
    page: int = Field(
        default=1,
        ge=1,
        le=LAST_PAGE,
        description=f"{PAGE_SIZE} images a page. From the second one on, send the `vector` of the "
        "first, and the picture no more.",
    )

    def like(self, place: str) -> SearchQuery:
        """Returns the search for what looks like an image, SHARD/ROW, with the same filters."""
        return SearchQuery(like=place, **self.model_dump(exclude={"page", "fold"}))


class LookupQuery(PictureQuery):
    """What is looked up."""

    url: str = Field(
        default="", max_length=MAX_QUERY_LENGTH, description="Address of an image, host or site."
    )


class NoQuery(Query):
    """A page without parameters."""


def write_path(*parts: object) -> str:
    """Returns the path with these parts, whatever is in them."""
    path = "/" + "/".join(_quote(str(part)) for part in parts)
    # A name that ends like one of the forms of a page, or that is a step within a path.
    return f"{path}{HTML}" if path.endswith((*SUFFIXES, *DOTS)) else path


@cache
def _list_defaults(model: type[Query]) -> Mapping[str, object]:
    """Returns what the parameters are that an address does not name."""
    return {name: field.default for name, field in model.model_fields.items()}


def _join(path: str, pairs: Iterable[str]) -> str:
    written = "&".join(filter(None, pairs))
    return f"{path}?{written}" if written else path


# The links of one page to sites and ranges are those of most others.
@lru_cache(4096, typed=True)
def _write_pair(name: str, value: object) -> str:
    return urlencode({name: int(value) if isinstance(value, bool) else value}, doseq=True)


@lru_cache(4096)
def _quote(part: str) -> str:
    return quote(part, safe="")
