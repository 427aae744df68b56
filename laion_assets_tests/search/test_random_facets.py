"""Facets and the filters that they lead to, for random searches, compared with SQL over DuckDB."""

import random
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pytest

from laion_assets.search.facets import EDGES, MAX_VALUES, TEXTS, Facet, FacetValue
from laion_assets.search.filter import SCORES, SIZES, Bounds, SearchFilter
from laion_assets.settings import Settings
from laion_assets_tests.pipeline import bring, refresh
from laion_assets_tests.search.both import Both, open_both

pytestmark = pytest.mark.slow

ROWS = 800
WORDS = ("fox", "red", "lemur", "dress", "owl", "rare")
SITES = tuple(f"{chr(97 + n)}.test" for n in range(14))
HOSTS = (*(f"{part}{site}" for site in SITES for part in ("", "www.", "i.")), "a.co.uk")
LABELS = {
    "license": ("CC BY", "cc by", "it's ours", "", "  ", None),
    "nsfw": ("UNLIKELY", "UNSURE", "NSFW", None),
    "language": ("en", "de", "ja", "pt", "fr", "es", "nl", "ru", "pl", "it", None),
}
HIDDEN = "coalesce(punsafe > 0.5::FLOAT, nsfw IN ('NSFW', 'UNSURE'), FALSE)"
SHORT_SIDE = "CASE WHEN width IS NOT NULL AND height IS NOT NULL THEN least(width, height) END"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    settings = Settings.default(tmp_path_factory.mktemp("facets"))
    chance = random.Random(11)  # noqa: S311
    for shard in ("alpha", "beta", "gamma"):
        bring(settings, shard, make_rows(chance, has_scores=shard != "gamma"))
    refresh(settings)
    with open_both(settings) as opened:
        yield opened


def make_rows(chance: random.Random, *, has_scores: bool) -> pa.Table:
    """Random captions, hosts, labels and scores, with ties, edges of bars and missing values."""

    def some(highest: int, divisor: float, kind: pa.DataType) -> pa.Array:
        numbers = [chance.randint(0, highest) / divisor for _ in range(ROWS)]
        return pa.array(n if chance.random() > 0.1 else None for n in numbers).cast(kind)

    columns = {
        "url": [f"https://{chance.choice(HOSTS)}/{row}" for row in range(ROWS)],
        "caption": [
            " ".join(chance.choices(WORDS, (9, 8, 6, 4, 2, 0.1), k=chance.randint(1, 4)))
            for _ in range(ROWS)
        ],
        "width": some(15, 1 / 100, pa.int32()),
        "height": some(1_500, 1, pa.int32()),
        "similarity": some(60, 100, pa.float32()),
        **{name: chance.choices(texts, k=ROWS) for name, texts in LABELS.items()},
    }
    if has_scores:
        columns["aesthetic"] = some(110, 10, pa.float32())
        columns["punsafe"] = some(10, 10, pa.float32())
        columns["pwatermark"] = some(1_000, 1_000, pa.float32())
    return pa.table(columns)


def choose(chance: random.Random) -> tuple[str | None, SearchFilter, str]:
    """A word or none, a filter, and both as a condition of SQL."""
    word = chance.choice((*WORDS, None))
    conditions = ["TRUE"] if word is None else [f"list_contains(caption.split(' '), '{word}')"]
    only: dict[str, object] = {}

    def maybe(name: str, value: object, condition: str) -> None:
        if chance.random() < 0.15:
            only[name] = value
            conditions.append(condition)

    site, host = chance.choice(SITES), chance.choice(HOSTS)
    maybe("site", site, f"registered_domain = '{site}'")
    maybe("domain", host.upper(), f"domain = '{host}'")
    maybe("shard", "gamma", "shard = 'gamma'")
    for name, texts in LABELS.items():
        text = chance.choice([t for t in texts if t and t.strip()])
        maybe(name, text, f"{name} = '{text.replace(chr(39), chr(39) * 2)}'")
    size = chance.choice(list(SIZES))
    maybe("size", size, f"({write_size()}) = '{size}'")
    for name in SCORES:
        bounds = Bounds.read(chance.choice(list(map(str, list_bounds(name)))))
        maybe(name, bounds, write_bounds(name, bounds))
    maybe("min_width", 300, "width >= 300")
    maybe("hide_punsafe_above", 0.5, "TRUE")
    return word, SearchFilter(**only), " AND ".join(conditions)  # type: ignore[arg-type]


def list_bounds(name: str) -> list[Bounds]:
    edges = EDGES[name]
    return [Bounds(*ends) for ends in zip((None, *edges), (*edges, None), strict=True)]


def write_bounds(name: str, bounds: Bounds) -> str:
    at_least, below = bounds.at_least, bounds.below
    first = f"{name} >= {at_least}::FLOAT" if at_least is not None else f"{name} IS NOT NULL"
    return f"({first} AND {name} < {below}::FLOAT)" if below is not None else f"({first})"


def write_size() -> str:
    starts = [(name, at_least or 0) for name, (at_least, _) in SIZES.items()]
    classes = "".join(
        f" WHEN {SHORT_SIDE} >= {start} THEN '{name}'" for name, start in reversed(starts)
    )
    return f"CASE{classes} END"


def count(both: Both, value: str, condition: str) -> tuple[Counter[str], int]:
    """Returns how many rows have each value, and how many none."""
    found = both.sql.execute(
        f"SELECT {value} AS value, count(*) FROM images WHERE {condition} GROUP BY 1"
    ).fetchall()
    counts = Counter({text: number for text, number in found if text is not None})
    return counts, sum(number for text, number in found if text is None)


def expect(both: Both, condition: str) -> dict[str, Facet]:
    """Returns the facets by SQL."""
    expected = {}
    for name, column in TEXTS.items():
        counts, missing = count(both, column, condition)
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_VALUES]
        others = counts.total() - sum(number for _, number in ordered)
        values = tuple(FacetValue(*pair) for pair in ordered)
        expected[name] = Facet(name, values, len(counts) - len(values), others, missing)
    counts, missing = count(both, write_size(), condition)
    expected["size"] = list_all("size", {s: counts[s] for s in SIZES if counts[s]}, missing)
    for name in SCORES:
        found = {
            str(bounds): both.sql.execute(
                f"SELECT count(*) FROM images WHERE {condition} AND {write_bounds(name, bounds)}"
            ).fetchall()[0][0]
            for bounds in list_bounds(name)
        }
        _, missing = count(both, f"{name} * 0", condition)
        is_any = sum(found.values())
        expected[name] = list_all(name, found if is_any else {}, missing)
    return {name: facet for name, facet in expected.items() if facet.values}


def list_all(name: str, counts: dict[str, int], missing: int) -> Facet:
    values = tuple(FacetValue(*pair) for pair in counts.items())
    return Facet(name, values, 0, 0, missing, is_range=name in SCORES)


@pytest.mark.parametrize(
    "seed",
    [*range(20), *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(20, 60))],
)
def test_facets_and_filters_are_what_sql_says(both: Both, seed: int) -> None:
    word, only, condition = choose(random.Random(seed))  # noqa: S311
    total = count(both, "1", condition)[0].total()
    shown = f"{condition} AND NOT {HIDDEN}" if only.hide_punsafe_above else condition
    find = both.search.browse if word is None else partial(both.search.find, word)

    answer = find(only=only, limit=0)
    counted = both.search.count_facets(word, only)

    assert answer.total == total, condition
    assert counted is not None
    assert (counted.counted, counted.is_exact) == (answer.shown, True)
    assert {facet.name: facet for facet in counted.facets} == expect(both, shown), shown
