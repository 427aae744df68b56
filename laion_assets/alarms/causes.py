"""Decides which failures somebody has to hear of: each cause once, until it is over."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from laion_assets.alarms.channel import Alarm

# A cause that comes and goes is told again if it was not found for so long.
QUIET_S = 3600
# Of several runs that fail for one cause in the same minute, so many are named.
NAMED = 5
# Runs are looked at again for so long, as the clocks of two processes may differ.
OVERLAP_S = 30


@dataclass(frozen=True)
class Finding:
    """What a run, a check or an asset says of itself.

    Attributes:
        subject: what it is about; a later finding on it that is good ends the cause.
        cause: names why it is bad; None: it is good.
        is_passing: whether the cause may come and go, as a server that is down now and then does;
            it is over when it was not found for an hour.
        title: what failed.
        reason: why, in one line.
        link: the page that says more.
        at: when, in seconds since 1970.
    """

    subject: str
    at: float
    cause: str | None = None
    is_passing: bool = False
    title: str = ""
    reason: str = ""
    link: str = ""


@dataclass(frozen=True)
class Told:
    """A cause that is not over; `at` is when it was last found."""

    subject: str
    is_passing: bool
    at: float


@dataclass
class Heard:
    """What is remembered from one look to the next.

    Attributes:
        since: runs that ended before were looked at.
        runs: those that ended shortly before.
        told: the causes that are not over.
        unsent: alarms that could not be delivered yet.
    """

    since: float
    runs: dict[str, float] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    unsent: list[Alarm] = field(default_factory=list)

    @classmethod
    def read(cls, cursor: str | None, now: float) -> Heard:
        """Returns what was written; who hears nothing yet hears of what comes from now on."""
        if not cursor:
            return cls(since=now)
        data = json.loads(cursor)
        told = {cause: Told(**known) for cause, known in data["told"].items()}
        return cls(data["since"], data["runs"], told, [Alarm(**a) for a in data["unsent"]])

    def write(self) -> str:
        """Returns it as the cursor of the sensor."""
        return json.dumps(asdict(self))

    def is_new_run(self, run_id: str, ended_at: float) -> bool:
        """Returns whether a run was not looked at before, and notes that it was."""
        if run_id in self.runs:
            return False
        self.runs[run_id] = ended_at
        self.since = max(self.since, ended_at)
        self.runs = {run: at for run, at in self.runs.items() if at >= self.since - OVERLAP_S}
        return True

    def hear(self, findings: Iterable[Finding]) -> list[Alarm]:
        """Returns what somebody has to be told, and notes it as told.

        Args:
            findings: in the order in which they were made.
        """
        new: dict[str, list[Finding]] = {}
        for finding in findings:
            if finding.cause is None:
                self._end(finding)
                continue
            if finding.cause not in self.told:
                new.setdefault(finding.cause, []).append(finding)
            elif finding.cause in new:
                new[finding.cause].append(finding)
            self.told[finding.cause] = Told(finding.subject, finding.is_passing, finding.at)
        return [_summarize(cause, some) for cause, some in new.items()]

    def _end(self, finding: Finding) -> None:
        for cause, told in list(self.told.items()):
            is_over = not told.is_passing or finding.at - told.at > QUIET_S
            if told.subject == finding.subject and is_over:
                del self.told[cause]


def _summarize(cause: str, findings: list[Finding]) -> Alarm:
    first = findings[0]
    if len(findings) == 1:
        return Alarm(cause, first.title, first.reason, first.link)
    others = [finding.title for finding in findings[1:NAMED]]
    more = len(findings) - 1 - len(others)
    also = "; ".join(others) + (f"; and {more:,} more" if more else "")
    return Alarm(cause, first.title, f"{first.reason} (also: {also})", first.link)
