"""The commands that read a release: search, serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laion_assets.cli.environment import load_settings
from laion_assets.cli.stopping import command
from laion_assets.stores.lance_store import LanceStore

if TYPE_CHECKING:
    from laion_assets.embeddings.encoder import Encoder
    from laion_assets.settings import Settings
    from laion_assets.web.current_release import Shelf


@command()
@click.argument("query")
@click.option("--json", "is_json", is_flag=True, help="Print a list of objects.")
def sql(query: str, is_json: bool) -> None:
    """Answers a query of the tables of DuckDB, in a file or in a bucket, as CSV.

    QUERY is SQL, such as "FROM domain_counts LIMIT 10". It sees what is committed, and changes
    nothing.
    """
    import duckdb

    from laion_assets.cli.output import print_rows
    from laion_assets.errors import LaionError, first_line
    from laion_assets.stores.database import Database
    from laion_assets.stores.rows import read_rows

    with Database.of(load_settings()).read() as connection:
        try:
            kinds = [statement.type for statement in connection.extract_statements(query)]
            if kinds != [duckdb.StatementType.SELECT]:
                raise LaionError(
                    "QUERY: is not one query that reads; write one that begins with SELECT, FROM, "
                    "WITH, DESCRIBE, SHOW or SUMMARIZE",
                    code="sql-query-writes",
                )
            rows = read_rows(connection, query, {})
        except duckdb.Error as error:
            raise LaionError(
                f"QUERY: {first_line(error)}; correct it", code="sql-query-unusable"
            ) from error
    print_rows(rows, is_json=is_json)


@command()
@click.argument("query", required=False)
@click.option(
    "--by",
    type=click.Choice(("words", "meaning", "both")),
    default="words",
    show_default=True,
    help="Look for captions with the words, rank pictures by their meaning, or join both.",
)
@click.option("--like", metavar="SHARD/ROW", help="Rank pictures by how like this one they are.")
@click.option(
    "--picture",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The same for a picture in a file.",
)
@click.option(
    "--vector",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The same for the vector in a .npy file.",
)
@click.option(
    "--aesthetic-weight",
    type=click.FloatRange(0, 1),
    default=0,
    help="Let better pictures rise in a ranking.",
)
@click.option(
    "--fold", "is_folded", is_flag=True, help="Show only the first of the images that are repeated."
)
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 1000))
@click.option("--domain", help="The whole host of the image.")
@click.option("--site", help="A registered domain with all of its hosts, *.host, or an address.")
@click.option("--shard", help="The shard that it came from.")
@click.option("--min-aesthetic", type=float, help="Aesthetic score, 0 to 10.")
@click.option("--max-punsafe", type=float, help="Probability of being unsafe, 0 to 1.")
@click.option("--min-width", type=int, help="Pixels.")
@click.option("--min-height", type=int, help="Pixels.")
@click.option("--size", help="By the shorter side: small, medium, large or huge.")
@click.option("--license", help="As the source has it.")
@click.option("--nsfw", help="Label, as the source has it.")
@click.option("--language", help="As the source has it.")
@click.option(
    "--where",
    metavar="SQL",
    help='A condition over the columns, your own among them, such as "width > 2 * height".',
)
@click.option("--aesthetic", metavar="RANGE", help="6.5..7, 6.5.. or ..7; 7 is not in it.")
@click.option("--similarity", metavar="RANGE", help="Similarity to the caption, the same way.")
@click.option("--punsafe", metavar="RANGE", help="Probability of being unsafe, the same way.")
@click.option("--pwatermark", metavar="RANGE", help="Probability of a watermark, the same way.")
@click.option(
    "--hide-unsafe",
    "is_hiding",
    is_flag=True,
    help="Hide images that are unsafe with a probability above 0.5 or, without one, are labelled "
    "NSFW or UNSURE, as the search page does.",
)
@click.option(
    "--sort",
    default="relevance",
    show_default=True,
    metavar="COLUMN",
    help="relevance, aesthetic, similarity, watermark, unsafe, width, height or area.",
)
@click.option(
    "--ascending", "is_ascending", is_flag=True, help="The lowest value first, not the highest."
)
@click.option("--count", "is_count", is_flag=True, help="Print only how many captions match.")
@click.option("--release", help="A tag; the newest release if none is named.")
@click.option("--newest", "is_newest", is_flag=True, help="Also search rows loaded after it.")
@click.option("--json", "is_json", is_flag=True, help="Print an object: total, hidden, hits, ….")
def search(
    query: str | None,
    limit: int,
    is_count: bool,
    release: str | None,
    is_newest: bool,
    is_json: bool,
    **chosen: Any,
) -> None:
    """Searches the captions of a release for all words of QUERY, or a "quoted phrase".

    QUERY may also have -word, one OR other, begin* and site:example.org. By meaning, it is a
    description of a picture; that, and --picture, need LAION_ENCODER (not for the demo's pictures).
    """
    if release and is_newest:
        raise click.UsageError("give one of --release and --newest")
    ways = {name: chosen.pop(name) for name in ("by", "like", "picture", "vector")}
    _check_ways(query, ways, is_count=is_count)
    from laion_assets.cli.output import print_answer, print_answer_json
    from laion_assets.search.filter import SCORES, Bounds, SearchFilter
    from laion_assets.search.order import SORT_COLUMNS, Order
    from laion_assets.search.safety import PUNSAFE_THRESHOLD
    from laion_assets.search.search import open_search

    order = Order(chosen.pop("sort"), chosen.pop("is_ascending"))
    if order.by not in SORT_COLUMNS:
        raise click.UsageError(f"--sort takes one of {', '.join(SORT_COLUMNS)}, not {order.by!r}")
    for name in SCORES:
        chosen[name] = None if chosen[name] is None else Bounds.read(chosen[name])
    hide_above = PUNSAFE_THRESHOLD if chosen.pop("is_hiding") else None
    settings = load_settings()
    ranked_by = _read_ways(ways)
    rules = {name: chosen.pop(name) for name in ("aesthetic_weight", "is_folded")}
    search = open_search(
        LanceStore.of(settings),
        release,
        is_newest=is_newest,
        encoder=_open_encoder(settings, release) if _needs_encoder(query, ways) else None,
    )
    answer = search.find(
        query,
        **ranked_by,
        **rules,
        only=SearchFilter(**chosen, hide_punsafe_above=hide_above),
        limit=0 if is_count else limit,
        order=order,
    )
    if answer.unscored:
        click.echo(
            f"laion: {answer.unscored:,} of the {answer.shown:,} that are shown have no score: "
            "nobody knows whether they are unsafe",
            err=True,
        )
    for note in answer.notes:
        click.echo(f"laion: {note}", err=True)
    if is_count and not is_json:
        click.echo(answer.shown)
    else:
        (print_answer_json if is_json else print_answer)(answer)


def _check_ways(query: str | None, ways: Mapping[str, Any], *, is_count: bool) -> None:
    if sum(way is not None for way in (query, ways["like"], ways["picture"], ways["vector"])) != 1:
        raise click.UsageError("give one of QUERY, --like, --picture and --vector")
    if is_count and (query is None or ways["by"] != "words"):
        raise click.UsageError("--count counts captions with the words; a ranking has no count")


def _read_ways(ways: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the search takes in place of a query."""
    from laion_assets.embeddings.npy_file import read_vector
    from laion_assets.search.wanted import read_like

    readers: Mapping[str, Callable[[Any], Any]] = {
        "like": read_like,
        "picture": Path.read_bytes,
        "vector": read_vector,
    }
    read = {name: readers[name](ways[name]) for name in readers if ways[name] is not None}
    return {"by": ways["by"], **read}


def _needs_encoder(query: str | None, ways: Mapping[str, Any]) -> bool:
    return ways["picture"] is not None or (query is not None and ways["by"] != "words")


def _open_encoder(settings: Settings, release: str | None) -> Encoder | None:
    """Returns the encoder that is set; without one the demo's, if that made the vectors."""
    from laion_assets.embeddings.encoder import find_encoder
    from laion_assets.releases.catalog import find_release, newest_release

    store = LanceStore.of(settings)
    manifest = newest_release(store) if release is None else find_release(store, release)
    digest = manifest.vectors.encoder_digest if manifest and manifest.vectors else None
    return find_encoder(settings.encoder, settings.hub_endpoint, digest)


def _open_subset(settings: Settings, subset: str) -> Shelf:
    from laion_assets.embeddings.encoder import find_encoder
    from laion_assets.subsets.subset_record import find_made
    from laion_assets.web.subset_shelf import SubsetShelf

    store = LanceStore.of(settings)
    record = find_made(store, subset)
    known = record.vectors_encoder if record else None
    encoder = find_encoder(settings.encoder, settings.hub_endpoint, known)
    return SubsetShelf(store, subset, encoder)


def _open_shelf(release: str | None, subset: str | None) -> Shelf:
    """Returns what is served; each process that serves it reads the settings itself."""
    from laion_assets.web.current_release import Shelf

    settings = load_settings()
    if subset is not None:
        return _open_subset(settings, subset)
    return Shelf(LanceStore.of(settings), release, _open_encoder(settings, release))


# Its web server heeds signals itself, and lets visitors finish.
@click.command
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--release", help="A tag; the newest release at any time if none is named.")
@click.option("--subset", help="A subset of curation.toml in place of a release.")
@click.option(
    "--public-url",
    help="Where visitors find the page, for citations; behind a proxy, such as https://example.org.",
)
@click.option(
    "--access-log", is_flag=True, help="Print each request as a line of JSON; off for privacy."
)
@click.option(
    "--requests-per-second",
    type=click.FloatRange(min=0, min_open=True),
    help="Of one address, after ten seconds' worth at once; no limit if none is given.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Processes that answer, each with the release in memory; two if none is given, "
    "or one where there is one core.",
)
def serve(  # noqa: PLR0913 - one for each option
    host: str,
    port: int,
    release: str | None,
    subset: str | None,
    public_url: str | None,
    *,
    access_log: bool,
    requests_per_second: float | None,
    workers: int | None,
) -> None:
    """Opens the search page: a release, or a subset, as web pages, JSON and CSV."""
    if release and subset:
        raise click.UsageError("give one of --release and --subset")
    from laion_assets.web.server import Service, count_workers
    from laion_assets.web.server import serve as run

    service = Service(
        host, port, public_url, access_log, requests_per_second, workers or count_workers()
    )
    run(partial(_open_shelf, release, subset), service)
