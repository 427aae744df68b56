"""Searches the captions of a release in the Lance table: the API behind `laion search`.

Words and phrases are those of SQLite FTS5, as in the name counts. Lance's tokenizer reads most
captions alike; the others are searched by their column `caption_words`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial, reduce
from math import isnan
from operator import and_
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from laion_assets.embeddings.nearest import pack_rows
from laion_assets.errors import LaionError
from laion_assets.releases.catalog import find_release, newest_release, open_released
from laion_assets.releases.hidden_rows import find_hidden
from laion_assets.removals.find_rows import find_row_ids
from laion_assets.removals.matching import Matcher
from laion_assets.search.alike import AlikePictures
from laion_assets.search.allowed import Allowed
from laion_assets.search.common_words import LEAST_MATCHES, CommonMatches, CommonWords
from laion_assets.search.facets import Facets, count_facets
from laion_assets.search.filter import EVERYTHING, Range, SearchFilter, match_text, quote_text
from laion_assets.search.folding import MAX_FOLDED, TOO_MANY, fold, keep_alike
from laion_assets.search.lru_cache import LruCache
from laion_assets.search.matches import Matches, MatchFinder, find_nothing
from laion_assets.search.order import Order
from laion_assets.search.own_facets import OwnFacets
from laion_assets.search.query import Query, read_meaning, read_query
from laion_assets.search.ranking import Ranking
from laion_assets.search.row_bits import KeptBits, count, pack, pack_places, unpack
from laion_assets.search.row_values import RowValues
from laion_assets.search.vectors import VectorSearch
from laion_assets.search.wanted import PLACE, By, Wanted
from laion_assets.search.where import read_where
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.sql import quote_literal

if TYPE_CHECKING:
    import lance
    import numpy as np

    from laion_assets.embeddings.encoder import Encoder
    from laion_assets.releases.manifest import ReleasedVectors

    Numbers: TypeAlias = np.ndarray[Any, Any]

# What no page of an image shows: words for the index, and what is read apart.
NOT_FIELDS = frozenset({"caption_words", "image", "img_emb"})
# Rows of an export that are read at a time.
EXPORT_ROWS = 10_000
# Images with one address, of which a page shows no more.
MAX_SAME_URL = 100
RELEVANT = Order()
UNKNOWN = "The encoder knows nothing of this text, so nothing was searched by its meaning."
# Conditions that are kept as Lance takes them; it takes DuckDB some time to read one.
MAX_CONDITIONS = 64
# The filter of most visitors is one of a few. What it leaves of a million rows takes 128 kB, a few
# rows with their vectors 3 MB.
MAX_FILTERS = 32


@dataclass(frozen=True)
class SearchAnswer:
    """What a search found.

    Attributes:
        release: the release that was searched; None: the newest version, before any release.
        total: how many images match, exactly.
        hidden: how many of them are left out as unsafe, by `hide_punsafe_above`.
        shown: the others; all of them can be paged through.
        unscored: how many of these have no probability of being unsafe, so that nobody knows; None
            where nothing was to be hidden.
        took_ms: time it took, in milliseconds.
        hits: those of the page, with the columns `HIT_COLUMNS`, `_score`, `has_picture`: whether
            the table has the picture itself, and `has_vector`. Where repeats are folded, `more` has
            how many other shown images each of them stands for.
        notes: what was not understood in the query, in sentences.
        different: how many are left of those shown when repeats are folded; None where they are
            not, and in a ranking.
        ranked: None where each hit has the words, and there are no others. Else it is a ranking by
            meaning or looks: total, hidden and shown are those of the filter alone, whose images
            are all more or less near, and this says how far the ranking was followed. If it is more
            than the last hit of the page, there is another page.
    """

    release: str | None
    total: int
    hidden: int
    shown: int
    unscored: int | None
    took_ms: float
    hits: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()
    different: int | None = None
    ranked: int | None = None


class Ranked(NamedTuple):
    """A ranking by vectors, the nearest first.

    Attributes:
        positions: how many rows of the version were written before each. They are the same as long
            as the version exists.
        similarities: cosines, in the same order.
        aesthetics: aesthetic scores, None where there is none.
    """

    positions: list[int]
    similarities: list[float]
    aesthetics: list[float | None]


def open_search(
    store: LanceStore,
    release: str | None = None,
    *,
    is_newest: bool = False,
    encoder: Encoder | None = None,
) -> CaptionSearch:
    """Opens a release for searching: the newest one, or the one that is named.

    Args:
        store: the Lance tables.
        release: its tag.
        is_newest: search the newest version of the table instead, with all that was written since
            the release; so it is, too, before there is one.
        encoder: makes vectors of texts and pictures, to search by their meaning.

    Raises:
        LaionError: there is no such release, or no table yet.
    """
    newest = newest_release(store) if release is None else None
    if release is None and (is_newest or newest is None):
        dataset = store.find("images")
        if dataset is None:
            raise LaionError(
                "nothing to search; ingest a shard first (`laion backfill --all`)",
                code="search-of-nothing",
            )
        return CaptionSearch(
            dataset,
            None,
            vectors=newest.vectors if newest else None,
            encoder=encoder,
            hidden=find_row_ids(dataset, Matcher.of(store.removals.read())),
        )
    manifest = newest or find_release(store, release)
    return CaptionSearch(
        open_released(store, manifest, "images"),
        manifest.release,
        vectors=manifest.vectors,
        encoder=encoder,
        hidden=find_hidden(store, manifest),
    )


class CaptionSearch:
    """One version of the table, to be searched again and again.

    It may be used by several threads at once.
    """

    def __init__(
        self,
        dataset: lance.LanceDataset,
        release: str | None,
        *,
        keeps_hits: bool = False,
        vectors: ReleasedVectors | None = None,
        encoder: Encoder | None = None,
        hidden: Numbers | None = None,
    ) -> None:
        """Reads nothing yet, unless hits are kept.

        Args:
            dataset: a version of the table `images`.
            release: the release that it is of.
            keeps_hits: keep most columns of hits in memory, for many searches; see `RowValues`.
            vectors: what the record of the release says of them.
            encoder: makes vectors of texts and pictures, to search by their meaning.
            hidden: ids of the rows on the list of removals, ascending: to a search they are not
                there.
        """
        import numpy as np

        self._dataset = dataset
        self._hidden = np.zeros(0, np.uint64) if hidden is None else hidden
        self._keeps_hits = keeps_hits
        self._release = release
        self._values = RowValues(dataset, keeps_hits=keeps_hits)
        self._matches = MatchFinder(dataset, self._hidden, keeps_words=self._values.keeps_hits)
        self._own = OwnFacets(dataset, self._values)
        self._bits = KeptBits(self._values)
        self._common = CommonWords(dataset, self._values, self._matches)
        self._alike = AlikePictures(dataset, self._hidden)
        self._filters: LruCache[Allowed] = LruCache(MAX_FILTERS)
        self._read_where = lru_cache(MAX_CONDITIONS)(partial(read_where, dataset=dataset))
        self.vectors = VectorSearch(dataset, vectors, encoder)

    def find(  # noqa: PLR0913 - what can be looked for is one thing of several
        self,
        query: str | None = None,
        *,
        by: By = "words",
        like: tuple[str, int] | None = None,
        picture: bytes | None = None,
        vector: Numbers | None = None,
        aesthetic_weight: float = 0,
        only: SearchFilter = EVERYTHING,
        limit: int = 10,
        offset: int = 0,
        order: Order = RELEVANT,
        is_folded: bool = False,
    ) -> SearchAnswer:
        """Finds the captions with all words of the query, or ranks images by what they show.

        A ranking has up to 1,000 images, the nearest first; the score is the cosine of the vectors.
        By both, the 200 best of the words and the 200 nearest are joined: each gets 1 / (60 + rank)
        for either, and the sum is its score. Without `by`, or with `words`, nothing is ranked by
        looks, and every match is a hit.

        Args:
            query: words, "phrases", `-word`, `one OR other`, `begin*`, `site:example.org`. Words
                with signs between and no blank are a phrase, too (`can-can`, `2.5`). By meaning,
                `-word` and `site:` leave out what they always do, and the rest is one text.
            by: `words`, `meaning`, or `both`.
            like: shard and row of an image; those that look like it, without itself.
            picture: the file of a picture; those that look like it.
            vector: one by the model that made those of the table, of any length but 0.
            aesthetic_weight: 0 to 1; of the 200 nearest, the score grows by so many tenths for each
                point that the aesthetic score is above 5, and shrinks below.
            only: what a hit has to be besides.
            limit: how many hits to return at most.
            offset: how many of the first to leave out before these; as many as there are.
            order: which come first, of all that match.
            is_folded: whether of images that repeat each other only the first is a hit; with more
                than 100,000 matches a note says that they are not folded. In a ranking these are
                the ones that look alike; see `search/looks.py`.

        Raises:
            LaionError: the query is too long, or only says what a caption must not have; or there
                is no such image, vector or encoder.
        """
        started = time.perf_counter()
        wanted = Wanted(query, by, like, picture, vector, aesthetic_weight)
        if wanted.is_ranking:
            if order != RELEVANT:
                raise LaionError(
                    "a ranking by meaning or looks has an order of its own; leave out the other",
                    code="search-ranking-sorted",
                )
            return self._answer_ranking(
                wanted, only, slice(offset, offset + limit), started, is_folded=is_folded
            )
        assert query is not None
        asked = read_query(query)
        page = slice(offset, offset + limit)
        if not is_folded and (common := self._find_common(asked, only)):
            return self._answer_common(common, only, page, order, started, asked.notes)
        found = self._find(asked, only)
        return self._answer(found, only, page, order, started, asked.notes, is_folded=is_folded)

    def browse(
        self,
        only: SearchFilter,
        *,
        limit: int = 10,
        offset: int = 0,
        order: Order = RELEVANT,
        is_folded: bool = False,
    ) -> SearchAnswer:
        """Lists the images that pass a filter, whatever their caption; their score is 0.

        Args:
            only: what an image has to be.
            limit: how many images to return at most.
            offset: how many to leave out before these.
            order: which come first; by relevance they come as they stand in the table.
            is_folded: as `find` has it.
        """
        started = time.perf_counter()
        found = self._find(None, only)
        page = slice(offset, offset + limit)
        return self._answer(found, only, page, order, started, is_folded=is_folded)

    def rank(
        self, vector: Numbers, only: SearchFilter, count: int, *, is_folded: bool = False
    ) -> Ranked:
        """Ranks images by how near they are to a vector, up to 1,000, the nearest first.

        Args:
            vector: one by the model that made those of the table, of any length but 0.
            only: what an image has to be.
            count: how many at most.
            is_folded: whether those that look like an earlier one are left out, as `find` has it.

        Raises:
            LaionError: the vector cannot be compared, or the table has none.
        """
        units = self.vectors.check(vector)
        allowed = self._find_allowed(Query(), only)
        ranking = Ranking(self._dataset, self._values, self.vectors)
        ranking.look_like(units, None, allowed)
        found, _ = ranking.follow(count, 0, is_folded=is_folded)
        rows = found.rows[:count]
        aesthetics = self._values.read("aesthetic", rows).tolist()
        return Ranked(
            positions=self._values.locate(rows),
            similarities=found.scores[:count].tolist(),
            aesthetics=[None if isnan(score) else score for score in aesthetics],
        )

    def read_rows(self, positions: Sequence[int]) -> list[Mapping[str, Any] | None]:
        """Returns what is known of the row at each position; None where there is none.

        The pictures themselves and the vectors are not among it.
        """
        hidden = set(self._values.locate(self._hidden))
        rows = self._values.read_at(positions, self._fields)
        return [None if at in hidden else row for at, row in zip(positions, rows, strict=True)]

    def _answer_ranking(
        self, wanted: Wanted, only: SearchFilter, page: slice, started: float, *, is_folded: bool
    ) -> SearchAnswer:
        asked = Query() if wanted.query is None else read_query(wanted.query)
        # What has to be shows in the ranking; what must not be is left out of it.
        rest = replace(asked, phrases=(), groups=(), notes=())
        allowed = self._find_allowed(rest, only)
        ranking, notes = Ranking(self._dataset, self._values, self.vectors), asked.notes
        # Each half of a search by both takes one core, so they take turns only on a single one.
        with ThreadPoolExecutor(1) as beside:
            if wanted.by == "both" and asked.has_words:
                words = beside.submit(lambda: self._show(self._find(asked, only), only)[0])
                ranking.join(words.result)
            notes += self._look(ranking, wanted, asked, allowed)
            found, more = ranking.follow(page.stop, wanted.aesthetic_weight, is_folded=is_folded)
        hits = tuple(self._read(found, page, known=ranking.known))
        if more is not None:
            counts = more[page].tolist()
            hits = tuple({**h, "more": n} for h, n in zip(hits, counts, strict=True))
        return SearchAnswer(
            release=self._release,
            total=allowed.total,
            hidden=allowed.hidden,
            shown=allowed.shown,
            unscored=allowed.unscored,
            took_ms=(time.perf_counter() - started) * 1000,
            hits=hits,
            notes=notes,
            ranked=len(found.rows),
        )

    def _look(
        self, ranking: Ranking, wanted: Wanted, asked: Query, allowed: Allowed
    ) -> tuple[str, ...]:
        """Says by which vector to rank; returns what was not understood."""
        if wanted.query is None:
            ranking.look_like(*self._read_vector(wanted), allowed)
        elif text := read_meaning(wanted.query):
            vector = self.vectors.embed_text(text)
            ranking.look_like(vector, None, allowed)
            return () if vector is not None else (UNKNOWN,)
        elif asked.excluded or asked.sites or asked.excluded_sites:
            raise LaionError(
                "add a text to look for; -word and site: only leave images out",
                code="search-meaning-missing",
            )
        return ()

    def _read_vector(self, wanted: Wanted) -> tuple[Numbers, int | None]:
        """Returns the vector that a ranking is by, and the row id of the image that has it."""
        if wanted.picture is not None:
            return self.vectors.embed_picture(wanted.picture), None
        if wanted.vector is not None:
            return self.vectors.check(wanted.vector), None
        assert wanted.like is not None
        own = self._find_row(*wanted.like)
        vector = None if own is None else self.vectors.read(own["_rowid"])
        if own is None or vector is None:
            place = "/".join(map(str, wanted.like))
            what = "there is no image" if own is None else "there is no vector of the image"
            raise LaionError(
                f"like: {what} {place!r}; name another, SHARD/ROW", code="search-like-unknown"
            )
        return vector, own["_rowid"]

    def _find_allowed(self, query: Query, only: SearchFilter) -> Allowed:
        return self._filters.find((only, query), lambda: self._allow(query, only))

    def _allow(self, query: Query, only: SearchFilter) -> Allowed:
        """Returns the rows that pass a filter and what a query leaves out."""
        row_count = self._dataset.count_rows()
        if query == Query() and only == EVERYTHING and not len(self._hidden):
            return Allowed(row_count, 0, None, None, 1)
        # It has no words, so it stands for all captions but those that it leaves out.
        shown, matching = self._show(self._match(query, only), only)
        return Allowed(
            total=len(matching.rows),
            hidden=len(matching.rows) - len(shown.rows),
            unscored=None if only.shown is None else self._count_unscored(shown),
            packed=pack_rows(shown.rows),
            share=len(shown.rows) / max(row_count, 1),
            few=self.vectors.read_few(shown.rows),
        )

    def count_facets(self, query: str | None, only: SearchFilter = EVERYTHING) -> Facets | None:
        """Counts the hits that are shown by sites, shards, labels, sizes, scores, own columns.

        Args:
            query: as `find` takes it; None: whatever the caption, as `browse`.
            only: what a hit has to be besides.

        Returns:
            The counts; None if the table is too large for them.

        Raises:
            LaionError: the query is too long.
        """
        if not self._values.can_count:
            return None
        common = query is not None and self._find_common(read_query(query), only)
        places = (
            unpack(common.shown) if common else self._values.place(self.match(query, only).rows)
        )
        return count_facets(places, self._values, self._own)

    def gather_common_words(
        self,
        is_wanted: Callable[[], bool] = lambda: True,
        least: int = LEAST_MATCHES,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Finds the captions of common words, which takes some seconds for each million rows.

        Args:
            is_wanted: whether to go on.
            least: how many captions have a word that is common.
            is_busy: whether others need the machine more, so that it pauses after each word.
        """
        self._common.gather(is_wanted, least, is_busy)

    def find_near(self, word: str, letters: str) -> set[str] | None:
        """Returns the words of captions that differ from a folded one in one of some letters.

        None if there are rows that no index covers.
        """
        return self._matches.find_near(word, letters)

    def count(self, query: str, only: SearchFilter = EVERYTHING) -> int:
        """Returns how many images match, those that are hidden included: `total` of `find`.

        Args:
            query: words, as `find` takes them.
            only: what a hit has to be besides.

        Raises:
            LaionError: the query is too long, or only says what a caption must not have.
        """
        asked = read_query(query)
        if common := self._find_common(asked, only):
            return count(common.matching)
        return len(self._keep_all(self._find(asked, only), only).rows)

    def count_word(self, word: str) -> int:
        """Returns how many captions have this word, folded as FTS5 does, at most: quick, no search.

        Captions of replaced and removed rows are counted too; 0 is exact.
        """
        return self._matches.count_word(word)

    def match(self, query: str | None, only: SearchFilter = EVERYTHING) -> Matches:
        """Returns the row ids of all hits that are shown, ascending, with their scores.

        Args:
            query: as `find` takes it; None: whatever the caption, as `browse`.
            only: what a hit has to be besides.

        Raises:
            LaionError: the query is too long, or only says what a caption must not have.
        """
        asked = None if query is None else read_query(query)
        if asked is not None and (common := self._find_common(asked, only)):
            return self._common.list(common)
        return self._show(self._find(asked, only), only)[0]

    def export(
        self, query: str | None, only: SearchFilter = EVERYTHING, order: Order = RELEVANT
    ) -> Iterator[Mapping[str, Any]]:
        """Yields all hits that are shown, read some thousands at a time.

        Args:
            query: as `find` takes it; None: whatever the caption, as `browse`.
            only: what a hit has to be besides.
            order: which come first.

        Raises:
            LaionError: the query is too long.
        """
        ordered = order.sort(self.match(query, only), self._values)
        for start in range(0, len(ordered.rows), EXPORT_ROWS):
            yield from self._read(ordered, slice(start, start + EXPORT_ROWS), is_page=False)

    def read_image(self, shard: str, row_index: int) -> Mapping[str, Any] | None:
        """Returns what is known of the row of a shard; None if the table has no such row.

        Of the picture itself it only says whether there is one, as `has_picture`.
        """
        import numpy as np

        found = self._find_row(shard, row_index, self._fields)
        if found is None:
            return None
        rows = np.array([found.pop("_rowid")], np.uint64)
        (has_picture,) = self._values.have_pictures(rows)
        return {**found, "has_picture": has_picture}

    def has_vector(self, shard: str, row_index: int) -> bool:
        """Returns whether the row of a shard has a vector, so that others like it can be found."""
        return self.read_vector(shard, row_index) is not None

    def read_vector(self, shard: str, row_index: int) -> Numbers | None:
        """Returns the vector of the row of a shard; None if it has none."""
        own = self._find_row(shard, row_index) if self.vectors.has_vectors else None
        return None if own is None else self.vectors.read(own["_rowid"])

    def read_picture(self, shard: str, row_index: int) -> Mapping[str, Any] | None:
        """Returns `image`, as it came, `punsafe` and `nsfw` of the row of a shard.

        None if the table has no such row, or not its picture.
        """
        if "image" not in self._dataset.schema.names:
            return None
        found = self._find_row(shard, row_index, ["image", "punsafe", "nsfw"])
        return found if found and found["image"] is not None else None

    def _find_row(
        self, shard: str, row_index: int, columns: Sequence[str] = ()
    ) -> dict[str, Any] | None:
        """Returns columns of the row of a shard, and its id as `_rowid`; None if there is none."""
        found = self._dataset.scanner(
            columns=list(columns),
            filter=f"shard = {quote_literal(shard)} AND row_index = {row_index}",
            with_row_id=True,
            # Lance would else read the pictures of rows that it then drops.
            late_materialization=["image"] if "image" in columns else None,
            limit=1,
        ).to_table()
        row = found.to_pylist()[0] if found.num_rows else None
        return None if row is None or row["_rowid"] in self._hidden else row

    def find_alike(
        self, image: Mapping[str, Any], only: SearchFilter = EVERYTHING, limit: int = 12
    ) -> SearchAnswer:
        """Finds the pictures that look like that of an image, the most alike first.

        Copies of it at another size or quality are among them, the image itself is not. The score
        is the number of equal bits of the perceptual hashes, of 64.

        Args:
            image: what `read_image` returned.
            only: what is hidden of them.
            limit: how many to return at most.
        """
        started = time.perf_counter()
        phash = image.get("phash")
        found = find_nothing() if phash is None else self._alike.find(phash)
        if len(found.rows):
            own = self._find_row(image["shard"], image["row_index"])
            assert own is not None
            found = found.where(found.rows != own["_rowid"])
        return self._answer(found, only, slice(0, limit), RELEVANT, started)

    def find_url(
        self, url: str, domains: Collection[str], only: SearchFilter = EVERYTHING
    ) -> SearchAnswer:
        """Finds the images with exactly this address, by either of http and https.

        Args:
            url: an address.
            domains: what its host may be written as; their index leaves few rows to compare.
            only: what is hidden of them; up to 100 of the others are returned.
        """
        started = time.perf_counter()
        _, mark, rest = url.partition("://")
        urls = {url, f"https://{rest}", f"http://{rest}"} if mark else {url}
        condition = (
            f"domain IN ({', '.join(map(quote_text, sorted(domains)))}) "
            f"AND url IN ({', '.join(map(quote_text, sorted(urls)))})"
        )
        found = self._matches.find(Query(), condition)
        return self._answer(found, only, slice(0, MAX_SAME_URL), RELEVANT, started)

    @property
    def _fields(self) -> list[str]:
        """The columns that a page of an image shows."""
        return [name for name in self._dataset.schema.names if name not in NOT_FIELDS]

    @cached_property
    def _has_sites(self) -> bool:
        """Whether each row has a registered domain."""
        return (
            "registered_domain" in self._dataset.schema.names
            and self._dataset.count_rows("registered_domain IS NULL") == 0
        )

    def _answer(
        self,
        found: Matches,
        only: SearchFilter,
        page: slice,
        order: Order,
        started: float,
        notes: tuple[str, ...] = (),
        *,
        is_folded: bool = False,
    ) -> SearchAnswer:
        shown, matching = self._show(found, only)
        total = len(matching.rows)
        different = None
        hits: tuple[Mapping[str, Any], ...]
        if is_folded and total <= MAX_FOLDED:
            firsts, more = fold(order.sort(shown, self._values), matching, self._values)
            different = len(firsts.rows)
            counts = more[page].tolist()
            hits = tuple(
                {**hit, "more": count}
                for hit, count in zip(self._read(firsts, page), counts, strict=True)
            )
        else:
            hits = tuple(self._read(order.sort(shown, self._values, page.stop), page))
            notes = (*notes, TOO_MANY) if is_folded else notes
        return SearchAnswer(
            release=self._release,
            total=total,
            hidden=total - len(shown.rows),
            shown=len(shown.rows),
            unscored=None if only.shown is None else self._count_unscored(shown),
            took_ms=(time.perf_counter() - started) * 1000,
            hits=hits,
            notes=notes,
            different=different,
        )

    def _find_image(self, place: str) -> int:
        """Returns the row id of an image, SHARD/ROW."""
        named = PLACE.fullmatch(place)
        if named and (found := self._find_row(named[1], int(named[2]))):
            row_id: int = found["_rowid"]
            return row_id
        raise LaionError(
            f"alike: there is no image {place!r}; write SHARD/ROW, as in the address of its page",
            code="search-alike-unknown",
        )

    def _count_unscored(self, shown: Matches) -> int:
        import numpy as np

        return int(np.count_nonzero(np.isnan(self._values.read("punsafe", shown.rows))))

    def _show(self, found: Matches, only: SearchFilter) -> tuple[Matches, Matches]:
        """Returns the matches that pass the filter and are shown, and all that pass it."""
        found = self._keep_all(found, only)
        shown = found if only.shown is None else self._keep(found, only.shown)
        return shown, found

    def _keep_all(self, found: Matches, only: SearchFilter) -> Matches:
        """Returns the matches that pass the filter, those that are hidden included."""
        if self._values.can_count:
            for column, text in only.labels.items():
                places = self._values.place(found.rows)
                found = found.where(self._values.have_text(column, text, places))
        for wanted in only.ranges:
            found = self._keep(found, wanted)
        if only.alike is not None:
            found = keep_alike(found, self._find_image(only.alike), self._values)
        return found

    def _find(self, query: Query | None, only: SearchFilter) -> Matches:
        """Returns the matches of a query where a filter can use an index, None for any caption."""
        if query is None:
            return self._match(Query(), only)
        if not query.has_words and not query.sites and (query.excluded or query.excluded_sites):
            raise LaionError(
                "add a word to look for; -word only leaves captions out",
                code="query-only-excludes",
            )
        if not query.has_words and not query.sites:
            return find_nothing()
        return self._match(query, only)

    def _match(self, query: Query, only: SearchFilter) -> Matches:
        """Returns all that a query leaves, also if it has no words."""
        return self._matches.find(query, self._write_condition(query, only))

    def _write_condition(self, query: Query, only: SearchFilter) -> str:
        """Returns what an index of Lance can find, of sites and filters; may be empty."""
        if only.site is not None:
            only = replace(only, has_sites=self._has_sites)
        condition = only.equalities
        if not self._values.can_count:
            # Else they are compared in memory, as Lance would read the column for each search.
            labels = (match_text(column, text) for column, text in only.labels.items())
            condition = " AND ".join(filter(None, (condition, *labels)))
        if query.sites or query.excluded_sites:
            sites = query.match_sites(has_sites=self._has_sites)
            condition = " AND ".join(filter(None, (condition, sites)))
        if only.where is not None:
            condition = " AND ".join(filter(None, (condition, self._read_where(only.where))))
        return condition

    def _find_common(self, query: Query, only: SearchFilter) -> CommonMatches | None:
        """Returns the matches of a query of common words alone; None if it is another one."""
        condition = self._write_condition(query, only)
        if self._keeps_hits and not condition and only.alike is None:
            # Where an index finds the rows of a condition, Lance needs little for the word, too.
            self._common.learn(query)
        words = self._common.find(query)
        if len(words) == 0 or only.alike is not None:
            return None
        matching = reduce(and_, (word.bits for word in words))
        if condition:
            matching = matching & self._bits.find(condition, lambda: self._list_bits(condition))
        for label in only.labels.items():
            matching = matching & self._bits.find(label, partial(self._pack_label, *label))
        for wanted in only.ranges:
            matching = matching & self._bits.hold(wanted)
        shown = matching if only.shown is None else matching & self._bits.hold(only.shown)
        return CommonMatches(words, matching, shown)

    def _pack_label(self, column: str, text: str) -> Numbers:
        return pack(self._values.have_text(column, text))

    def _list_bits(self, condition: str) -> Numbers:
        places = self._values.place(self._matches.list_rows(condition).rows)
        return pack_places(places, self._values.row_count)

    def _answer_common(
        self,
        found: CommonMatches,
        only: SearchFilter,
        page: slice,
        order: Order,
        started: float,
        notes: tuple[str, ...],
    ) -> SearchAnswer:
        total, shown = count(found.matching), count(found.shown)
        is_hiding = only.shown is not None
        return SearchAnswer(
            release=self._release,
            total=total,
            hidden=total - shown,
            shown=shown,
            unscored=count(found.shown & self._bits.miss_scores()) if is_hiding else None,
            hits=tuple(self._read(self._common.sort(found, order, page.stop), page)),
            took_ms=(time.perf_counter() - started) * 1000,
            notes=notes,
        )

    def _keep(self, found: Matches, wanted: Range) -> Matches:
        return found.where(wanted.holds(self._values.read(wanted.column, found.rows)))

    def _read(
        self,
        ordered: Matches,
        page: slice,
        *,
        is_page: bool = True,
        known: Numbers | None = None,
    ) -> Iterator[Mapping[str, Any]]:
        """Yields hits; of the rows that are known it need not be read whether they have vectors."""
        rows, scores = ordered.rows[page], ordered.scores[page].tolist()
        hits, pictures = self._values.read_hits(rows), self._values.have_pictures(rows)
        # Each of them is read for it, so a file of all rows does without.
        vectors = self._values.have_vectors(rows, known) if is_page else [False] * len(rows)
        found = zip(hits, scores, pictures, vectors, strict=True)
        for hit, score, has_picture, has_vector in found:
            yield {**hit, "_score": score, "has_picture": has_picture, "has_vector": has_vector}
