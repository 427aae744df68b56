"""Writes docs/reference/ from the code: commands, settings, assets and tables.

Run `make reference` after a change; `laion_assets_tests/test_reference.py` compares.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import click
import dagster as dg

import laion_assets
from docs.messages import find_messages
from laion_assets.cli.main import main as laion
from laion_assets.definitions import build_defs
from laion_assets.schemas import ADDED_COLUMNS, LANCE_IMAGES, TABLES, Column
from laion_assets.settings import REPOSITORY, VARIABLES, Settings

FOLDER = REPOSITORY / "docs" / "reference"
PACKAGE = Path(laion_assets.__file__).parent
HELP_WIDTH = 90
NOTE = "<!-- Written by `make reference` from the code: change the code, not this page. -->\n"

TABLE_MEANINGS = {
    "images": "The usable rows of all shards.",
    "rejected_images": "The rows that were left out, each with its reason.",
    "shards": "One row a shard: the file behind it and the load that is in the tables.",
    "shard_figures": "What shards are compared by in the checks.",
    "sheets": "One row a kind of names: the list that was read last.",
    "shard_domains": "The images of each domain in each shard, which the counts add up.",
    "caption_matches": "The count of each name for each shard, so that only new pairs are counted.",
    "refreshes": "The state of the shards and names that each table of counts describes.",
    "domain_counts": "Images of each domain. A release has this table in Lance too.",
    "site_counts": "Images and hosts of each registered domain. A release has it in Lance too.",
    "entity_counts": "Images of each name. A release has this table in Lance too.",
    "pictures": "What became of the picture of each row. The bytes are in Lance alone.",
    "shard_columns": "Each set of columns that a shard got later in Lance, and its digest.",
    "schema_version": "The version of the schema of this database.",
}

# What a materialization shows beside its asset; a test compares the names with a real run.
_EVERYWHERE = {"duration_s": "Seconds that the step took."}
_SHARD = {
    "bytes": "Size of the file.",
    "sha256": "SHA-256 of the file.",
    "source": "Where the file came from.",
}
METADATA: dict[str, dict[str, str]] = {
    "raw_shards": {
        **_SHARD,
        "dagster/partition_row_count": "Rows in the file.",
        "dagster/column_schema": "Columns of the file, and the column that each is read as.",
        "columns_not_read": "Columns that this project ignores.",
        "transferred_bytes": "Bytes downloaded by this run; 0 if nothing was.",
        "is_source_gone": "Whether no source has the file any more.",
        "fetched_at": "When the file was fetched.",
        "file": "Where the verified file is.",
    },
    "images": {
        **_SHARD,
        "dagster/partition_row_count": "Rows of the shard in `images`.",
        "rejected": "Rows in `rejected_images`.",
        "mostly_rejected_as": "The reason, if more than half of the rows were rejected for one.",
        "percent_rejected": "Share of rejected rows in the file.",
        "percent_repeated": "Share of rows whose URL and caption occur earlier in the shard.",
        "percent_non_ascii_captions": "Share of captions with a character outside ASCII.",
        "domains": "Different domains.",
        "caption_length_median": "Median length of the captions, in characters.",
        "caption_length_p05": "Length that 5 % of the captions do not exceed.",
        "caption_length_p95": "Length that 95 % of the captions do not exceed.",
        "caption_length_longest": "Length of the longest caption.",
        "top_domains": "The domains with the most images.",
        "<score>_scores": "Histogram of each score that the shard has.",
        "rejection_examples": "Examples of rejected rows.",
        "missing_values": "For each column, rows without a value.",
        "preview": "The first rows.",
        "rejected_missing_url": "Rows rejected because the URL is null or blank.",
        "rejected_invalid_url": "Rows rejected because the URL names no host.",
        "rejected_missing_caption": "Rows rejected because the caption is null or blank.",
        "rejected_removed": "Rows rejected because they are on the list of removals.",
        "repeated": "Rows whose URL and caption occur earlier in the shard.",
        "repaired": "Rows whose texts were not valid UTF-8 and were repaired.",
        "file_rows": "Rows in the file.",
    },
    "lance_images": {
        "dagster/partition_row_count": "Rows written.",
        "lance_version": "Version of the Lance table with this commit.",
        "fragments": "Fragments written.",
        "bytes": "Bytes written.",
        "sha256": "SHA-256 of the file behind the rows.",
        "own_columns": "Columns added by hand that are NULL now, and in how many rows; or none.",
    },
    "pictures": {
        "lance_version": "Version of the Lance table with this commit.",
        "bytes": "Size of the files with the new columns.",
        "made_from": "SHA-256 of the shard's file and of its archive, and the rules.",
        "dagster/partition_row_count": "Rows of the shard.",
        "pictures": "Rows with a picture.",
        "percent_with_picture": "Their share of the rows.",
        "samples": "Eight pictures from all over the shard, none that may be unsafe.",
        "statuses": "Rows and bytes by status.",
        "errors": "Examples of pictures that could not be decoded, or that the source lacks.",
    },
    "embeddings": {
        "dagster/partition_row_count": "Rows of the shard.",
        "vectors": "Rows with a vector.",
        "percent_with_vector": "Their share of the rows.",
        "without_vector_not_given": "Rows without one, as the shard has none for them.",
        "without_vector_zero": "Rows without one, as all of its numbers are 0.",
        "without_vector_not_finite": "Rows without one, as a number is missing, infinite or none.",
        "without_vector_no_picture": "Rows without one that would be computed, as they have no "
        "picture.",
        "without_vector_no_direction": "Rows without one, as the encoder cannot take the picture.",
        "encoder": "Digest of the encoder that computed vectors; `none` if all were given.",
        "lance_version": "Version of the Lance table with this commit.",
        "bytes": "Size of the files with the new column.",
        "made_from": "SHA-256 of the shard's file and of its file of vectors, the rules, the "
        "pictures that an encoder saw, and the encoder.",
    },
    "declared_columns": {
        "dagster/partition_row_count": "Rows of the shard.",
        "columns_made": "Columns that this run made; the others were as they are declared.",
        "declared": "The columns: rows with a value, what was odd, what they were made from.",
        "oddities": "What was odd about the columns that this run made, such as repeated keys.",
        "bytes": "Size of the files with these columns.",
    },
    "domain_counts": {
        "top_domains": "The domains with the most images.",
        "dagster/row_count": "Domains.",
        "images": "Images counted.",
    },
    "names": {
        "preview": "The first names.",
        "dagster/row_count": "Names.",
        "dagster/column_schema": "Columns of the list.",
        "is_changed": "Whether the list changed with this run.",
        "name_column": "Header of the column that was read as names.",
        "repeated": "Names that occur more than once in the list.",
        "repeated_names": "The first of them.",
        "without_name": "Rows without a name.",
        "spreadsheet_errors": "Rows with an error such as `#N/A` in place of a name.",
        "sha256": "SHA-256 of the list.",
        "source": "Where the list is.",
    },
    "removals": {
        "entries": "Entries of the list, each once.",
        "rows_removed": "Rows that are removed by them, or will be with the next load.",
        "shards_to_load": "Shards that still hold such rows; they are loaded again.",
        "entries_without_row": "Entries that no row matches.",
        "rows_returning": "Removed rows that are no longer on the list, and are not back "
        "yet: their shards have to be fetched anew.",
        "lines_unread": "Lines of the list that are no entry.",
        "sha256": "SHA-256 of the list.",
        "source": "Where the list is.",
        "changed_at": "When this content of the list was first read.",
        "unmatched": "The entries that no row matches: their line, and the digits that their "
        "digest begins with.",
    },
    "site_counts": {
        "top_sites": "The twenty registered domains with the most images, and their hosts.",
        "dagster/row_count": "Registered domains.",
        "images": "Images of all registered domains.",
    },
    "entity_counts": {
        "top_<kind>": "The names of each kind with the most images.",
        "<kind>_without_match": "Names of each kind that no caption has.",
        "dagster/row_count": "Names counted.",
        "scanned_captions": "Captions read by this run.",
        "counted_pairs": "Pairs of shard and name counted by this run.",
        "reused_pairs": "Pairs that an earlier run had counted.",
    },
    "release": {
        "tag": "Name of the release.",
        "is_new": "Whether this run made it; false if nothing had changed.",
        "dagster/row_count": "Images in the release.",
        "shards": "Shards in the release.",
        "shards_outdated": "Shards whose present load it does not have: Lance did not have it yet.",
        "rows_removed": "Rows of its shards that it does not have because they were removed.",
        "lance_version": "Version of the Lance table `images` that the tag pins.",
        "content_sha256": "Digest of the content, the same on every machine.",
        "columns_sha256": "Digest of the columns that came after the rows, such as pictures.",
        "pictures": "Pictures in the release.",
        "picture_bytes": "Their size.",
        "vectors": "Images with a vector.",
        "vector_dimension": "Numbers of each vector.",
        "vector_index": "The index of the vectors. Fewer than 4,096 need none.",
        "vector_nprobes": "Partitions of the index that a search looks into at least.",
        "vector_recall_at_10": "Share of the ten nearest vectors that a search finds, of 200 rows.",
        "columns_behind": "Declared columns that some shards in it lack.",
        "declared": "The declared columns.",
        "versions_removed": "Old Lance versions removed by the clean-up.",
        "freed_bytes": "Disk space freed by the clean-up.",
        "fragments_saved": "Small fragments joined.",
        "shards_held": "The shards, with their checksums.",
        "outdated": "These, and whether it has the rows of the release before.",
        "sheets_held": "The lists of names, with their checksums.",
        "made_with": "Versions of the programs.",
    },
    "subsets": {
        "release": "Tag of the release that it is a part of, and of the table.",
        "is_new": "Whether this run made it; false if it was there.",
        "dagster/row_count": "Its rows.",
        "matching_rows": "Rows of the release that fit, of which `limit` took these.",
        "pictures": "Rows with a picture.",
        "vectors": "Rows with a vector.",
        "bytes": "Size of its data files.",
        "digest": "SHA-256 over all values, in the order of the rows.",
        "definition": "As `curation.toml` has it.",
        "indices": "The indices of the table.",
        "preview": "The first rows, without pictures and vectors.",
        "missing_values": "Rows without a value, by column.",
    },
    "datasette": {
        "file": "Where the file is.",
        "release": "Tag of the release in it.",
        "content_sha256": "Digest of that release's content.",
        "dagster/row_count": "Images in the file.",
        "hidden": "Images of the release that were left out as unsafe.",
        "domains": "Hosts in the file.",
        "names": "Names of all kinds in the file.",
        "bytes": "Size of the file.",
        "sha256": "SHA-256 of the file.",
    },
    "published": {
        "place": "The folder, or the dataset on the Hub.",
        "release": "Tag of the release.",
        "content_sha256": "Digest of that release's content.",
        "is_new": "Whether anything was sent.",
        "dagster/row_count": "Images in the release.",
        "files_sent": "Files that were not there before.",
        "bytes_sent": "Size of these.",
        "files_kept": "Files of the release that were there already.",
        "missing_in_card": "What the dataset card still has to be told in `curation.toml`.",
    },
}
# What it shows besides with `LAION_PICTURES=fetch`.
FETCH_METADATA: dict[str, dict[str, str]] = {
    "pictures": {
        "urls_asked": "URLs that this run asked for, with `LAION_PICTURES=fetch`, as what follows.",
        "pictures_per_second": "Pictures that came, by the seconds of this run's fetch.",
        "reasons": "Rows whose picture was asked for and did not come, by reason and HTTP status.",
        "dead_by_site": "Of the sites with the most rows that were asked for: how many came, how "
        "many may not be asked (`refused`), and the share of the others.",
        "link_rot": "The last as a chart.",
    }
}


def main() -> None:
    """Writes every page of the reference."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in write_pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def write_pages() -> dict[str, str]:
    """Returns the text of every page, by the name of its file."""
    return {
        "commands.md": _page("Commands", _describe_commands()),
        "settings.md": _page("Settings", _describe_settings()),
        "assets.md": _page("Assets, checks and metadata", _describe_definitions()),
        "tables.md": _page("Tables and columns", _describe_tables()),
        "messages.md": _page("Messages of errors", _describe_messages()),
    }


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", NOTE, *lines]).rstrip("\n") + "\n"


