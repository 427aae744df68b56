"""Talks HTTP with servers that may be slow, broken or hostile; what is fetched is the caller's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NoReturn, TypeVar

from laion_assets.amounts import say_amount
from laion_assets.errors import LaionError

if TYPE_CHECKING:
    import requests

# The name that we give ourselves; robots.txt and X-Robots-Tag may address it.
AGENT = "laion-assets"
MAX_REDIRECTS = 5
HTTP_OK = 200
HTTP_NOT_MODIFIED = 304
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
# An attempt that brought so much is no failure: a server that cuts every connection still serves.
PROGRESS_BYTES = 1_000_000
# Who is asked to come back later than this does so in another run.
MAX_PAUSE_S = 300

Result = TypeVar("Result")


class PassingError(LaionError):
    """Something that may be gone at the next attempt."""

    def __init__(self, message: str, retry_after_s: float | None = None, *, code: str = "") -> None:
        super().__init__(message, code=code, is_passing=True)
        self.retry_after_s = retry_after_s


def open_session() -> requests.Session:
    """Returns a session that says who asks."""
    import requests

    session = requests.Session()
    session.headers["User-Agent"] = AGENT
    return session


def send(
    session: requests.Session, method: str, url: str, headers: Mapping[str, str], timeout_s: float
) -> requests.Response:
    """Sends one request; follows no redirect and reads no body.

    `Session.get` would read the whole body of a redirect, however long.
    """
    import requests
    from requests.cookies import extract_cookies_to_jar

    # Without an authorization of its own, requests would replace ours by one of ~/.netrc.
    keep = (lambda prepared: prepared) if "Authorization" in headers else None
    request = session.prepare_request(requests.Request(method, url, headers=headers, auth=keep))
    settings = session.merge_environment_settings(url, {}, True, None, None)
    response = session.get_adapter(url).send(request, timeout=timeout_s, **settings)
    extract_cookies_to_jar(session.cookies, request, response.raw)
    return response


def retry(
    work: Callable[[], Result],
    error_type: type[LaionError],
    *,
    attempts: int,
    backoff_s: float,
    deadline: float = float("inf"),
    count_bytes: Callable[[], int] = lambda: 0,
) -> Result:
    """Does the work, again where it failed with what may pass.

    Args:
        work: raises PassingError where trying again may help.
        error_type: what to raise in the end.
        attempts: failures in a row that are too many.
        backoff_s: pause before the second attempt; it doubles with each, and is as long at least as
            the server asked for.
        deadline: time of the monotonic clock after which nothing is tried.
        count_bytes: says how far the work has come; an attempt that got further starts the count of
            failures again.
    """
    failures, furthest = 0, count_bytes()
    while True:
        try:
            return work()
        except PassingError as error:
            # Further than ever: work that begins anew again and again comes to an end too.
            is_further = count_bytes() >= furthest + PROGRESS_BYTES
            failures = (0 if is_further else failures) + 1
            furthest = max(furthest, count_bytes())
            pause_s = max(error.retry_after_s or 0, backoff_s * 2 ** (failures - 1))
            is_too_late = pause_s > MAX_PAUSE_S or time.monotonic() + pause_s > deadline
            if failures >= attempts or is_too_late:
                tries = say_amount(failures, "attempt")
                raise error_type(f"{error} ({tries})", is_passing=True, code=error.code) from error
            time.sleep(pause_s)


@contextmanager
def name_failures(name: str, error_type: type[LaionError]) -> Iterator[None]:
    """Raises what the network does as PassingError, and an unusable URL as the type given."""
    from requests import exceptions
    from urllib3.exceptions import DecodeError, HTTPError, ProtocolError, TimeoutError

    try:
        yield
    except (exceptions.Timeout, TimeoutError) as error:
        raise PassingError(
            f"{name}: the server does not answer; try again later", code="http-no-answer"
        ) from error
    except ValueError as error:
        raise error_type(
            f"{name}: not a valid URL; correct the link", code="http-url-invalid"
        ) from error
    except (ProtocolError, DecodeError) as error:
        reason = "the connection broke off"
        raise PassingError(
            f"{name}: {reason}; check the network and the link", code="http-connection-broke"
        ) from error
    except (exceptions.RequestException, HTTPError) as error:
        raise PassingError(
            f"{name}: no connection; check the network and the link", code="http-no-connection"
        ) from error


def refuse_status(
    name: str,
    response: requests.Response,
    remedies: Mapping[int, str],
    error_type: type[LaionError],
) -> NoReturn:
    """Raises what a status that is no success means.

    Args:
        name: of what was asked for.
        response: the answer.
        remedies: what it means and what to do, by status.
        error_type: what to raise where trying again does not help.
    """
    status = response.status_code
    meaning = remedies.get(status, "the server failed; try again later")
    if status in RETRIED_STATUSES:
        pause_s = parse_retry_after(response.headers.get("Retry-After"))
        raise PassingError(f"{name}: status {status}, {meaning}", pause_s, code="http-status")
    raise error_type(f"{name}: status {status}, {meaning}", code="http-status")


def parse_retry_after(header: str | None) -> float | None:
    """Returns the seconds that a Retry-After header asks for (RFC 9110: a number, or a date)."""
    if header is None:
        return None
    if header.isascii() and header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(tz=UTC)).total_seconds())
