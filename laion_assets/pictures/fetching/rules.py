"""What a fetch may do, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from laion_assets.errors import LaionError
from laion_assets.removals.matching import Matcher
from laion_assets.stores.http_client import AGENT


class Mode(Enum):
    """How a picture is made smaller; the names are img2dataset's."""

    KEEP_RATIO = "keep_ratio"
    CENTER_CROP = "center_crop"
    BORDER = "border"
    ORIGINAL = "original"


class Reason(Enum):
    """Why there is no picture; the value is a row's `reason` in the table `pictures`."""

    BAD_URL = "bad_url"
    DENIED_HOST = "denied_host"
    PRIVATE_ADDRESS = "private_address"
    ROBOTS_TXT = "robots_txt"
    ROBOTS_UNREACHABLE = "robots_unreachable"
    OPTED_OUT = "opted_out"
    HOST_OPTED_OUT = "host_opted_out"
    DNS = "dns"
    CONNECTION = "connection"
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"
    HOST_DOWN = "host_down"
    HTTP = "http"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    BAD_RESPONSE = "bad_response"
    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_A_PICTURE = "not_a_picture"
    DECODER_DIED = "decoder_died"


# What may be gone another time. An HTTP status is judged by its number.
PASSING = frozenset(
    {
        Reason.ROBOTS_UNREACHABLE,
        Reason.DNS,
        Reason.CONNECTION,
        Reason.TIMEOUT,
        Reason.HOST_DOWN,
    }
)
PASSING_STATUSES = frozenset({408, 425, 429, *range(500, 600)} - {501, 505})
# Nothing came although the picture may well be there.
REFUSALS = (Reason.ROBOTS_TXT, Reason.OPTED_OUT, Reason.HOST_OPTED_OUT, Reason.DENIED_HOST)
# What img2dataset calls a failure after the bytes have come.
AFTER_DOWNLOAD = frozenset({Reason.TOO_MANY_PIXELS, Reason.NOT_A_PICTURE, Reason.DECODER_DIED})


class FetchError(LaionError):
    """A picture cannot be had.

    Attributes:
        reason: the kind of it.
        http_status: what the server answered; None if it did not.
        retry_after_s: how long the server asks to wait.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        http_status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        is_passing = reason in PASSING or (
            reason is Reason.HTTP and http_status in PASSING_STATUSES
        )
        code = f"picture-{reason.value.replace('_', '-')}"
        super().__init__(message, code=code, is_passing=is_passing)
        self.reason = reason
        self.http_status = http_status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class SizeRules:
    """How pictures are decoded and made smaller.

    Attributes:
        mode: `keep_ratio` makes the shorter side `size`, `center_crop` cuts the longer one off to a
            square, `border` makes the longer side `size` and pads to a square, and `original` keeps
            the bytes that came. None of them makes a picture larger.
        size: pixels.
        quality: of the JPEG, 1 to 95.
        max_pixels: a picture with more is not decoded.
        max_seconds: a decoder that computes for longer is killed.
        max_memory_bytes: address space of a decoder.
    """

    mode: Mode = Mode.KEEP_RATIO
    size: int = 256
    quality: int = 90
    max_pixels: int = 100_000_000
    max_seconds: float = 20
    max_memory_bytes: int = 4 << 30

    @property
    def name(self) -> str:
        """A word for what decides the bytes: another one means another picture."""
        if self.mode is Mode.ORIGINAL:
            return "original"
        return f"{self.mode.value}-{self.size}-{self.quality}"


@dataclass(frozen=True)
class FetchRules:
    """How to talk to the servers of strangers.

    Attributes:
        contact: an e-mail address or web page, for who wants to complain.
        sizes: what becomes of the bytes.
        connections: requests at once, over all hosts.
        connections_per_host: requests at once to one host.
        requests_per_s: over all hosts, at most.
        time_s: for one request in all, from the name to the last byte.
        redirects: at most.
        attempts: for what may pass.
        backoff_s: before the second attempt; it doubles with each, with jitter.
        max_pause_s: who is asked to come back later than this does so in another run.
        max_bytes: of a picture as it comes.
        silent_after: a host that failed so often in a row is not asked again in this run.
        denied_hosts: never asked; `example.com` stands for the hosts below it too.
        removed: the list of removals, whose URLs and hosts are never asked either.
        allowed_networks: addresses that are asked although they are not public.
        decoders: processes that decode.
        share_urls: so many URLs are worth a share for another node of Ray; None: no other fetches.
    """

    contact: str
    sizes: SizeRules = SizeRules()
    connections: int = 256
    connections_per_host: int = 2
    requests_per_s: float = 500
    time_s: float = 30
    redirects: int = 5
    attempts: int = 3
    backoff_s: float = 1
    max_pause_s: float = 60
    max_bytes: int = 30_000_000
    silent_after: int = 5
    denied_hosts: frozenset[str] = frozenset()
    removed: Matcher = field(default_factory=Matcher)
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    decoders: int = 2
    share_urls: int | None = None

    @property
    def user_agent(self) -> str:
        """Who asks, and whom to write to."""
        return f"{AGENT} (+{self.contact})"


@dataclass(frozen=True)
class Resized:
    """A decoded picture.

    Attributes:
        picture: JPEG bytes, or those that came if the mode is `original`.
        width, height: of it, in pixels.
        original_width, original_height: of what came, upright.
        exif: as JSON, as img2dataset writes it; None if there is none.
    """

    picture: bytes
    width: int
    height: int
    original_width: int
    original_height: int
    exif: str | None
