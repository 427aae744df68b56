import random
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pytest

from laion_assets.counts import refresh
from laion_assets.counts.captions import Folding, caption_filter, count_phrases
from laion_assets.counts.refresh import (
    count_names_of_shard,
    refresh_domain_counts,
    refresh_entity_counts,
    refresh_site_counts,
)
from laion_assets.errors import StaleTableError
from laion_assets.images.load import load_shard
from laion_assets.names.sheets import parse_sheet, store_sheet
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.settings import Settings
from laion_assets.stores.database import Database, stream
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.sql import load_sql
from laion_assets_tests.conftest import IN_BOTH_PLACES, WriteShard

pytestmark = pytest.mark.slow

Row = tuple[object, ...]

WORDS = ("Vincent", "van", "Gogh", "café", "CAFE", "Émile", "Zola", "葛飾", "🎨", "🦊", "fox", "a")


class Catalogue:
    """Shards and sheets in a database, to be changed and counted."""

    def __init__(self, settings: Settings, database: Database, write_shard: WriteShard) -> None:
        self._settings = settings
        self._write_shard = write_shard
        self.database = database

    def load(self, shard: str, *captions: str | None, urls: Sequence[str] = ()) -> None:
        urls = urls or ["https://a.example/"] * len(captions)
        source = self._write_shard(shard, URL=urls, TEXT=captions)
        raw = fetch_shard(describe_file(source), RawStore(self._settings.raw_dir))
        with self.database.write() as connection:
            load_shard(connection, raw, RawStore(self._settings.raw_dir).path(shard), "run")

    def store(self, kind: str, *names: str) -> None:
        lines = ("name", *(f'"{name}"' for name in names))
        with self.database.write() as connection:
            store_sheet(connection, parse_sheet(kind, kind, "\n".join(lines).encode()))

    def read(self, query: str) -> list[Row]:
        with self.database.read() as connection:
            return connection.execute(query).fetchall()

    def counts(self) -> list[Row]:
        return self.read("SELECT kind, name, image_count FROM entity_counts")


@pytest.fixture
def catalogue(settings: Settings, database: Database, write_shard: WriteShard) -> Catalogue:
    return Catalogue(settings, database, write_shard)


