"""What a publisher has to say of a dataset: its licence, and whom to write to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from laion_assets.curation.place import CurationError, Place, check_keys, check_texts

_LICENSE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")


@dataclass(frozen=True)
class Terms:
    """The table `[publish]` of `curation.toml`.

    Attributes:
        title: of the dataset.
        description: a paragraph on what it is, in Markdown.
        license: as the Hugging Face Hub names it, such as `cc-by-4.0` or `other`.
        license_name: of a licence that is `other`.
        license_link: where the licence is.
        contact: an e-mail address or a web page: whom to write to, also to have an image removed.
    """

    title: str | None = None
    description: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    contact: str | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """What a dataset for everybody cannot do without."""
        needed = ["license", "contact"]
        if self.license == "other":
            needed += ["license_name", "license_link"]
        return tuple(name for name in needed if getattr(self, name) is None)


TERMS = tuple(field.name for field in fields(Terms))


def read_terms(place: Place, content: Mapping[str, Any]) -> Terms:
    """Reads the table `publish`.

    Raises:
        CurationError: something in it cannot be used.
    """
    table = content.get("publish", {})
    if not isinstance(table, dict):
        raise CurationError(
            f"{place}: write a table with {', '.join(TERMS)}", code="curation-publish-no-table"
        )
    check_keys(place, table, TERMS)
    check_texts(place, table)
    terms = Terms(**{key: value.strip() for key, value in table.items()})
    if terms.license is not None and not _LICENSE.fullmatch(terms.license):
        raise CurationError(
            f"{place.of('license')}: {terms.license!r} is no name of the Hub for a licence; write "
            'one such as "cc-by-4.0", or "other" with `license_name` and `license_link`',
            code="license-name-invalid",
        )
    return terms
