"""Says what an entry of the list of removals is, and when two ways to write a URL are the same."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import SplitResult, quote, urlsplit

from laion_assets.stores.removal_file import Entry

MAX_IMAGE_ID = 2**63 - 1
_IMAGE_ID = re.compile(r"[0-9]{1,19}")
_PICTURE = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}", re.IGNORECASE)
_HOST = re.compile(r"[^\s/?#@:\\.]+(\.[^\s/?#@:\\.]+)+|[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*")
_PORT = re.compile(r":[0-9]*$")
# What browsers drop: blanks and control characters around a URL, tabs and line breaks in it.
_AROUND = "".join(map(chr, range(33)))
_WITHIN = re.compile(r"[\t\r\n]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# These mean the same with and without an escape (RFC 3986, section 2.3).
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
# All that can stand in a path or a query as it is.
_SAFE = "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~"
_DEFAULT_PORTS = frozenset({80, 443})


def read_entry(line: int, text: str) -> Entry | None:
    """Returns the entry that a cell has; None if it has none.

    Args:
        line: where it stands.
        text: a URL, a host, `*.host`, an `image_id`, or the MD5 or SHA-256 of a picture.
    """
    text = text.strip()
    if _PICTURE.fullmatch(text):
        return Entry(line, "picture", text.lower())
    if _IMAGE_ID.fullmatch(text) and int(text) <= MAX_IMAGE_ID:
        return Entry(line, "image_id", str(int(text)))
    if "/" in text:
        parts = split_url(text if "//" in text else f"//{text}")
        if parts is None or not _HOST.fullmatch(host := normalize_host(parts.hostname or "")):
            return None
        return Entry(line, "url", digest(write_url(parts)), digest_host(host))
    is_below = text.startswith("*.")
    host = normalize_host(_PORT.sub("", text.removeprefix("*.")) if text.count(":") == 1 else text)
    host = host.removeprefix("*.").strip("[]")
    if not _HOST.fullmatch(host) or "*" in host:
        return None
    return Entry(line, "below" if is_below else "host", digest_host(host, is_below=is_below))


def normalize_host(host: str) -> str:
    """Returns a host in lower case, without a dot at its end, letters beyond ASCII in Punycode."""
    host = host.strip().lower().rstrip(".")
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def digest(text: str) -> str:
    """Returns the SHA-256 of a text in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_host(host: str, *, is_below: bool = False) -> str:
    """Returns the digest of a host in its normal form, or of it with all below it."""
    return digest(f"below {host}" if is_below else f"host {host}")


def split_url(url: str) -> SplitResult | None:
    """Returns the parts of a URL; None if it has no host."""
    try:
        parts = urlsplit(_WITHIN.sub("", url.strip(_AROUND)))
        return parts if parts.hostname else None
    except ValueError:
        return None


def write_url(parts: SplitResult) -> str:
    """Returns a URL as all ways to write it have it in common.

    Scheme (http or https, in any case), user, default port and fragment are left out. The host is
    as `normalize_host` has it. Escapes are written as one can: none for letters, digits and
    `-._~`, capitals in the others, and one for each byte that is not ASCII. No path is `/`.
    """
    try:
        port = parts.port
    except ValueError:
        port = None
    place = "" if port is None or port in _DEFAULT_PORTS else f":{port}"
    query = f"?{_escape(parts.query)}" if parts.query else ""
    return f"{normalize_host(parts.hostname or '')}{place}{_escape(parts.path or '/')}{query}"


def _escape(text: str) -> str:
    def rewrite(escape: re.Match[str]) -> str:
        character = chr(int(escape[1], 16))
        return character if _UNRESERVED.fullmatch(character) else escape[0].upper()

    return quote(_ESCAPE.sub(rewrite, text), safe=_SAFE, errors="surrogatepass")