def _describe_commands() -> Iterator[str]:
    yield "The exit status is 0 if a command did its work, 1 if something failed (the reason is one"
    yield "line on standard error), 2 for wrong usage, 130 after Ctrl-C and 143 after SIGTERM."
    yield ""
    for path, command in _walk("laion", laion):
        context = click.Context(command, info_name=path, max_content_width=HELP_WIDTH)
        context.terminal_width = HELP_WIDTH
        yield from (f"## {path}", "", "```text", command.get_help(context), "```", "")


def _walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _walk(f"{path} {name}", command.commands[name])


def _describe_settings() -> Iterator[str]:
    yield "Set them in the environment or in `.env` in the repository root."
    yield "[Operations](../operations.md#settings) says how to write them there."
    yield "Relative paths start at the repository root."
    yield ""
    yield "| variable | meaning | default |"
    yield "| --- | --- | --- |"
    for variable in VARIABLES:
        yield f"| `{variable.name}` | {variable.meaning} | {variable.default} |"


def _describe_definitions() -> Iterator[str]:
    defs = build_defs(replace(Settings.default(Path("data")), publish="published"))
    graph = defs.resolve_asset_graph()
    order = list(graph.toposorted_asset_keys)
    specs = sorted(defs.resolve_all_asset_specs(), key=lambda spec: order.index(spec.key))
    checks = sorted(graph.asset_check_keys)
    kinds = set(Settings.default(Path("data")).sheets)
    for spec in specs:
        name = spec.key.to_user_string()
        yield from (f"## {name}", "", inspect.cleandoc(spec.description or ""), "")
        yield from _describe_spec(spec)
        own = [graph.get(key) for key in checks if key.asset_key == spec.key]
        if own:
            yield from ("### Checks of " + name, "", "| check | what must hold |", "| --- | --- |")
            for check in own:
                yield f"| `{check.key.name}` | {_one_line(check.description)}{_mark(check)} |"
            yield ""
        if metadata := METADATA.get("names" if name in kinds else name):
            yield from _describe_metadata(name, metadata)
    yield from ("## Subsets", "", "One asset for each subset of `curation.toml`, made from")
    yield from ("`release`, in the group `subsets`. See [Subsets](../how-to/subsets.md).", "")
    yield from _describe_metadata("subsets", METADATA["subsets"])
    yield from _describe_automation(defs)


