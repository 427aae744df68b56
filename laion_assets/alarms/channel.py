"""Sends alarms to where `LAION_ALERT_URL` says."""

from __future__ import annotations

import logging
import re
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from laion_assets.errors import LaionError

if TYPE_CHECKING:
    from apprise import NotifyBase

TIMEOUT_S = 10
WEB = ("http", "https")
# In what Apprise says of an answer.
STATUS = re.compile(r"error=(\d{3})")


@dataclass(frozen=True)
class Alarm:
    """One message.

    Attributes:
        cause: names what it is about; the same again is the same cause.
        title: what failed.
        reason: why, in one line, and what to do.
        link: the page that says more.
    """

    cause: str
    title: str
    reason: str
    link: str


class AlarmError(LaionError):
    """An alarm could not be delivered; the same can be tried again."""


def check_address(url: str) -> None:
    """Checks that alarms can be sent to an address. It may hold a password, so no error has it.

    Args:
        url: a webhook of Slack, Discord or ntfy as they give it, another web address, which gets
            JSON, or any address that Apprise knows (`mailtos://…` for e-mail).

    Raises:
        LaionError: it is none of these.
    """
    if _find_service(url) is None and urlsplit(url).scheme not in WEB:
        raise LaionError(
            "LAION_ALERT_URL: no address of a webhook, and none that Apprise knows, such as "
            "mailtos://user:password@example.org; correct it",
            code="alert-url-unusable",
        )


def send(url: str, alarm: Alarm) -> None:
    """Delivers an alarm.

    Args:
        url: as `check_address` takes it.
        alarm: what to say.

    Raises:
        AlarmError: the other side did not take it.
    """
    service = _find_service(url)
    if service is None:
        _post_json(url, alarm)
        return
    import apprise

    text = f"{alarm.reason}\n{alarm.link}"
    capture = apprise.LogCapture(level=logging.WARNING, fmt="%(message)s")  # type: ignore[no-untyped-call]
    with capture as said:
        is_sent = service.notify(
            body=text,
            title=alarm.title,
            notify_type=apprise.NotifyType.FAILURE,
            body_format=apprise.NotifyFormat.TEXT,
        )
    if not is_sent:
        # The rest of what it says may name what nobody else is to know.
        status = STATUS.search(said.getvalue())
        raise _explain(f"status {status[1]}" if status else "the service did not take it")


def _find_service(url: str) -> NotifyBase | None:
    import apprise

    logger = logging.getLogger("apprise")
    was_disabled = logger.disabled
    try:
        # It would write down the addresses that it does not know.
        logger.disabled = True
        return apprise.Apprise.instantiate(url, suppress_exceptions=True)
    finally:
        logger.disabled = was_disabled


def _post_json(url: str, alarm: Alarm) -> None:
    import requests

    try:
        answer = requests.post(url, json=asdict(alarm), timeout=TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        # The text of the error has the address.
        raise _explain(type(error).__name__) from None
    if answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
        raise _explain(f"status {answer.status_code}")


def _explain(reason: str) -> AlarmError:
    return AlarmError(
        f"LAION_ALERT_URL: an alarm was not delivered ({reason}); it is tried again",
        code="alarm-not-delivered",
        is_passing=True,
    )
