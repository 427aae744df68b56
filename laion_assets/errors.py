"""The errors a user can do something about. Each message is one line: what, where, what to do."""


def first_line(error: Exception) -> str:
    """Returns the first line of a library's error message, to be part of one of ours."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class LaionError(Exception):
    """Bad input or a place that cannot be used; the message says what to do about it.

    Attributes:
        code: which message it is, in a few words with hyphens. It stays the same where the wording
            is bettered, so programs and tests look at it. docs/reference/messages.md lists all.
        is_passing: whether it may be gone at another time, without anybody doing anything.
    """

    def __init__(self, message: str, *, code: str = "", is_passing: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.is_passing = is_passing


class ProjectError(LaionError):
    """A folder cannot be a project."""


class ShardError(LaionError):
    """A shard's file cannot be used."""


class GoneError(ShardError):
    """A server says that it has no such file."""


class AccessError(ShardError):
    """A server does not let this user have a file; it may once a login is set or granted."""


class SheetError(LaionError):
    """A list of names cannot be used."""


class DatabaseBusyError(LaionError):
    """Another process kept the DuckDB file for longer than the bounded wait."""


class StaleTableError(LaionError):
    """Two tables do not tell of the same shards; something has to be materialized first."""


class RemovalsPendingError(LaionError):
    """Shards hold rows on the list of removals; they are loaded again before any release."""


class HistoryError(LaionError):
    """Dagster's history cannot be opened, as on a full or a read-only disk."""
