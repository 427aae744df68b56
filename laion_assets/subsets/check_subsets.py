"""Checks what `[subsets.*]` of `curation.toml` say, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable

from laion_assets.curation.curation_file import Curation
from laion_assets.curation.place import CurationError
from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.errors import LaionError
from laion_assets.schemas import IMAGES, LANCE_PICTURES, Column
from laion_assets.search.query import read_query
from laion_assets.search.where import write_where


def check_subsets(curation: Curation, kinds: Iterable[str]) -> None:
    """Checks names, conditions and searches of all subsets.

    Args:
        curation: what is declared.
        kinds: the kinds of names, each of which has a table and an asset.

    Raises:
        CurationError: one of them cannot be used; the message names its line.
    """
    taken = {kind.lower() for kind in kinds}
    for subset in curation.subsets:
        if subset.name.lower() in taken:
            raise CurationError(
                f"{subset.place}: `{subset.name}` is a kind of names (LAION_SHEET_"
                f"{subset.name.upper()}); choose another name",
                code="subset-name-kind",
            )
        _check_where(subset, curation)
        _check_search(subset)


def _check_where(subset: DeclaredSubset, curation: Curation) -> None:
    if subset.where is None:
        return
    # The type of a column that is joined may be known only from its file, which can be large.
    untyped = [column.name for column in curation.columns if column.type is None]
    declared = [Column(c.name, c.type or "VARCHAR", "") for c in curation.columns]
    # Lance compares no bytes.
    known = [c for c in (*IMAGES, *LANCE_PICTURES, *declared) if c.type != "BLOB"]
    try:
        write_where(subset.where, known, untyped)
    except LaionError as error:
        reason = str(error).removeprefix("where: ")
        raise CurationError(f"{subset.place.of('where')}: {reason}", code=error.code) from error


def _check_search(subset: DeclaredSubset) -> None:
    if subset.search is None:
        return
    place = subset.place.of("search")
    try:
        query = read_query(subset.search)
    except LaionError as error:
        raise CurationError(f"{place}: {error}", code=error.code) from error
    if not (query.has_words or query.sites):
        raise CurationError(
            f"{place}: {subset.search!r} has no word to look for; add one", code="subset-no-words"
        )
    if query.notes:
        raise CurationError(
            f"{place}: {' '.join(query.notes)} Correct it.", code="subset-search-unclear"
        )
