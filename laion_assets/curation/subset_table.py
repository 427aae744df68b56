"""Reads the tables `[subsets.NAME]` of `curation.toml`.

Conditions and searches are checked by `subsets/check_subsets.py`, because what reads them comes
later in the order of imports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laion_assets.curation.keep_table import read_kept
from laion_assets.curation.place import CurationError, Place, are_tables, check_keys
from laion_assets.schemas import IMAGES, LANCE_EMBEDDINGS, LANCE_PICTURES
from laion_assets.settings import RESERVED_NAMES

TEXTS = ("where", "search", "like")
KEYS = (*TEXTS, "limit", "columns")
# What a subset can have besides columns that are declared or kept.
COLUMNS = tuple(c.name for c in (*IMAGES, *LANCE_PICTURES, *LANCE_EMBEDDINGS))


@dataclass(frozen=True)
class DeclaredSubset:
    """A part of a release that is to be a Lance table of its own.

    Attributes:
        name: of the asset and of the table.
        where: an SQL condition over the columns of a row; None: any row.
        search: words and phrases that the caption has, as in a search; None: any caption.
        like: a description of the pictures that are wanted, by their meaning; None: any picture.
        limit: how many rows at most: the nearest, else the best of the words, else the first; None:
            all.
        columns: those that the table has, in this order; None: all but words of the index.
        place: where it stands, for messages.
    """

    name: str
    where: str | None = None
    search: str | None = None
    like: str | None = None
    limit: int | None = None
    columns: tuple[str, ...] | None = None
    place: Place = field(default=Place(Path()), compare=False, repr=False)

    def describe(self) -> dict[str, Any]:
        """Returns the definition as it was written."""
        given = {key: value for key in KEYS if (value := getattr(self, key)) is not None}
        return {**given, "columns": list(self.columns)} if self.columns else given


def read_subsets(place: Place, content: Mapping[str, Any]) -> tuple[DeclaredSubset, ...]:
    """Reads all subsets.

    Args:
        place: of the table of them.
        content: the whole file, of which the other tables were read before.

    Raises:
        CurationError: one of them cannot be used.
    """
    tables = content.get("subsets", {})
    if not are_tables(tables):
        raise CurationError(
            f"{place}: write a table for each subset, such as [subsets.lemurs]",
            code="curation-no-subset",
        )
    taken = {name.lower() for name in RESERVED_NAMES}
    subsets: list[DeclaredSubset] = []
    for name, table in tables.items():
        _check_name(place.of(name), name, taken)
        taken.add(name.lower())
        subsets.append(_read_subset(place.of(name), name, table, _list_columns(content)))
    return tuple(subsets)


def _list_columns(content: Mapping[str, Any]) -> tuple[str, ...]:
    return (*COLUMNS, *content.get("columns", {}), *read_kept(Place(Path()), content))


def _check_name(place: Place, name: str, taken: set[str]) -> None:
    # Dagster joins parts of names by two `_`.
    if not name.isascii() or not name.isidentifier() or name.startswith("_") or "__" in name:
        raise CurationError(
            f"{place}: {name!r} cannot name a subset; use letters, digits and single _, after a "
            "letter",
            code="subset-name-invalid",
        )
    if name.lower() in taken:
        raise CurationError(
            f"{place}: there is a table or an asset `{name}` already; choose another name",
            code="subset-name-taken",
        )


def _read_subset(
    place: Place, name: str, table: Mapping[str, Any], known: tuple[str, ...]
) -> DeclaredSubset:
    check_keys(place, table, KEYS)
    for key in TEXTS:
        if key in table and not (isinstance(table[key], str) and table[key].strip()):
            raise CurationError(f"{place.of(key)}: write a text in quotes", code="subset-no-text")
    limit = table.get("limit")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise CurationError(
            f"{place.of('limit')}: {limit!r} is not a number of rows; write 1 or more",
            code="subset-limit-invalid",
        )
    columns = (
        _read_columns(place.of("columns"), table["columns"], known) if "columns" in table else None
    )
    texts = {key: table[key].strip() for key in TEXTS if key in table}
    return DeclaredSubset(name, **texts, limit=limit, columns=columns, place=place)


def _read_columns(place: Place, columns: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    is_list = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
    if not is_list or not columns:
        raise CurationError(
            f'{place}: write a list of columns, such as ["url", "caption"]',
            code="subset-columns-no-list",
        )
    for number, name in enumerate(columns):
        if name not in known:
            raise CurationError(
                f"{place}: there is no column `{name}`; the columns are {', '.join(known)}",
                code="subset-column-unknown",
            )
        if name in columns[:number]:
            raise CurationError(
                f"{place}: column `{name}` stands there twice; name it once",
                code="subset-column-twice",
            )
    return tuple(columns)
