"""What programs look for at fixed addresses: robots, sitemap, feed, search of the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laion_assets.web.params import write_path
from laion_assets.web.render import render_xml

if TYPE_CHECKING:
    from laion_assets.web.current_release import Shelf

# Captions are what strangers wrote about people, and searches have no end.
ROBOTS = """User-agent: *
Disallow: /search
Disallow: /compare
Disallow: /images/
Disallow: /pictures/
Disallow: /domains/
Disallow: /sites/
Disallow: /names/*/
Disallow: /lookup
Disallow: /embed/
Disallow: /oembed
Sitemap: {public_url}/sitemap.xml
"""
LISTS = ("/", "/sites", "/domains", "/releases", "/about")


def write_robots(public_url: str) -> bytes:
    """Returns `robots.txt`: every page that has captions is left out."""
    return ROBOTS.format(public_url=public_url).encode()


def write_opensearch(public_url: str) -> bytes:
    """Returns what lets a browser search here from its own field (OpenSearch 1.1)."""
    return render_xml("opensearch", public_url=public_url)


def write_sitemap(shelf: Shelf, public_url: str) -> bytes:
    """Returns the lists and the releases, none of which has a caption."""
    kinds = [write_path("names", kind) for kind in shelf.current.names]
    tags = [write_path("releases", manifest.release) for manifest in shelf.releases]
    released_at = shelf.current.manifest.released_at
    addresses = [public_url + path for path in (*LISTS, *kinds, *tags)]
    return render_xml("sitemap", addresses=addresses, released_at=released_at)


def write_feed(shelf: Shelf, public_url: str) -> bytes:
    """Returns the releases as an Atom feed, the newest first."""
    return render_xml("feed", public_url=public_url, releases=shelf.releases)