def _describe_metadata(name: str, metadata: Mapping[str, str]) -> Iterator[str]:
    yield from ("### Metadata of " + name, "", "| name | meaning |", "| --- | --- |")
    for key, meaning in {**metadata, **FETCH_METADATA.get(name, {}), **_EVERYWHERE}.items():
        yield f"| `{key}` | {meaning} |"
    yield ""


def _describe_spec(spec: dg.AssetSpec) -> Iterator[str]:
    deps = sorted(dep.asset_key.to_user_string() for dep in spec.deps)
    yield f"* group `{spec.group_name}`, kinds {', '.join(sorted(spec.kinds)) or 'none'}"
    yield f"* {'one partition a shard' if spec.partitions_def else 'not partitioned'}"
    yield f"* made from {', '.join(f'`{dep}`' for dep in deps) or 'nothing in this project'}"
    yield ""


def _mark(check: object) -> str:
    return " It blocks what comes after it." if getattr(check, "blocking", False) else ""


def _describe_automation(defs: dg.Definitions) -> Iterator[str]:
    yield from ("## Jobs, schedule and sensor", "", "| name | what it does |", "| --- | --- |")
    for job in sorted(defs.jobs or (), key=lambda job: job.name):
        yield f"| job `{job.name}` | {_one_line(job.description)} |"
    for schedule in defs.schedules or ():
        yield f"| schedule `{schedule.name}` | {_one_line(schedule.description)} |"
    for sensor in defs.sensors or ():
        yield f"| sensor `{sensor.name}` | {_one_line(sensor.description)} |"


