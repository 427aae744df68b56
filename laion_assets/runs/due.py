"""Says what is out of step between source, raw file, DuckDB, Lance, counts and release.

`compare_stages` is the only place that decides what has to be done next. The sensor,
`laion backfill --missing` and `laion status` all ask it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from laion_assets.curation.curation_file import Curation
from laion_assets.raw_shards.discovery import is_fetch_due, name_fetch
from laion_assets.raw_shards.sources.source import Source
from laion_assets.schemas import CLEANING_VERSION
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawShard
from laion_assets.stores.shard_sums import name_sums
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import duckdb

    from laion_assets.declared_columns.origin import Wanted


class Stage(StrEnum):
    """The first thing that a shard lacks."""

    FETCH = "fetch"
    LOAD = "load"
    COPY = "copy"
    EMBED = "embed"
    DECLARE = "declare"


@dataclass(frozen=True)
class Step:
    """What a shard needs next.

    Attributes:
        stage: what has to be done.
        word: names this very need; another content of the shard has another word.
    """

    stage: Stage
    word: str


@dataclass(frozen=True)
class Loaded:
    """The file of a shard whose rows DuckDB has.

    Attributes:
        load_id: names the load.
        sha256: of the file, in hexadecimal.
        is_current: whether the present rules cleaned them.
        removed_count: how many of them were removed from the file before.
    """

    load_id: str
    sha256: str
    is_current: bool = True
    removed_count: int = 0


@dataclass(frozen=True)
class Chain:
    """Each stage as it is.

    Attributes:
        sources: the file of each shard, as far as the sources were asked.
        raws: the verified files.
        loads: what DuckDB has.
        uncopied: shards that Lance does not have as DuckDB has them, or has without DuckDB.
        unreleased: a word for the loaded shards if counts or the newest release are out of date.
        unreleased_sound: the same, looking only at those that Lance has as DuckDB has them.
        unpictured: shards that bring pictures, which Lance does not have as they bring them, or of
            which others are to be fetched, with a word for these.
        is_fetching: whether pictures are fetched.
        unembedded: the same of vectors, and of those that are computed from pictures.
        undeclared: shards that lack declared columns in Lance, with a word for these.
        subsets: a word for the subsets of the newest release that have to be made; None if none.
        pending: shards with rows on the list of removals, and the load that has them.
        removals: a word for that list.
        is_shared: whether other machines load shards into the same tables.
    """

    sources: Mapping[str, Source] = field(default_factory=dict)
    raws: Mapping[str, RawShard] = field(default_factory=dict)
    loads: Mapping[str, Loaded] = field(default_factory=dict)
    uncopied: Collection[str] = ()
    unreleased: str | None = None
    unreleased_sound: str | None = None
    unpictured: Mapping[str, str] = field(default_factory=dict)
    is_fetching: bool = False
    unembedded: Mapping[str, str] = field(default_factory=dict)
    undeclared: Mapping[str, str] = field(default_factory=dict)
    subsets: str | None = None
    pending: Mapping[str, str] = field(default_factory=dict)
    removals: str = ""
    is_shared: bool = False

    def is_elsewhere(self, shard: str) -> bool:
        """Returns whether another machine has loaded a shard from a file of its own."""
        return self.is_shared and shard in self.loads and shard not in self.raws

    def has_removed_rows(self, shard: str) -> bool:
        """Returns whether the present load of a shard has rows on the list of removals."""
        return shard in self.loads and self.loads[shard].load_id == self.pending.get(shard)


@dataclass(frozen=True)
class Due:
    """What has to be done.

    Attributes:
        steps: the next step of each shard that needs one, by shard.
        fallbacks: what can be done for a shard from its verified file, while a newer one cannot
            be fetched.
        stray: shards whose rows Lance has, though no earlier stage has them. No run helps these.
        refresh: a word for the shards as they are, if counts or release are out of date, or for
            the subsets that are; None otherwise, and while a release would be refused.
        held_by: shards for which a release would be refused: Lance and DuckDB differ, and no shard
            is sound, or DuckDB does not have one of them; or they have rows that are to be removed.
        is_behind: whether counts or release are out of date, be it refused or not.
        outdated: shards whose present load a release is made without, because Lance lacks it.
        unpictured: shards that are loaded and copied, and whose pictures are behind, with a word
            for what they lack.
        is_fetching: whether to add pictures means to fetch them too, which may take hours.
        unpublished: the newest release, if it is not where each release is to be published.
    """

    steps: dict[str, Step]
    fallbacks: dict[str, Step]
    stray: list[str]
    refresh: str | None
    held_by: list[str]
    is_behind: bool
    outdated: list[str] = field(default_factory=list)
    unpictured: dict[str, str] = field(default_factory=dict)
    is_fetching: bool = False
    unpublished: str | None = None


@dataclass(frozen=True)
class Wishes:
    """What is wanted beside the rows.

    Attributes:
        is_embedding: whether vectors that shards bring are kept.
        is_computing: whether the others are computed from pictures.
        is_picturing: the same of pictures.
        is_fetching: whether the others are fetched.
        curation: what is declared; None: that cannot be read, and no columns are compared.
    """

    is_embedding: bool = True
    is_computing: bool = False
    is_picturing: bool = True
    is_fetching: bool = False
    curation: Curation | None = field(default_factory=Curation)


def compare_stages(chain: Chain) -> Due:
    """Compares all stages; returns the next step of each shard, and whether a refresh is due."""
    shards = sorted({*chain.sources, *chain.raws, *chain.loads, *chain.uncopied})
    here = {shard: step for shard in shards if (step := _find_step_here(chain, shard))}
    fetches = {
        shard: Step(Stage.FETCH, name_fetch(source, chain.raws.get(shard)))
        for shard, source in chain.sources.items()
        if is_fetch_due(source, chain.raws.get(shard)) and not chain.is_elsewhere(shard)
    }
    steps = dict(sorted((here | fetches).items()))
    stray = [shard for shard in shards if shard in chain.uncopied and shard not in chain.loads]
    # A shard of which a stage failed is no reason to wait: the release has its last sound load.
    # What Lance alone has is one, because no record describes it.
    outdated = sorted(chain.loads.keys() & set(chain.uncopied))
    is_held = len(outdated) < len(chain.uncopied) or len(outdated) == len(chain.loads) > 0
    removed = [shard for shard in shards if chain.has_removed_rows(shard)]
    held_by = sorted({*(chain.uncopied if is_held else ()), *removed})
    return Due(
        steps=steps,
        fallbacks={shard: step for shard, step in here.items() if shard in fetches},
        stray=[shard for shard in stray if shard not in steps],
        refresh=None if held_by else chain.unreleased_sound or chain.subsets,
        held_by=held_by if chain.unreleased else [],
        is_behind=chain.unreleased is not None,
        outdated=[] if held_by else outdated,
        unpictured={
            shard: word
            for shard, word in sorted(chain.unpictured.items())
            if shard not in here or here[shard].stage in {Stage.EMBED, Stage.DECLARE}
        },
        is_fetching=chain.is_fetching,
    )


def read_chain(
    database: Database,
    store: LanceStore,
    kinds: Iterable[str],
    raws: Mapping[str, RawShard],
    sources: Mapping[str, Source],
    *,
    is_thorough: bool = True,
    wishes: Wishes = Wishes(),
) -> Chain:
    """Reads all stages.

    Args:
        database: the tables.
        store: the Lance tables.
        kinds: the kinds of names that are counted.
        raws: the verified files, as `RawStore.find_all` has them.
        sources: what the sources have, as far as they were asked.
        is_thorough: whether to compare the ids of all rows of DuckDB and Lance. If not, that is
            done only where the row counts differ, or where a release is due, which would notice.
        wishes: what is wanted beside the rows.

    Raises:
        DatabaseBusyError: the file was not free in time.
    """
    from laion_assets.declared_columns.origin import list_dropped, look_at_files
    from laion_assets.releases.coverage import find_unreleased
    from laion_assets.subsets.subset_states import name_behind

    if not database.exists():
        return Chain(sources, raws)
    curation = wishes.curation or Curation()
    # A large file is not read while the database is open.
    wanted = look_at_files(database, curation)
    # Before the rest: a load that ends meanwhile is then seen as due, never as done.
    unreleased = find_unreleased(database, store, kinds)
    with database.read() as connection:
        loads = _read_loads(connection)
        uncopied = _find_uncopied(
            connection, store, is_due=unreleased is not None, is_thorough=is_thorough
        )
        unpictured = _find_unpictured(connection, raws, loads, wishes)
        unembedded = _find_unembedded(connection, raws, loads) if wishes.is_embedding else {}
        if wishes.is_computing:
            unembedded |= _find_uncomputed(connection, raws, loads, unpictured)
        undeclared = _find_undeclared(connection, wanted, loads)
    # The next release drops them.
    dropped = list_dropped(database, curation) if wishes.curation else None
    unreleased = unreleased or dropped
    # Beyond those, whose present load no release can have.
    sound = unreleased
    if uncopied:
        sound = find_unreleased(database, store, kinds, uncopied) or dropped
    removals = store.removals.read()
    return Chain(
        sources=sources,
        raws=raws,
        pending=removals.pending,
        removals=removals.digest,
        loads=loads,
        uncopied=uncopied,
        unreleased=unreleased,
        unreleased_sound=sound,
        unpictured=unpictured,
        is_fetching=wishes.is_fetching,
        unembedded=unembedded,
        undeclared=undeclared,
        subsets=name_behind(store, curation.subsets),
        is_shared=database.is_shared,
    )


def _find_step_here(chain: Chain, shard: str) -> Step | None:
    """Returns what a shard needs that is possible without its source."""
    load = chain.loads.get(shard)
    if word := _name_load(chain, shard, load):
        return Step(Stage.LOAD, word)
    if load and shard in chain.uncopied:
        return Step(Stage.COPY, load.load_id)
    if load and shard in chain.unembedded:
        return Step(Stage.EMBED, chain.unembedded[shard])
    if load and shard in chain.undeclared:
        return Step(Stage.DECLARE, chain.undeclared[shard])
    return None


def _name_load(chain: Chain, shard: str, load: Loaded | None) -> str | None:
    """Returns a word for why the verified file of a shard has to be loaded; None if it is."""
    raw = chain.raws.get(shard)
    if raw is None:
        return None
    if load is None or load.sha256 != raw.sha256:
        return raw.sha256
    if not load.is_current:
        return f"{raw.sha256}|{CLEANING_VERSION}"
    if load.removed_count != len(raw.list_removed()):
        return f"{load.load_id}|{raw.fetched_at}|{raw.file_sha256}"
    return f"{load.load_id}|{chain.removals}" if chain.has_removed_rows(shard) else None


def _read_loads(connection: duckdb.DuckDBPyConnection) -> dict[str, Loaded]:
    rules = {"cleaning_version": CLEANING_VERSION}
    sums = name_sums(connection, "rejected_images")
    query = load_sql("runs/select_loaded_files").format(rejected_images=sums)
    rows = connection.execute(query, rules).fetchall()
    return {shard: Loaded(*values) for shard, *values in rows}


def _find_unpictured(
    connection: duckdb.DuckDBPyConnection,
    raws: Mapping[str, RawShard],
    loads: Mapping[str, Loaded],
    wishes: Wishes,
) -> dict[str, str]:
    """Returns the loaded shards whose pictures are of another load or file, or half written.

    Where pictures are fetched, so are those whose servers were not asked since the load.
    """
    from laion_assets.pictures.add_pictures import COLUMN_SET, name_origin
    from laion_assets.stores.columns import read_notes

    if not wishes.is_picturing:
        return {}
    notes = {n.shard: n for n in read_notes(connection) if n.column_set == COLUMN_SET}
    behind = {
        note.shard: "|".join((note.load_id, note.made_from))
        for note in notes.values()
        if note.lance_version is None
    }
    for shard, raw in raws.items():
        note, load = notes.get(shard), loads.get(shard)
        is_wanted = raw.has_pictures or wishes.is_fetching
        if is_wanted and load is not None and load.sha256 == raw.sha256:
            # Whether servers were asked is nothing to a shard whose pictures are only kept.
            ends = (True,) if wishes.is_fetching else (False, True)
            wanted = [(load.load_id, name_origin(raw, is_asked=end)) for end in ends]
            if note is None or (note.load_id, note.made_from) not in wanted:
                behind[shard] = "|".join(wanted[0])
    return behind


def _find_unembedded(
    connection: duckdb.DuckDBPyConnection,
    raws: Mapping[str, RawShard],
    loads: Mapping[str, Loaded],
) -> dict[str, str]:
    """Returns the loaded shards whose vectors are of another load or file, or half written."""
    from laion_assets.embeddings.add_embeddings import COLUMN_SET, name_origin
    from laion_assets.stores.columns import read_notes

    notes = {
        n.shard: (n.load_id, n.given_from)
        for n in read_notes(connection)
        if n.column_set == COLUMN_SET and n.lance_version is not None
    }
    behind = {}
    for shard, raw in raws.items():
        load = loads.get(shard)
        if raw.has_vectors and load is not None and load.sha256 == raw.sha256:
            wanted = (load.load_id, name_origin(raw))
            if notes.get(shard) != wanted:
                behind[shard] = "|".join(wanted)
    return behind


def _find_uncomputed(
    connection: duckdb.DuckDBPyConnection,
    raws: Mapping[str, RawShard],
    loads: Mapping[str, Loaded],
    unpictured: Collection[str],
) -> dict[str, str]:
    """Returns the loaded shards with pictures that no encoder has seen as they are now.

    What a shard needs before its vectors is not awaited here: its pictures come with them.
    """
    from laion_assets.stores.columns import read_notes

    notes = {(n.shard, n.column_set): n for n in read_notes(connection) if n.lance_version}
    behind = {}
    for shard, raw in raws.items():
        load, pictures = loads.get(shard), notes.get((shard, "pictures"))
        is_current = load is not None and load.sha256 == raw.sha256 and shard not in unpictured
        if not (is_current and pictures and pictures.value_count):
            continue
        vectors, wanted = notes.get((shard, "embeddings")), (pictures.load_id, pictures.digest)
        if vectors is None or (vectors.load_id, vectors.seen_pictures) != wanted:
            behind[shard] = "|".join(wanted)
    return behind


def _find_undeclared(
    connection: duckdb.DuckDBPyConnection, wanted: Wanted, loads: Mapping[str, Loaded]
) -> dict[str, str]:
    """Returns the loaded shards of which a declared column is of another definition or load."""
    from laion_assets.declared_columns.origin import find_behind, name_work
    from laion_assets.stores.columns import read_notes

    load_ids = {shard: load.load_id for shard, load in loads.items()}
    behind = find_behind(wanted, read_notes(connection), load_ids)
    return {shard: name_work(load_ids[shard], origins) for shard, origins in behind.items()}


def _find_uncopied(
    connection: duckdb.DuckDBPyConnection, store: LanceStore, *, is_due: bool, is_thorough: bool
) -> list[str]:
    from laion_assets.lance_images.copy import find_uncopied

    dataset = store.find("images")
    query = load_sql("lance_images/select_unnoted")
    unnoted = [shard for shard, _ in connection.execute(query).fetchall()]
    ((image_count,),) = connection.execute(load_sql("runs/sum_loaded_images")).fetchall()
    lance_rows = 0 if dataset is None else dataset.count_rows()
    if not (is_thorough or is_due or unnoted) and lance_rows == image_count:
        return []
    return find_uncopied(connection, dataset, is_reading=is_thorough)
