"""Remembers between two ticks which work was asked for, and when it may be asked for again.

What failed and may pass is tried again after 1, 5, 15 and 60 minutes, then every hour. All of it
fits in the cursor of the sensor: twelve characters for each piece of work that is not done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

PAUSES_S = (60, 300, 900, 3600)
# The first half of a key says of which shard it is, or that it is of the refresh.
SUBJECT_LENGTH = 6
KEY_LENGTH = 12


@dataclass(frozen=True)
class Attempt:
    """Work that was asked for and is not done.

    Attributes:
        count: how often it was asked for.
        next_at: when to ask again, in seconds since 1970; 0: its run has not ended yet; -1: not
            again, because it cannot pass.
    """

    count: int
    next_at: int = 0

    @property
    def is_asked(self) -> bool:
        """Whether nobody has looked yet at how its run ended."""
        return self.next_at == 0

    @property
    def is_final(self) -> bool:
        """Whether trying again cannot help."""
        return self.next_at < 0

    def pause(self, now: float) -> Attempt:
        """Returns it with the time of the next try, which is the later the more have failed."""
        pause_s = PAUSES_S[min(self.count, len(PAUSES_S)) - 1]
        return replace(self, next_at=int(now) + pause_s)

    def describe(self) -> str:
        """Returns what becomes of it, for a person."""
        if self.is_final:
            return "not tried again until it changes"
        if self.is_asked:
            return "a run was asked for"
        return f"next try at {datetime.fromtimestamp(self.next_at, tz=UTC):%Y-%m-%d %H:%M} UTC"

    def end(self) -> Attempt:
        """Returns it as one that is not tried again."""
        return replace(self, next_at=-1)


@dataclass
class Memory:
    """What one tick tells the next.

    Attributes:
        attempts: the work that is not done, by key.
        asked_at: when servers were asked for the last time, in seconds since 1970.
        waiting_since: since when a refresh waits for other runs; 0 if none does.
        said: digest of the warnings that were logged last.
    """

    attempts: dict[str, Attempt] = field(default_factory=dict)
    asked_at: int = 0
    waiting_since: int = 0
    said: str = ""

    @classmethod
    def read(cls, cursor: str | None) -> Memory:
        """Reads a cursor; one that an older version wrote, or somebody else, counts as empty."""
        try:
            values = json.loads(cursor or "{}")
            groups = values.pop("attempts", {})
            memory = cls(**values)
            for name, keys in groups.items():
                attempt = Attempt(*map(int, name.split()))
                for start in range(0, len(keys), KEY_LENGTH):
                    memory.attempts[keys[start : start + KEY_LENGTH]] = attempt
        except (ValueError, TypeError, AttributeError):
            return cls()
        return memory

    def write(self) -> str:
        """Returns the cursor: work with the same count and time is one text of joined keys."""
        groups: dict[str, str] = {}
        for key, attempt in sorted(self.attempts.items()):
            name = f"{attempt.count} {attempt.next_at}"
            groups[name] = groups.get(name, "") + key
        values = {**vars(self), "attempts": groups}
        return json.dumps(values, separators=(",", ":"))

    def forget_others(self, keys: Iterable[str], unknown: Iterable[str] = ()) -> None:
        """Keeps only the attempts at this work; the rest is done or has become other work.

        Args:
            keys: of the work that is due.
            unknown: shards of which it is not known now what is due; their attempts are kept too.
        """
        kept, subjects = set(keys), {_name_subject(shard) for shard in unknown}
        self.attempts = {
            key: attempt
            for key, attempt in self.attempts.items()
            if key in kept or key[:SUBJECT_LENGTH] in subjects
        }

    def find_attempts(self, subject: str, key: str | None = None) -> list[Attempt]:
        """Returns the attempts at this work of a shard; without a key, at whatever work of it."""
        mark = key or _name_subject(subject)
        return [a for name, a in self.attempts.items() if name.startswith(mark)]


def name_work(subject: str, *words: str) -> str:
    """Returns the key of a piece of work of a shard, or of the refresh."""
    word = _digest("\0".join((subject, *words)))
    return _name_subject(subject) + word[: KEY_LENGTH - SUBJECT_LENGTH]


def _name_subject(subject: str) -> str:
    return _digest(subject)[:SUBJECT_LENGTH]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
