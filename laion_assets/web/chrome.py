"""What stands around each page: its own address in every form, for links and for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from laion_assets.web.params import HTML, Query

# The home page under a name that can bear a suffix.
INDEX = "/index"
# Before the path of a page: the card of it that other sites may frame.
CARD_PREFIX = "/embed"
CARD_WIDTH, CARD_HEIGHT = 480, 220


@dataclass(frozen=True)
class Chrome:
    """What stands around each page.

    Attributes:
        path: its address without parameters.
        query: its parameters.
        has_pictures: whether the visitor wants to see them.
        public_url: what comes before the paths of pages in an address.
    """

    path: str
    query: Query
    has_pictures: bool
    public_url: str

    @property
    def here(self) -> str:
        """Its address."""
        return self.query.write(self.path)

    @property
    def canonical(self) -> str:
        """The whole address that search engines and other sites should use."""
        return self.public_url + self.query.write(self.path, view=None)

    @property
    def newest(self) -> str:
        """The same of whatever release is the newest, as a link that `pin_links` leaves alone."""
        return self.query.write(self.path, release=None) + "#main"

    def oembed(self, release: str) -> str:
        """The address that names its card to programs."""
        address = self.public_url + self._write_pinned(self.path, release)
        return f"{self.public_url}/oembed?{urlencode({'url': address})}"

    def frame(self, release: str, width: int = CARD_WIDTH, height: int = CARD_HEIGHT) -> str:
        """The HTML that shows its card on a page of another site, as unescaped text."""
        # No parameter and no path has a quote that is not encoded.
        address = self.public_url + self._write_pinned(CARD_PREFIX + self.path, release)
        source = address.replace("&", "&amp;")
        return f'<iframe src="{source}" width="{width}" height="{height}" title="Card"></iframe>'

    def with_suffix(self, suffix: str) -> str:
        """Its address in another form."""
        return self.query.write(self._stem + suffix)

    def all_rows(self, suffix: str) -> str:
        """The address of all rows of a list, of all pages."""
        return self.query.write(self._stem + suffix, page=1)

    def _write_pinned(self, path: str, release: str) -> str:
        # How images are shown changes no number.
        return self.query.write(path, release=release, page=1, view=None, sort=None)

    @property
    def _stem(self) -> str:
        return INDEX if self.path == "/" else self.path.removesuffix(HTML)
