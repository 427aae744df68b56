"""One line of `laion doctor`."""

from __future__ import annotations

from collections.abc import Iterable

from laion_assets.releases.manifest import Record


class Finding(Record):
    """What was found of one thing.

    Attributes:
        part: what it is about, such as `disk`.
        is_sound: whether it is as it has to be.
        text: one line; where it is not sound, what to do as well.
    """

    part: str
    is_sound: bool
    text: str

    @classmethod
    def sound(cls, part: str, text: str) -> Finding:
        """Returns that a part is as it has to be."""
        return cls(part=part, is_sound=True, text=text)

    @classmethod
    def wrong(cls, part: str, text: str) -> Finding:
        """Returns that a part is not, and what to do."""
        return cls(part=part, is_sound=False, text=text)


class Diagnosis(Record):
    """All findings.

    Attributes:
        is_sound: whether each is.
        findings: in the order in which they were found.
    """

    is_sound: bool
    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Diagnosis:
        """Returns the diagnosis that these are."""
        found = tuple(findings)
        return cls(is_sound=all(finding.is_sound for finding in found), findings=found)
