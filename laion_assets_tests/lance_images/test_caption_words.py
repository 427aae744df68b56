"""Lance finds what SQLite FTS5 finds, whatever characters a caption has."""

import sqlite3
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from lance.query import FullTextOperator, MatchQuery

from laion_assets.counts.captions import Folding
from laion_assets.lance_images.caption_words import CaptionWords, escape_words
from laion_assets.lance_images.indices import CAPTION_INDEX
from laion_assets.names.sheets import read_sheet
from laion_assets.search.search import CaptionSearch, open_search
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import copy, ingest, refresh

pytestmark = pytest.mark.slow

# What Unicode has given a meaning, and parts of the rest and of the largest block.
RANGES = (
    (0, 0xD800),
    (0xE000, 0x20100),
    (0x2A600, 0x2A800),
    (0xE0000, 0xE01F0),
    (0x10FFF0, 0x110000),
)
CHARACTERS = [chr(code) for first, end in RANGES for code in range(first, end)]


@pytest.fixture(scope="module")
def folded() -> dict[str, str]:
    """What FTS5 makes of each character."""
    return dict(zip(CHARACTERS, Folding().fold_each("".join(CHARACTERS)), strict=True))


def index(path: Path, captions: Sequence[str]) -> lance.LanceDataset:
    lance.write_dataset(pa.table({"caption": captions}), path).create_scalar_index(
        "caption", "INVERTED", "caption_idx", **CAPTION_INDEX
    )
    return lance.dataset(path)


def frame(character: str, folded: str) -> str:
    """The character within a word that no other character stands in."""
    return f"q{ord(character):x}x{folded}x{ord(character):x}q"


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.exhaustive), 32])
def test_lance_reads_every_character_that_it_is_trusted_with_as_fts5_does(
    folded: dict[str, str], tmp_path: Path, step: int
) -> None:
    words = CaptionWords().write(pa.array(CHARACTERS)).to_pylist()
    every = [c for c, other in zip(CHARACTERS, words, strict=True) if other is None]
    trusted = every[::step]
    rows = [trusted[start : start + 100] for start in range(0, len(trusted), 100)]
    images = index(tmp_path / "i", [" ".join(frame(c, c) for c in row) for row in rows])

    missed = []
    for number, row in enumerate(rows):
        expected = " ".join(frame(c, folded[c]) for c in row)
        query = MatchQuery(expected, "caption", operator=FullTextOperator.AND)
        found = images.scanner(columns=["_score"], full_text_query=query, with_row_id=True)
        if found.to_table()["_rowid"].to_pylist() != [number]:
            missed.append(row)

    assert missed == []
    assert len(every) > 50_000


@pytest.mark.exhaustive
def test_words_that_fts5_tells_apart_are_apart_in_lance(
    folded: dict[str, str], tmp_path: Path
) -> None:
    words = sorted({escape_words(word) for word in folded.values() if word.strip()})
    images = index(tmp_path / "i", words)

    (statistics,) = images.stats.index_stats("caption_idx")["indices"]

    assert len(words) == len({word for word in folded.values() if word.strip()})
    assert statistics["num_tokens"] == len(words)


def ask_fts5(captions: Sequence[str], phrases: Sequence[str]) -> list[int]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE captions USING fts5(caption)")
    connection.executemany("INSERT INTO captions VALUES (?)", [(c,) for c in captions])
    query = "SELECT count(*) FROM captions WHERE captions MATCH ?"
    return [connection.execute(query, (f'"{p}"',)).fetchone()[0] for p in phrases]


@pytest.mark.exhaustive
def test_a_name_has_as_many_hits_as_its_count(settings: Settings) -> None:
    sheets = settings.sheets.items()
    names = [row[0].replace('"', " ") for kind, at in sheets for row in read_sheet(kind, at).rows]
    asked = [n for place, n in enumerate(names) if not n.isascii() or place % 20 == 0]
    captions = [f"{way} by {other}" for name, other in pairwise(asked) for way in write(name)]
    ingest(settings, "names", *captions)
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))

    found = [search.find(f'"{name}"').total for name in asked]

    assert found == ask_fts5(captions, asked)


def write(name: str) -> set[str]:
    """A name as captions have it."""
    forms = {form(name) for form in (str, str.upper, str.swapcase)}
    marks = {unicodedata.normalize(form, name) for form in ("NFC", "NFD", "NFKC")}
    return {
        *forms,
        *marks,
        name.replace("ss", "ß").replace("i", "İ"),
        name.replace("a", "\u0101\u0301"),
    }


CAPTIONS = [
    "İstanbul'da bir gün",
    "istanbul at night",
    "ISTANBUL, 1/2",
    "Große Straße",
    "GROSSE STRASSE",
    "smørrebrød",
    "a 🥰 face",
    "a 😀 face",
    "a face",
    "ﬁsh & chips",
    "fish & chips",
    "cafe\u0301 noir",
    "Café noir",
    "cafe noir",
    "Nguyễn Văn",
    "nguyen van",
    "हिन्दी भाषा",
    "th\u0e34ai ที่นี่",
    "²",
    "2",
    "Ⅻ",
    "ⓐ b",
    "𝐛old",
    "\ua000df\ua000",
    "\ua000",
    "ß",
    "Ａ",
    "a\u200db",
]


@pytest.mark.exhaustive
def test_captions_of_all_sorts_are_found_as_fts5_finds_them(settings: Settings) -> None:
    ingest(settings, "sorts", *CAPTIONS)
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))
    queries = sorted({word for caption in CAPTIONS for word in (*caption.split(), caption)})

    found = {query: search.find(f'"{query}"').total for query in queries}

    assert found == dict(zip(queries, ask_fts5(CAPTIONS, queries), strict=True))
    assert found["istanbul"] == search.find("İSTANBUL").total == 3


@pytest.mark.exhaustive
def test_the_best_are_those_that_fit(settings: Settings) -> None:
    """Of what Lance takes for the word, most are other words."""
    ingest(settings, "streets", *(["straße " * 3] * 40), *(["a strasse"] * 5), "ein Straßenname")
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))

    def find(query: str) -> tuple[int, set[str]]:
        answer = search.find(query, limit=4)
        return answer.total, {hit["caption"] for hit in answer.hits}

    assert find("strasse") == (5, {"a strasse"})
    assert find("straße") == (40, {"straße " * 3})


@pytest.mark.exhaustive
def test_a_table_of_an_older_version_gets_the_words(settings: Settings) -> None:
    ingest(settings, "old", "İstanbul", "istanbul", "Straße")
    store = LanceStore(settings.lance_dir)
    store.open("images").drop_columns(["caption_words"])
    old = store.find("images")
    assert old is not None
    before = CaptionSearch(old, None).find("istanbul").total

    refresh(settings)
    released = open_search(LanceStore(settings.lance_dir)).find("istanbul").total
    ingest(settings, "new", "İstanbul")
    copy(settings, "old")
    refresh(settings)

    assert (
        before,
        released,
        open_search(LanceStore(settings.lance_dir)).find("istanbul").total,
    ) == (1, 2, 3)