def count_with_fts5(captions: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(text)")
        connection.executemany("INSERT INTO t (text) VALUES (?)", ((c,) for c in captions))
        query = """SELECT count(*) FROM t WHERE t MATCH '"' || replace(?, '"', '""') || '"'"""
        return {name: connection.execute(query, (name,)).fetchall()[0][0] for name in names}
    finally:
        connection.close()


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_the_names_of_all_shards_count_as_fts5_counts_them(catalogue: Catalogue) -> None:
    generator = random.Random(5)  # noqa: S311
    shards: Mapping[str, list[str]] = {
        shard: [" ".join(generator.choices(WORDS, k=4)) for _ in range(200)] for shard in "abc"
    }
    names = [*WORDS, *(" ".join(generator.choices(WORDS, k=2)) for _ in range(40)), "nobody"]
    names = list(dict.fromkeys(names))
    for shard, captions in shards.items():
        catalogue.load(shard, *captions)
    catalogue.store("artists", *names)

    report = refresh_entity_counts(catalogue.database, ["artists"])

    expected = count_with_fts5([c for captions in shards.values() for c in captions], names)
    assert catalogue.counts() == [("artists", name, expected[name]) for name in names]
    assert report.scanned_captions == 600
    assert report.reused_pairs == 0


def test_a_rejected_row_is_not_counted(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "fox", urls=["https://a.example/", "nowhere"])
    catalogue.store("artists", "fox")

    refresh_entity_counts(catalogue.database, ["artists"])

    assert catalogue.counts() == [("artists", "fox", 1)]


@IN_BOTH_PLACES
def test_kinds_are_in_their_order_and_names_in_that_of_their_sheet(catalogue: Catalogue) -> None:
    catalogue.load("s", "zebra", "ape", "zebra")
    catalogue.store("characters", "zebra", "Ape", "mole")
    catalogue.store("artists", "mole", "zebra")

    refresh_entity_counts(catalogue.database, ["characters", "artists"])

    assert catalogue.counts() == [
        ("artists", "mole", 0),
        ("artists", "zebra", 2),
        ("characters", "zebra", 2),
        ("characters", "Ape", 1),
        ("characters", "mole", 0),
    ]


def test_the_same_phrase_in_two_kinds_is_counted_for_both_and_scanned_once(
    catalogue: Catalogue,
) -> None:
    catalogue.load("s", "Émile Zola", "emile zola!", "zola")
    catalogue.store("artists", "Emile Zola", "EMILE  ZOLA")
    catalogue.store("characters", "Émile-Zola")

    report = refresh_entity_counts(catalogue.database, ["artists", "characters"])

    assert [count for *_, count in catalogue.counts()] == [2, 2, 2]
    # "zola" has not the longest word of the phrase, and is ASCII.
    assert (report.scanned_captions, report.counted_pairs) == (2, 1)


@pytest.mark.exhaustive
def test_a_second_refresh_scans_nothing_and_gives_the_same(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "hen")
    catalogue.load("b", "fox")
    catalogue.store("artists", "fox", "hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    counts = catalogue.counts()

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (0, 0, 4)
    assert catalogue.counts() == counts == [("artists", "fox", 2), ("artists", "hen", 1)]


@pytest.mark.exhaustive
def test_a_new_name_is_counted_alone_in_all_shards(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "hen")
    catalogue.load("b", "fox hen", "ape", "hen")
    catalogue.store("artists", "fox")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.store("artists", "hen", "fox")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (3, 2, 2)
    assert catalogue.counts() == [("artists", "hen", 3), ("artists", "fox", 2)]


@pytest.mark.exhaustive
def test_a_new_shard_is_scanned_alone(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "hen")
    catalogue.store("artists", "fox", "hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.load("b", "fox", "fox", "fox")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (3, 2, 2)
    assert catalogue.counts() == [("artists", "fox", 4), ("artists", "hen", 1)]


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_a_replaced_shard_is_rescanned_alone(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "hen")
    catalogue.load("b", "fox", "ape", "ape")
    catalogue.store("artists", "fox", "hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.load("a", "hen", "hen", None, "hen fox", "ape")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    # "ape" cannot match; of the other shard, nothing is read.
    assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (3, 2, 2)
    assert catalogue.counts() == [("artists", "fox", 2), ("artists", "hen", 3)]


@pytest.mark.exhaustive
def test_a_removed_name_disappears_and_returns_without_a_scan(catalogue: Catalogue) -> None:
    catalogue.load("s", "fox", "hen fox")
    catalogue.store("artists", "fox", "hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    before = catalogue.counts()
    catalogue.store("artists", "hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    assert catalogue.counts() == [("artists", "hen", 1)]
    catalogue.store("artists", "fox", "hen")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs) == (0, 0)
    assert catalogue.counts() == before


@pytest.mark.exhaustive
def test_a_name_that_returns_in_another_kind_and_spelling_costs_nothing(
    catalogue: Catalogue,
) -> None:
    catalogue.load("s", "Émile Zola", "zola")
    catalogue.store("artists", "Émile Zola", "fox")
    catalogue.store("characters", "fox")
    refresh_entity_counts(catalogue.database, ["artists", "characters"])
    catalogue.store("artists", "fox")
    refresh_entity_counts(catalogue.database, ["artists", "characters"])
    catalogue.store("characters", "EMILE-ZOLA")

    report = refresh_entity_counts(catalogue.database, ["artists", "characters"])

    assert (report.scanned_captions, report.counted_pairs) == (0, 0)
    assert catalogue.counts() == [("artists", "fox", 0), ("characters", "EMILE-ZOLA", 1)]


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_a_name_that_returns_is_counted_for_what_was_loaded_meanwhile_alone(
    catalogue: Catalogue,
) -> None:
    catalogue.load("a", "fox", "fox")
    catalogue.store("artists", "fox", "hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.store("artists", "hen")
    catalogue.load("b", "fox")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.store("artists", "hen", "fox")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs) == (1, 1)
    assert catalogue.counts() == [("artists", "hen", 0), ("artists", "fox", 3)]


@pytest.mark.exhaustive
def test_nothing_changed_means_nothing_counted_however_often(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "Émile")
    catalogue.store("artists", *(f"fox {n}" for n in range(30)), "fox")
    refresh_entity_counts(catalogue.database, ["artists"])
    noted = catalogue.read("FROM refreshes")
    counts = catalogue.counts()

    for _ in range(3):
        report = refresh_entity_counts(catalogue.database, ["artists"])
        assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (0, 0, 31)

    assert catalogue.read("FROM refreshes") == noted
    assert catalogue.counts() == counts


def test_the_same_sheet_stored_again_and_domains_counted_change_nothing(
    catalogue: Catalogue,
) -> None:
    catalogue.load("a", "fox")
    catalogue.store("artists", "fox")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.store("artists", "fox")
    refresh_domain_counts(catalogue.database)

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (0, 0, 1)
    assert catalogue.counts() == [("artists", "fox", 1)]


@IN_BOTH_PLACES
def test_the_order_of_a_sheet_changes_without_a_scan(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "hen")
    catalogue.store("artists", "fox", "hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.store("artists", "hen", "fox")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs) == (0, 0)
    assert catalogue.counts() == [("artists", "hen", 1), ("artists", "fox", 1)]


@IN_BOTH_PLACES
def test_a_kind_without_a_table_is_named_and_the_counts_stay(catalogue: Catalogue) -> None:
    catalogue.load("s", "fox")
    catalogue.store("artists", "fox")
    refresh_entity_counts(catalogue.database, ["artists"])

    with pytest.raises(StaleTableError) as refusal:
        refresh_entity_counts(catalogue.database, ["artists", "brands"])

    assert str(refusal.value) == "no table of brands yet; materialize `brands` first"
    assert catalogue.counts() == [("artists", "fox", 1)]


def read_captions(catalogue: Catalogue, statement: str, **parameters: str) -> list[pa.RecordBatch]:
    query = load_sql(statement)
    with catalogue.database.read() as connection:
        ((shard, load_id),) = connection.execute("SELECT shard, load_id FROM shards").fetchall()
        values = {"shard": shard, "load_id": load_id, **parameters}
        with stream(connection, query, values, batch_rows=64) as reader:
            return list(reader)


def make_captions(generator: random.Random, count: int) -> list[str]:
    """Returns captions of which half are ASCII, with words next to and inside one another."""
    plain = [w for w in WORDS_AROUND if w.isascii()]
    captions = []
    for _ in range(count):
        words = plain if generator.random() < 0.5 else WORDS_AROUND
        chosen = generator.choices(words, k=generator.randint(1, 6))
        captions.append("x" + "".join(w + generator.choice(GLUE) for w in chosen))
    return captions


WORDS_AROUND = (
    *WORDS,
    *("vincents", "VINCENT", "evan", "gogh", "GÓGH", "emile", "e\u0301mile", "İ", "ß", "ſ", "ﬁ"),
    *("北斎", "がが", "か\u3099", "한글", "مُحَمَّد", "हिन्दी", "Ⅻ", "Ａ", "7", "\u212a", "k", "❤️"),
)
GLUE = (
    " ",
    " ",
    " ",
    "-",
    "'",
    "’",
    '"',
    "_",
    ".",
    "\0",
    "\n",
    "\r\n",
    "\u00a0",
    "・",
    "\u00ad",
    "",
)
ASCII_NAMES = ("Vincent van Gogh", "van", "a", "fox-a", "nobody", "7", "k", "cafe CAFE", "Gogh")
OTHER_NAMES = ("葛飾", "葛飾 北斎", "İ", "ß", "🦊", "한글", "がが", "Ⅻ", "مُحَمَّد", "हिन्दी")
MIXED_NAMES = (
    "Émile Zola",
    "vincent 葛飾",
    "café 🦊",
    "van ß",
    "É",
    "ﬁ a",
    "fox",
    "葛飾 a",
    "GÓGH",
)


@pytest.mark.parametrize(
    "names",
    [ASCII_NAMES, OTHER_NAMES, MIXED_NAMES, ("nobody at all",), ("a", "葛飾")],
    ids=["ASCII", "other", "mixed", "no match", "short"],
)
def test_a_filtered_scan_counts_as_a_full_one_and_as_fts5(
    catalogue: Catalogue, names: Sequence[str]
) -> None:
    captions = make_captions(random.Random(17), 600)  # noqa: S311
    catalogue.load("s", *captions)
    folding = Folding()
    phrases = sorted({folding.phrase(name) for name in names})
    likely = caption_filter(phrases)
    assert likely is not None

    full = read_captions(catalogue, "counts/select_captions")
    filtered = read_captions(catalogue, "counts/select_likely_captions", filter=likely)

    counts = count_phrases(filtered, phrases, Folding())
    assert counts == count_phrases(full, phrases, Folding())
    expected = count_with_fts5(captions, names)
    assert {name: counts[folding.phrase(name)] for name in names} == expected
    assert (max(expected.values()) > 10) == (names != ("nobody at all",))
    assert sum(batch.num_rows for batch in full) == len(captions)
    assert sum(batch.num_rows for batch in filtered) < len(captions)


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_many_names_are_scanned_for_in_all_captions_few_in_the_likely_ones(
    catalogue: Catalogue,
) -> None:
    captions = make_captions(random.Random(23), 400)  # noqa: S311
    catalogue.load("s", *captions)
    many = list(dict.fromkeys((*ASCII_NAMES, *OTHER_NAMES, *MIXED_NAMES)))
    few = ["zola", "vincents"]
    catalogue.store("artists", *many)
    first = refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.store("artists", *many, *few)

    second = refresh_entity_counts(catalogue.database, ["artists"])

    expected = count_with_fts5(captions, [*many, *few])
    assert catalogue.counts() == [("artists", name, expected[name]) for name in [*many, *few]]
    assert first.scanned_captions == len(captions)
    likely = [c for c in captions if not c.isascii() or any(w in c.lower() for w in few)]
    assert second.scanned_captions == len(likely) < len(captions)
    assert second.counted_pairs == 2


@pytest.mark.parametrize(
    ("count", "is_filtered"), [(1, True), (20, True), (21, False)], ids=["1", "20", "21"]
)
def test_up_to_twenty_phrases_are_looked_for_with_a_filter(
    catalogue: Catalogue, count: int, *, is_filtered: bool
) -> None:
    catalogue.load("s", "fox 3", "FOX", "Émile", "hen")
    catalogue.store("artists", *(f"fox {n}" for n in range(3, 3 + count)))

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert report.scanned_captions == (3 if is_filtered else 4)
    assert catalogue.counts()[0] == ("artists", "fox 3", 1)


@pytest.mark.exhaustive
def test_a_kind_that_is_left_out_disappears(catalogue: Catalogue) -> None:
    catalogue.load("s", "fox")
    catalogue.store("artists", "fox")
    catalogue.store("characters", "fox")
    refresh_entity_counts(catalogue.database, ["artists", "characters"])

    refresh_entity_counts(catalogue.database, ["characters"])

    assert catalogue.counts() == [("characters", "fox", 1)]


def test_a_name_without_any_word_counts_0(catalogue: Catalogue) -> None:
    catalogue.load("s", "🎨", "- -", "fox")
    catalogue.store("artists", "🎨", "…", "fox")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert catalogue.counts() == [("artists", "🎨", 0), ("artists", "…", 0), ("artists", "fox", 1)]
    assert report.counted_pairs == 1


@IN_BOTH_PLACES
def test_no_shard_counts_0_for_every_name(catalogue: Catalogue) -> None:
    catalogue.store("artists", "fox")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert report.scanned_captions == 0
    assert catalogue.counts() == [("artists", "fox", 0)]


def test_no_kind_leaves_no_count(catalogue: Catalogue) -> None:
    catalogue.load("s", "fox")

    refresh_entity_counts(catalogue.database, [])

    assert catalogue.counts() == []


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_a_shard_without_images_is_counted_once_too(catalogue: Catalogue) -> None:
    catalogue.load("s", None, "")
    catalogue.store("artists", "fox")

    first = refresh_entity_counts(catalogue.database, ["artists"])
    second = refresh_entity_counts(catalogue.database, ["artists"])

    assert (first.counted_pairs, second.counted_pairs) == (1, 0)
    assert catalogue.counts() == [("artists", "fox", 0)]


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_domain_counts_are_the_images_of_each_domain_the_largest_first(
    catalogue: Catalogue,
) -> None:
    hosts = ["b.example", "a.example", "c.example", "a.example", "xn--a.example", "b.example"]
    urls = [f"https://{host}/{i}" for i, host in enumerate([*hosts, "a.example", "c.example"])]
    catalogue.load("s", *["text"] * 4, urls=urls[:4])
    catalogue.load("t", *["text"] * 5, urls=[*urls[4:], "nowhere"])

    refresh_domain_counts(catalogue.database)
    refresh_domain_counts(catalogue.database)

    expected = Counter(url.split("/")[2] for url in urls)
    assert catalogue.read("SELECT domain, image_count FROM domain_counts") == sorted(
        expected.items(), key=lambda item: (-item[1], item[0])
    )


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_a_replaced_shard_changes_the_domain_counts(catalogue: Catalogue) -> None:
    catalogue.load("s", "text", urls=["https://old.example/"])
    refresh_domain_counts(catalogue.database)
    catalogue.load("s", "text", urls=["https://new.example/"])

    refresh_domain_counts(catalogue.database)

    assert catalogue.read("SELECT * FROM domain_counts") == [("new.example", 1)]


@IN_BOTH_PLACES
def test_the_domains_of_a_shard_are_counted_as_it_is_loaded(catalogue: Catalogue) -> None:
    query = "SELECT * FROM shard_domains ORDER BY ALL"
    catalogue.load("s", "1", "2", "3", urls=["https://x.a.org/1", "https://b.org/", "//x.a.org/2"])
    of_s = [("s", "b.org", "b.org", 1), ("s", "x.a.org", "a.org", 2)]
    assert catalogue.read(query) == of_s

    catalogue.load("t", "1", None, urls=["https://b.org/", "https://c.org/"])
    assert catalogue.read(query) == [*of_s, ("t", "b.org", "b.org", 1)]

    catalogue.load("s", "1", urls=["https://c.org/"])
    assert catalogue.read(query) == [("s", "c.org", "c.org", 1), ("t", "b.org", "b.org", 1)]


@IN_BOTH_PLACES
def test_shards_that_an_older_version_loaded_are_counted_by_a_refresh(catalogue: Catalogue) -> None:
    for shard in ("s", "t", "u"):
        catalogue.load(shard, "1", "2", urls=["https://x.a.org/", f"https://{shard}.a.org/"])
    catalogue.load("without images", None)
    query = "SELECT * FROM shard_domains ORDER BY ALL"
    loaded = catalogue.read(query)
    with catalogue.database.write("shard_domains", shards=["s", "t"]) as connection:
        connection.execute("DELETE FROM shard_domains WHERE shard IN ('s', 't')")

    refresh_site_counts(catalogue.database)

    assert catalogue.read("SELECT * FROM site_counts") == [("a.org", 6, 4)]
    assert catalogue.read(query) == loaded


@IN_BOTH_PLACES
def test_the_names_of_a_shard_can_be_counted_before_a_refresh(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "hen")
    count_names_of_shard(catalogue.database, "a")
    assert catalogue.read("SELECT * FROM caption_matches") == []
    catalogue.store("artists", "Fox", "Hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.load("a", "a fox", "fox")
    catalogue.load("b", "a hen")

    count_names_of_shard(catalogue.database, "a")
    count_names_of_shard(catalogue.database, "a")

    query = "SELECT * FROM caption_matches ORDER BY ALL"
    assert catalogue.read(query) == [("a", "fox", 2), ("a", "hen", 0)]
    assert catalogue.counts() == [("artists", "Fox", 1), ("artists", "Hen", 1)]
    report = refresh_entity_counts(catalogue.database, ["artists"])
    assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (1, 2, 2)
    assert catalogue.counts() == [("artists", "Fox", 2), ("artists", "Hen", 1)]


def test_what_was_counted_is_kept_every_so_many_shards(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends a refresh of many shards loses the last few alone."""
    monkeypatch.setattr(refresh, "KEPT_SHARDS", 2)
    shards = "abcde"
    for shard in shards:
        catalogue.load(shard, "fox", shard)
    catalogue.store("artists", "fox")
    counted: list[str] = []

    def count_until_the_last(
        database: Database, folding: Folding, gap: refresh.Gap
    ) -> refresh.CountedGap:
        if gap.shard == shards[-1]:
            raise KeyboardInterrupt
        counted.append(gap.shard)
        return count_gap(database, folding, gap)

    count_gap = refresh._count_gap
    monkeypatch.setattr(refresh, "_count_gap", count_until_the_last)
    with pytest.raises(KeyboardInterrupt):
        refresh_entity_counts(catalogue.database, ["artists"])
    monkeypatch.setattr(refresh, "_count_gap", count_gap)

    assert counted == [*shards[:-1]]
    assert catalogue.counts() == []
    report = refresh_entity_counts(catalogue.database, ["artists"])
    assert (report.counted_pairs, report.reused_pairs) == (1, 4)
    assert catalogue.counts() == [("artists", "fox", 5)]


def test_no_image_leaves_no_domain(catalogue: Catalogue) -> None:
    refresh_domain_counts(catalogue.database)

    assert catalogue.read("SELECT * FROM domain_counts") == []


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_a_refresh_notes_the_shards_it_tells_of(catalogue: Catalogue) -> None:
    query = "SELECT table_name, snapshot FROM refreshes ORDER BY table_name"
    catalogue.load("s", "fox")
    catalogue.store("artists", "fox")
    refresh_domain_counts(catalogue.database)
    refresh_entity_counts(catalogue.database, ["artists"])
    (domains, names) = catalogue.read(query)
    assert (domains[0], names[0], domains[1]) == ("domain_counts", "entity_counts", names[1])
    catalogue.load("s", "fox")

    refresh_entity_counts(catalogue.database, ["artists"])

    after = catalogue.read(query)
    assert after[0] == domains
    assert after[1] != names
