"""Alarms reach whoever they are for, in the form that the other side reads."""

import json
from collections.abc import Iterator

import pytest

from laion_assets.alarms.channel import Alarm, check_address, send
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.webhook import Webhook, run_webhook

ALARM = Alarm("a: broken", "ingest_shards a failed", "a: is cut off; fetch it again", "http://ui/1")


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with run_webhook() as webhook:
        yield webhook


@pytest.mark.exhaustive
def test_a_plain_address_gets_json(webhook: Webhook) -> None:
    send(f"http://127.0.0.1:{webhook.port}/hook?key=1", ALARM)

    ((path, headers, body),) = webhook.received
    assert path == "/hook?key=1"
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "cause": "a: broken",
        "title": "ingest_shards a failed",
        "reason": "a: is cut off; fetch it again",
        "link": "http://ui/1",
    }


def test_ntfy_gets_title_and_text(webhook: Webhook) -> None:
    send(f"ntfy://127.0.0.1:{webhook.port}/laion", ALARM)

    ((_, _, body),) = webhook.received
    said = json.loads(body)
    assert (said["topic"], said["title"]) == ("laion", ALARM.title)
    assert said["message"].splitlines() == [ALARM.reason, ALARM.link]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T00000000/B00000000/aaaaaaaaaaaaaaaaaaaaaaaa",
        "https://discord.com/api/webhooks/4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "https://ntfy.sh/laion",
        "https://alarms.test/hook",
        "mailtos://user:password@example.org",
    ],
)
def test_addresses_are_taken_as_services_give_them(url: str) -> None:
    check_address(url)


@pytest.mark.parametrize("url", ["nowhere", "ftp://secret@a.test", "mailto://"])
def test_what_is_no_address_is_refused_without_repeating_it(url: str) -> None:
    with raises("alert-url-unusable") as refusal:
        check_address(url)
    assert url not in str(refusal.value)


@pytest.mark.parametrize("scheme", ["http://127.0.0.1:{}/secret", "ntfy://127.0.0.1:{}/secret"])
def test_what_is_not_taken_is_said_without_the_address(webhook: Webhook, scheme: str) -> None:
    webhook.status = 500

    with raises("alarm-not-delivered") as failure:
        send(scheme.format(webhook.port), ALARM)

    assert "secret" not in str(failure.value)
    assert "500" in str(failure.value)


def test_a_redirect_is_not_followed(webhook: Webhook) -> None:
    webhook.status = 302

    with raises("alarm-not-delivered"):
        send(f"http://127.0.0.1:{webhook.port}/hook", ALARM)
    assert len(webhook.received) == 1
