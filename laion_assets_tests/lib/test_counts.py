import random
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from laion_assets.lib.counts import refresh_domain_counts, refresh_entity_counts
from laion_assets.lib.database import Database
from laion_assets.lib.images import load_shard
from laion_assets.lib.raw_shard import fetch_shard, raw_path
from laion_assets.lib.sheets import parse_sheet, store_sheet
from laion_assets.settings import Settings
from laion_assets_tests.conftest import WriteShard

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
        raw = fetch_shard(shard, source, self._settings.raw_dir)
        with self.database.write() as connection:
            load_shard(connection, raw, raw_path(self._settings.raw_dir, shard), "run")

    def store(self, kind: str, *names: str) -> None:
        lines = ("name", *(f'"{name}"' for name in names))
        with self.database.write() as connection:
            store_sheet(connection, parse_sheet(kind, kind, "\n".join(lines).encode()))

    def read(self, query: str) -> list[Row]:
        with self.database.read() as connection:
            return connection.execute(query).fetchall()

    def counts(self) -> list[Row]:
        return self.read("SELECT kind, name, image_count FROM entity_counts ORDER BY rowid")


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
    assert (report.scanned_captions, report.counted_pairs) == (3, 1)


def test_a_second_refresh_scans_nothing_and_gives_the_same(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "hen")
    catalogue.load("b", "fox")
    catalogue.store("artists", "fox", "hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    counts = catalogue.counts()

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (0, 0, 4)
    assert catalogue.counts() == counts == [("artists", "fox", 2), ("artists", "hen", 1)]


def test_a_new_name_scans_all_shards_for_it_alone(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "hen")
    catalogue.load("b", "fox hen", "ape", "hen")
    catalogue.store("artists", "fox")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.store("artists", "hen", "fox")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (5, 2, 2)
    assert catalogue.counts() == [("artists", "hen", 3), ("artists", "fox", 2)]


def test_a_new_shard_is_scanned_alone(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "hen")
    catalogue.store("artists", "fox", "hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.load("b", "fox", "fox", "fox")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (3, 2, 2)
    assert catalogue.counts() == [("artists", "fox", 4), ("artists", "hen", 1)]


def test_a_replaced_shard_is_rescanned_alone(catalogue: Catalogue) -> None:
    catalogue.load("a", "fox", "hen")
    catalogue.load("b", "fox", "ape", "ape")
    catalogue.store("artists", "fox", "hen")
    refresh_entity_counts(catalogue.database, ["artists"])
    catalogue.load("a", "hen", "hen", None, "hen fox", "ape")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert (report.scanned_captions, report.counted_pairs, report.reused_pairs) == (4, 2, 2)
    assert catalogue.counts() == [("artists", "fox", 2), ("artists", "hen", 3)]


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

    assert report.scanned_captions == 0
    assert catalogue.counts() == before


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


def test_no_shard_counts_0_for_every_name(catalogue: Catalogue) -> None:
    catalogue.store("artists", "fox")

    report = refresh_entity_counts(catalogue.database, ["artists"])

    assert report.scanned_captions == 0
    assert catalogue.counts() == [("artists", "fox", 0)]


def test_no_kind_leaves_no_count(catalogue: Catalogue) -> None:
    catalogue.load("s", "fox")

    refresh_entity_counts(catalogue.database, [])

    assert catalogue.counts() == []


def test_a_shard_without_images_is_counted_once_too(catalogue: Catalogue) -> None:
    catalogue.load("s", None, "")
    catalogue.store("artists", "fox")

    first = refresh_entity_counts(catalogue.database, ["artists"])
    second = refresh_entity_counts(catalogue.database, ["artists"])

    assert (first.counted_pairs, second.counted_pairs) == (1, 0)
    assert catalogue.counts() == [("artists", "fox", 0)]


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
    assert catalogue.read("SELECT domain, image_count FROM domain_counts ORDER BY rowid") == sorted(
        expected.items(), key=lambda item: (-item[1], item[0])
    )


def test_a_replaced_shard_changes_the_domain_counts(catalogue: Catalogue) -> None:
    catalogue.load("s", "text", urls=["https://old.example/"])
    refresh_domain_counts(catalogue.database)
    catalogue.load("s", "text", urls=["https://new.example/"])

    refresh_domain_counts(catalogue.database)

    assert catalogue.read("SELECT * FROM domain_counts") == [("new.example", 1)]


def test_no_image_leaves_no_domain(catalogue: Catalogue) -> None:
    refresh_domain_counts(catalogue.database)

    assert catalogue.read("SELECT * FROM domain_counts") == []


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
