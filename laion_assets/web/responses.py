"""What each page says: the same for its HTML, its JSON and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import computed_field

from laion_assets.releases.diff import ReleaseDiff
from laion_assets.releases.manifest import Manifest, Record
from laion_assets.search.wanted import By
from laion_assets.web.params import write_path


class Image(Record):
    """A row of the table `images`, as a list shows it.

    Attributes:
        image_id: identity of URL and caption; a text, as JavaScript cannot hold such numbers.
        url: where the image was found.
        caption: the text that stood beside it.
        domain: host of the URL.
        width: pixels.
        height: pixels.
        aesthetic: predicted aesthetic score, 0 to 10.
        similarity: how well caption and image fit, by CLIP.
        punsafe: probability that it is unsafe, 0 to 1.
        pwatermark: probability that it has a watermark, 0 to 1.
        shard: partition key.
        row_index: position in the shard, from 0.
        score: BM25; 0 where nothing was searched for. In a ranking the cosine of the vectors, or
            by both the sum of 1 / (60 + rank).
        has_picture: whether the release has the picture itself.
        has_vector: whether a search for more like it works.
        more: how many more images it stands for, with the same caption or URL; None where
            repeats are not folded.
        more_address: the search for it and these; None without any.
    """

    image_id: str
    url: str
    caption: str
    domain: str
    width: int | None
    height: int | None
    aesthetic: float | None
    similarity: float | None
    punsafe: float | None
    pwatermark: float | None
    shard: str
    row_index: int
    score: float = 0.0
    has_picture: bool = False
    has_vector: bool = False
    more: int | None = None
    more_address: str | None = None

    @classmethod
    def of(cls, hit: Mapping[str, Any]) -> Image:
        """Returns a hit as the pages show it; Lance knows its types, so they are not checked."""
        known = {name: hit.get(name) for name in cls.model_fields}
        known.update(image_id=str(hit["image_id"]), score=hit.get("_score", 0.0))
        known.update(has_vector=bool(hit.get("has_vector")))
        return cls.model_construct(**known)

    @computed_field(description="Its page here.")  # type: ignore[prop-decorator]
    @property
    def page(self) -> str:
        """Address of its page."""
        return write_path("images", self.shard, self.row_index)

    @computed_field(description="The picture here, if the release has it.")  # type: ignore[prop-decorator]
    @property
    def picture(self) -> str | None:
        """Address of the picture."""
        name = f"{self.row_index}.jpg"
        return write_path("pictures", self.shard, name) if self.has_picture else None


class Answer(Record):
    """What every page says.

    Attributes:
        release: tag of the release that it tells of.
    """

    release: str


class Citation(Record):
    """How to quote the number of images that a search found.

    Attributes:
        image_count: the number, those that are hidden included.
        query: the words.
        filters: what an image has to be besides.
        release: tag of the release that was searched.
        content_sha256: digest of what it holds.
        address: where the same number can be seen again.
        title: the number and what was counted.
        text: all of it as a sentence.
        bibtex: all of it as an entry of BibTeX.
    """

    image_count: int
    query: str
    filters: tuple[str, ...]
    release: str
    content_sha256: str
    address: str
    title: str
    text: str
    bibtex: str


class FacetValue(Record):
    """How many of the images that are shown have a value.

    Attributes:
        value: as the filter takes it.
        image_count: how many have it.
        address: the search for only these.
    """

    value: str
    image_count: int
    address: str


class Facet(Record):
    """The images by one filter.

    Attributes:
        name: of the filter.
        values: the commonest values, the most images first; of sizes and ranges all, in order.
        other_values: how many more values there are.
        other_count: how many images have one of these.
        missing_count: how many images have none.
        is_range: whether the values are ranges of numbers.
        is_own: whether it is a column that was declared; then `where` filters by it.
    """

    name: str
    values: tuple[FacetValue, ...]
    other_values: int
    other_count: int
    missing_count: int
    is_range: bool = False
    is_own: bool = False


class Facets(Record):
    """The images that are shown by each filter.

    Attributes:
        counted: how many were counted.
        is_exact: whether these are all.
        facets: those by which any image has a value.
    """

    counted: int
    is_exact: bool
    facets: tuple[Facet, ...]


class Images(Answer):
    """A page of images.

    Attributes:
        total: how many there are, those that are hidden included.
        hidden: how many of them are hidden as unsafe.
        shown: the others, on all pages.
        unscored: how many of these have no probability of being unsafe; None where none is hidden.
        relation: always `exactly`; earlier versions did not count all.
        took_ms: time that the search took, in milliseconds.
        page: number of this page.
        page_count: pages that there are.
        sort: which come first.
        fold: whether it was asked to show only the first of the images that repeat each other.
        different: how many images are then left of those shown; None where all are shown.
        images: those of this page.
        cite: how to quote the number; None where nothing was searched for.
        notes: what was not understood in the query, in sentences.
        facets: those that are shown, on all pages, by sites, labels, scores and others; None where
            there is none, or too many images in the release.
        by: whether captions have the words, or images are ranked by meaning, or both.
        ranked: None where each image was picked. Else it is a ranking: the numbers are those of the
            filter alone, pages are counted as far as it was followed, and this is how far.
    """

    total: int = 0
    hidden: int = 0
    shown: int = 0
    unscored: int | None = None
    relation: Literal["exactly"] = "exactly"
    took_ms: float = 0.0
    page: int = 1
    page_count: int = 0
    sort: str = "relevance"
    fold: bool = False
    different: int | None = None
    images: tuple[Image, ...] = ()
    cite: Citation | None = None
    notes: tuple[str, ...] = ()
    facets: Facets | None = None
    by: By = "words"
    ranked: int | None = None


class Hint(Record):
    """A search that differs in a few letters and finds more.

    Attributes:
        query: its words.
        image_count: images that it finds, those that are hidden included.
        address: its page.
    """

    query: str
    image_count: int
    address: str


class SearchPage(Images):
    """Images that were searched for.

    Attributes:
        q: the words.
        hints: where few images were found, similar searches that find more.
    """

    q: str = ""
    hints: tuple[Hint, ...] = ()


class PictureSearchPage(Answer):
    """Images that look like a picture which was sent: a ranking, the nearest first.

    Attributes:
        is_asked: whether a picture was sent.
        total: images that could be among them, those that are hidden included.
        hidden: how many of them are hidden as unsafe.
        shown: the others.
        unscored: how many of these have no probability of being unsafe; None where none is hidden.
        took_ms: time that the search took, in milliseconds.
        page: which part of the ranking this is.
        page_count: pages that there are, as far as the ranking was followed.
        vector: that of the picture, to be sent instead of it for another page: 32-bit floating
            point numbers, little-endian, as base64.
        images: those of the page.
    """

    is_asked: bool = False
    total: int = 0
    hidden: int = 0
    shown: int = 0
    unscored: int | None = None
    took_ms: float = 0.0
    page: int = 1
    page_count: int = 0
    vector: str | None = None
    images: tuple[Image, ...] = ()


class Count(Record):
    """How many images a domain or a name has."""

    name: str
    image_count: int


class Counts(Answer):
    """A page of counts.

    Attributes:
        total: rows of all pages.
        page: number of this page.
        page_count: pages that there are.
        largest: the largest count of all, for the bars.
        counts: those of this page.
    """

    total: int
    page: int
    page_count: int
    largest: int
    counts: tuple[Count, ...]


class DomainsPage(Counts):
    """The domains."""


class NamesPage(Counts):
    """The names of a kind.

    Attributes:
        kind: such as `artists`.
        without_match: names of the kind that no caption has.
    """

    kind: str
    without_match: int


class DomainPage(Images):
    """A domain, and its first images.

    Attributes:
        domain: the whole host.
        image_count: its images, those that are hidden included.
        rank: 1 has the most images.
    """

    domain: str
    image_count: int
    rank: int


class SiteCount(Count):
    """How many images and hosts a registered domain has."""

    host_count: int


class SitesPage(Answer):
    """The registered domains.

    Attributes:
        total: rows of all pages.
        page: number of this page.
        page_count: pages that there are.
        largest: the largest count of all, for the bars.
        counts: those of this page.
    """

    total: int
    page: int
    page_count: int
    largest: int
    counts: tuple[SiteCount, ...]


class SitePage(Images):
    """A registered domain, its hosts, and its first images.

    Attributes:
        site: the registered domain.
        image_count: images of all of its hosts, those that are hidden included.
        host_count: its hosts.
        rank: 1 has the most images.
        hosts: the hosts with the most images.
    """

    site: str
    image_count: int
    host_count: int
    rank: int
    hosts: tuple[Count, ...]


class LookupPage(Answer):
    """What a release has of an address.

    Attributes:
        url: as it was asked for.
        images: the images with exactly this address, those that are hidden left out.
        hidden: how many of them are hidden as unsafe.
        unscored: how many of the others have no probability of being unsafe; None where none is
            hidden.
        host: its host; None if there is none in it.
        host_image_count: images from that host.
        site: the registered domain of that host.
        site_image_count: images from that site.
    """

    url: str = ""
    images: tuple[Image, ...] = ()
    hidden: int = 0
    unscored: int | None = None
    host: str | None = None
    host_image_count: int = 0
    site: str | None = None
    site_image_count: int = 0


class ReleaseCount(Record):
    """How many images of a release a search finds.

    Attributes:
        release: its tag.
        released_at: when it was made, in UTC.
        image_count: images, those that are hidden included.
        hidden_count: how many of them are hidden as unsafe.
        shown_count: the others.
    """

    release: str
    released_at: datetime
    image_count: int
    hidden_count: int
    shown_count: int


class Compared(Record):
    """One of several searches.

    Attributes:
        query: its words.
        counts: in the release that is shown, then in earlier ones if they were asked for.
        notes: what was not understood in the query, in sentences.
        address: the search for it.
    """

    query: str
    counts: tuple[ReleaseCount, ...]
    notes: tuple[str, ...]
    address: str


class ComparePage(Answer):
    """Several searches beside each other.

    Attributes:
        searches: as they were asked for.
        release_count: how many releases could be compared: the one that is shown, and earlier ones.
    """

    searches: tuple[Compared, ...]
    release_count: int


class NamePage(Images):
    """A name, and the images that match it best.

    Attributes:
        kind: such as `artists`.
        name: as the sheet has it.
        image_count: images whose caption matches it, those that are hidden included.
    """

    kind: str
    name: str
    image_count: int


class Home(Answer):
    """What is in the release.

    Attributes:
        released_at: when it was made, in UTC.
        content_sha256: digest of what it holds.
        image_count: images.
        site_count: different registered domains.
        domain_count: different hosts.
        shard_count: shards.
        sample_shard_count: those of them whose rows are invented.
        name_counts: names of each kind.
        top_sites: registered domains with the most images.
        top_domains: domains with the most images.
        top_names: of each kind the names with the most images.
    """

    released_at: datetime
    content_sha256: str
    image_count: int
    site_count: int
    domain_count: int
    shard_count: int
    sample_shard_count: int
    name_counts: Mapping[str, int]
    top_sites: tuple[Count, ...]
    top_domains: tuple[Count, ...]
    top_names: Mapping[str, tuple[Count, ...]]


class ImagePage(Answer):
    """One image, with all that is known of it.

    Attributes:
        shard: partition key.
        row_index: position in the shard, from 0.
        punsafe: probability that it is unsafe, 0 to 1.
        nsfw: what its source says of that, which counts where there is no probability.
        is_hidden: whether that is more than was asked for; then the rest is left out.
        has_vector: whether a search for more like it works.
        image: what a list shows of it.
        fields: every column of the table: the source first, what is not known last.
        source: the file that it came from.
        source_sha256: SHA-256 of that file, in hexadecimal.
        is_sample: whether its rows are invented.
        alike: the pictures of the release that look most like its own.
        alike_count: how many look alike.
    """

    shard: str
    row_index: int
    punsafe: float | None
    nsfw: str | None
    is_hidden: bool
    has_vector: bool
    image: Image | None
    fields: Mapping[str, Any]
    source: str
    source_sha256: str
    is_sample: bool
    alike: tuple[Image, ...] = ()
    alike_count: int = 0


class ReleaseLine(Record):
    """A release in the list of them."""

    release: str
    released_at: datetime
    image_count: int
    shard_count: int
    content_sha256: str


class ReleasesPage(Answer):
    """All releases, the newest first, and what changed with the newest.

    Attributes:
        releases: the newest first.
        changes: from the one before the newest; None if there is none before.
    """

    releases: tuple[ReleaseLine, ...]
    changes: ReleaseDiff | None


class ReleasePage(Answer):
    """One release.

    Attributes:
        manifest: its whole record.
        changes: from the one before; None if there is none before.
    """

    manifest: Manifest
    changes: ReleaseDiff | None


class About(Answer):
    """What the pages are about.

    Attributes:
        punsafe_threshold: images that are more probably unsafe are hidden until asked for.
    """

    punsafe_threshold: float


class Problem(Record):
    """Why there is no answer.

    Attributes:
        status: of HTTP.
        reason: what was wrong, and what to do.
    """

    status: int
    reason: str
