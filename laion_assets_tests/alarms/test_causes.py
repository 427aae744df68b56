"""Each cause is told once, until it is over."""

import pytest

from laion_assets.alarms.causes import NAMED, QUIET_S, Finding, Heard


def fail(subject: str, at: float, *, code: str = "broken", is_passing: bool = False) -> Finding:
    cause = f"{subject}: {code}"
    return Finding(subject, at, cause, is_passing, f"{subject} failed at {at}", "why", "link")


def hear(heard: Heard, *findings: Finding) -> list[str]:
    """Returns the causes that somebody is told of, after a break in which all was written down."""
    again = Heard.read(heard.write(), now=0)
    told = [alarm.cause for alarm in again.hear(findings)]
    vars(heard).update(vars(again))
    return told


def test_a_cause_is_told_once() -> None:
    heard = Heard(since=0)

    assert hear(heard, fail("a", 1)) == ["a: broken"]
    assert hear(heard, fail("a", 2), fail("a", 3)) == []
    assert hear(heard, fail("a", 3 * 24 * 3600)) == []


def test_another_cause_or_subject_is_told() -> None:
    heard = Heard(since=0)
    hear(heard, fail("a", 1))

    assert hear(heard, fail("a", 2, code="gone")) == ["a: gone"]
    assert hear(heard, fail("b", 2)) == ["b: broken"]


def test_a_cause_that_comes_again_after_it_was_over_is_told_again() -> None:
    heard = Heard(since=0)
    hear(heard, fail("a", 1), fail("b", 1))

    assert hear(heard, Finding("a", 2), fail("a", 3), fail("b", 3)) == ["a: broken"]


@pytest.mark.parametrize(("quiet_s", "told"), [(QUIET_S - 1, []), (QUIET_S + 1, ["job: busy"])])
def test_what_comes_and_goes_is_told_again_after_an_hour_without_it(
    quiet_s: int, told: list[str]
) -> None:
    heard = Heard(since=0)
    hear(heard, fail("job", 0, code="busy", is_passing=True))
    hear(heard, Finding("job", 10), fail("job", 20, code="busy", is_passing=True))

    later = 20 + quiet_s
    again = fail("job", later, code="busy", is_passing=True)
    assert hear(heard, Finding("job", later), again) == told


def test_many_findings_of_one_cause_are_one_alarm() -> None:
    findings = [fail("job", at, is_passing=True) for at in range(12)]

    (alarm,) = Heard(since=0).hear(findings)

    assert alarm.title == "job failed at 0"
    assert alarm.reason.startswith("why (also: job failed at 1; ")
    assert alarm.reason.endswith(f"; and {12 - NAMED} more)")


def test_a_run_is_looked_at_once_though_its_time_is_looked_at_again() -> None:
    heard = Heard(since=100)

    assert heard.is_new_run("one", 100)
    assert heard.is_new_run("another", 99)
    assert not heard.is_new_run("one", 100)
    assert heard.is_new_run("later", 1000)
    assert heard.since == 1000
    assert heard.runs.keys() == {"later"}