def _describe_tables() -> Iterator[str]:
    yield "All tables are in the DuckDB database `<data dir>/laion.duckdb`. Each list of names is"
    yield "one more table, named after its kind, with the column `name` and the list's own columns."
    yield "The LanceDB database `<data dir>/lance/` has the tables `images`, `domain_counts`,"
    yield "`site_counts` and `entity_counts`."
    yield ""
    for name, columns in TABLES.items():
        yield from (f"## {name}", "", TABLE_MEANINGS[name], "")
        yield from _describe_columns(columns)
        if name == "images":
            yield "In the Lance table `images` only:"
            yield ""
            yield from _describe_columns(c for c in LANCE_IMAGES if c not in columns)
            for asset, added in ADDED_COLUMNS.items():
                yield f"In the Lance table `images` once the asset `{asset}` has added them:"
                yield ""
                yield from _describe_columns(added)


def _describe_columns(columns: Iterable[Column]) -> Iterator[str]:
    columns = tuple(columns)
    has_sources = any(column.sources for column in columns)
    yield "| column | type | meaning |" + (" read from |" if has_sources else "")
    yield "| --- | --- | --- |" + (" --- |" if has_sources else "")
    for column in columns:
        kind = column.type + (", never NULL" if column.is_required else "")
        sources = ", ".join(f"`{source}`" for source in column.sources)
        line = f"| `{column.name}` | {kind} | {column.description} |"
        yield line + (f" {sources} |" if has_sources else "")
    yield ""


def _describe_messages() -> Iterator[str]:
    yield "Every error that a person can do something about has a code. It stays the same where the"
    yield "wording is bettered. With `--json`, a command that fails prints an object with the code"
    yield "and the message; a failed run has it as `error_code`. What is in braces is filled in."
    yield ""
    yield "Some errors have no line here: `system-refused` is what the system refuses, such as a"
    yield "full disk; `duckdb-failed` is an error of DuckDB; `internal-error` is a fault of the"
    yield "program; `picture-` with a reason says why a picture could not be fetched."
    yield ""
    yield "| code | message |"
    yield "| --- | --- |"
    trees = {
        path.relative_to(PACKAGE): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    for code, template in sorted({(m.code, m.template) for m in find_messages(trees)}):
        yield f"| `{code}` | {_escape(template)} |"


def _escape(text: str) -> str:
    """Writes text with `code` in it for a cell of a table."""
    parts = text.replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    main()
