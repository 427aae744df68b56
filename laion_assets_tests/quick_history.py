"""Lets Dagster's history read its own files once a test process, and not once a connection.

For each run Dagster reads its 50 migrations, for each event it makes a new engine, which compiles
its SQL again, before each event it asks which columns and indices its tables have, and for each
resource of each step it derives the same schema from its class. What is stored stays the same; a
test that writes many histories takes half of the time.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, lru_cache, wraps
from typing import Any
from unittest.mock import patch

from alembic.script import Script, ScriptDirectory
from dagster._config.field import Field
from dagster._config.pythonic_config import infer_schema_from_config_class as infer_schema
from dagster._config.pythonic_config import resource as pythonic_resource
from dagster._core.storage.event_log import in_memory as in_memory_event_log
from dagster._core.storage.event_log.in_memory import InMemoryEventLogStorage
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs import in_memory as in_memory_runs
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Engine, NullPool, SingletonThreadPool, create_engine

ON_DISK = (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage)
IN_MEMORY = (in_memory_event_log, in_memory_runs)
# Questions about the tables; once the answer is yes, it stays so for an opened history.
QUESTIONS = (
    (SqlEventLogStorage, "_has_asset_key_col_on_connection"),
    (SqlEventLogStorage, "has_asset_key_col"),
    (SqlEventLogStorage, "has_secondary_index"),
    (InMemoryEventLogStorage, "has_table"),
    (SqlRunStorage, "has_backfill_id_column"),
    (SqlRunStorage, "has_backfill_tags_table"),
    (SqlRunStorage, "has_built_index"),
    (SqlRunStorage, "has_bulk_action_job_name_column"),
    (SqlRunStorage, "has_bulk_actions_selector_cols"),
    (SqlRunStorage, "has_run_stats_index_cols"),
)
load_revisions = ScriptDirectory._load_revisions


@contextmanager
def read_files_once() -> Iterator[None]:
    """Keeps migrations, engines and answers for later connections, until the block is left."""

    @cache
    def list_revisions(folder: str) -> list[Script]:
        return list(load_revisions(ScriptDirectory(folder)))

    @lru_cache(32)
    def find_engine(address: str, timeout_s: float | None) -> Engine:
        # Without a pool: each connection is new, and closed at its end, so there is nothing for
        # Dagster to dispose of.
        arguments = {} if timeout_s is None else {"timeout": timeout_s}
        engine = create_engine(address, poolclass=NullPool, connect_args=arguments)
        stack.enter_context(patch.object(engine, "dispose", lambda: None))
        return engine

    def find(address: str, *, connect_args: dict[str, float] | None = None, **_: Any) -> Engine:
        return find_engine(address, (connect_args or {}).get("timeout"))

    def keep_connection(address: str, **_: Any) -> Engine:
        return create_engine(address, poolclass=SingletonThreadPool)

    with ExitStack() as stack:
        stack.enter_context(
            patch.object(pythonic_resource, "infer_schema_from_config_class", _infer)
        )
        stack.enter_context(
            patch.object(ScriptDirectory, "_load_revisions", lambda self: list_revisions(self.dir))
        )
        for storage in ON_DISK:
            stack.enter_context(patch.object(storage, "create_engine", find))
        for storage in IN_MEMORY:
            stack.enter_context(patch.object(storage, "create_engine", keep_connection))
        for holder, question in QUESTIONS:
            stack.enter_context(
                patch.object(holder, question, _remember_yes(getattr(holder, question)))
            )
        yield


@cache
def _infer_once(kind: Any, omitted: frozenset[str]) -> Field:
    return infer_schema(kind, fields_to_omit=set(omitted))


def _infer(kind: Any, *, fields_to_omit: set[str], default: dict[str, Any] | None = None) -> Field:
    """Derives the schema of a class of resources once, unless it has values for it."""
    if default is None:
        return _infer_once(kind, frozenset(fields_to_omit))
    return infer_schema(kind, fields_to_omit=fields_to_omit, default=default)


def _remember_yes(ask: Callable[..., bool]) -> Callable[..., bool]:
    """Returns the question so that each history hears it until the answer is yes."""

    @wraps(ask)
    def answer(storage: Any, *arguments: Any, **named: Any) -> bool:
        known: set[Any] = vars(storage).setdefault("_laion_tests_known", set())
        texts = [value for value in arguments if isinstance(value, str)]
        question = (ask.__name__, *texts, *named.values())
        if question not in known and ask(storage, *arguments, **named):
            known.add(question)
        return question in known

    return answer
