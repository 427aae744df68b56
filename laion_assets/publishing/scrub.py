"""What the record of a release says in public: nothing of this machine, and no private links."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from laion_assets.raw_shards.sources.source import hide_secrets, split_scheme
from laion_assets.releases.manifest import Manifest


def scrub_record(manifest: Manifest, versions: Mapping[str, int]) -> Manifest:
    """Returns the record as it is published.

    Of a file on this machine its name stays; of a list of names on a server the host, because
    whoever has a link to a sheet can read it. Runs are known to this machine's history alone.

    Args:
        manifest: the record.
        versions: the published version of each table.
    """
    return manifest.model_copy(
        update={
            "run_id": "",
            "lance_versions": dict(versions),
            "shards": tuple(
                shard.model_copy(update={"source": _name_source(shard.source), "run_id": ""})
                for shard in manifest.shards
            ),
            "sheets": tuple(
                sheet.model_copy(update={"location": _name_list(sheet.location)})
                for sheet in manifest.sheets
            ),
            "declared": tuple(
                column.model_copy(update={"definition": _name_files(column.definition)})
                for column in manifest.declared
            ),
        }
    )


def _name_source(location: str) -> str:
    is_elsewhere = split_scheme(location) not in ("", "file")
    return hide_secrets(location) if is_elsewhere else _name_file(location)


def _name_list(location: str) -> str:
    is_elsewhere = split_scheme(location) not in ("", "file")
    return urlsplit(location).hostname or "a server" if is_elsewhere else _name_file(location)


def _name_files(definition: Mapping[str, str]) -> dict[str, str]:
    return {key: _name_file(value) if key == "file" else value for key, value in definition.items()}


def _name_file(path: str) -> str:
    return PurePosixPath(path.replace("\\", "/")).name
