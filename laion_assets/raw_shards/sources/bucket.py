"""Shards in buckets: `s3://<bucket>/<path or glob>`, through Arrow's S3 file system.

Credentials and region come from where every AWS program takes them: AWS_ACCESS_KEY_ID,
~/.aws/credentials, the role of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from laion_assets.errors import ShardError, first_line
from laion_assets.raw_shards.sources.source import (
    Report,
    Source,
    SourceRules,
    describe_each,
    fixed_folder,
    has_glob,
    hide_secrets,
    is_a_folder,
    is_deep,
    is_match,
    name_folders,
    shard_of,
)
from laion_assets.stores.part import Origin, Part

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs

# Each is one request.
CHUNK_BYTES = 8 << 20
_BUCKET = re.compile(r"[A-Za-z0-9][\w.-]+")
# What S3 answers for an object that is not there to who may not know.
_HIDDEN = "ACCESS_DENIED"
REMEDY = "check LAION_SHARDS, the credentials and the network"


def list_bucket(location: str, rules: SourceRules) -> list[Source | ShardError]:
    """Returns the objects that a path or glob in a bucket names.

    Raises:
        ShardError: the bucket does not list them, or has no such object.
    """
    from pyarrow.fs import FileSelector, FileType

    pattern = location.partition("://")[2].rstrip("/")
    location = hide_secrets(location).rstrip("/")
    bucket = pattern.partition("/")[0]
    if not _BUCKET.fullmatch(bucket) or not pattern.partition("/")[2]:
        raise ShardError(
            f"{location}: expected s3://<bucket>/<path or glob>; correct it",
            code="bucket-location-invalid",
        )
    with _name_failures(location):
        files = _open(bucket, rules)
        infos = [files.get_file_info(pattern)]
        if has_glob(pattern):
            is_recursive = is_deep(pattern)
            place = fixed_folder(pattern)
            folder = FileSelector(place, recursive=is_recursive, allow_not_found=True)
            infos = files.get_file_info(folder)
            if not infos and files.get_file_info(bucket).type == FileType.NotFound:
                raise ShardError(
                    f"{location}: no such bucket; correct LAION_SHARDS", code="bucket-missing"
                )
    matching = [i for i in infos if is_match(i.path.split("/"), pattern.split("/"))]
    found = sorted((i for i in matching if i.is_file), key=lambda info: str(info.path))
    folders = [str(i.path) for i in matching if i.type == FileType.Directory]
    if not found and not has_glob(pattern):
        raise is_a_folder(location) if folders else _no_such_object(location)
    named = name_folders("s3://", folders, [str(info.path) for info in found])
    return [*describe_each(found, _describe), *named]


def download_object(source: Source, part: Part, rules: SourceRules, report: Report) -> Source:
    """Brings an object into the part, and goes on where an earlier attempt stopped.

    Raises:
        ShardError: it cannot be had, or changed meanwhile; what has come stays.
        OSError: it cannot be written.
    """
    path = source.place.partition("://")[2]
    begun = part.find_origin(source.name, source.sha256)
    if begun is None or begun.validator != source.version:
        part.start(Origin(source.name, source.version, source.sha256, source.version))
    with _name_failures(source.name):
        files = _open(path.partition("/")[0], rules)
        remote = files.open_input_file(path)
    with remote:
        _receive(remote, source, part, report)
    with _name_failures(source.name):
        is_same = _name_version(files.get_file_info(path)) == source.version
    if not is_same:
        part.remove()
        raise ShardError(
            f"{source.name}: changed while it was fetched; try again", code="bucket-object-changed"
        )
    return source


def find_object(place: Source, rules: SourceRules) -> Source | None:
    """Returns the object of a place with its version, for its shard; None if there is none.

    Who may not list a bucket is not told either what it lacks: then there is none as well.

    Raises:
        ShardError: the bucket does not answer.
    """
    from pyarrow.fs import FileType

    path = place.place.partition("://")[2]
    with _name_failures(place.name):
        try:
            info = _open(path.partition("/")[0], rules).get_file_info(path)
        except OSError as error:
            if _HIDDEN in str(error):
                return None
            raise
    if info.type != FileType.File:
        return None
    return replace(place, version=_name_version(info))


def _no_such_object(location: str) -> ShardError:
    return ShardError(
        f"{location}: no such object; correct LAION_SHARDS", code="bucket-object-missing"
    )


def _receive(remote: pa.NativeFile, source: Source, part: Part, report: Report) -> None:
    total, done = remote.size(), part.count_bytes()
    report(done, total)
    with part.open() as file:
        while done < total:
            with _name_failures(source.name):
                remote.seek(done)
                chunk = remote.read(CHUNK_BYTES)
            file.write(chunk)
            done += len(chunk)
            report(done, total)


def _open(bucket: str, rules: SourceRules) -> pyarrow.fs.S3FileSystem:
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem, resolve_s3_region

    scheme, _, host = (rules.bucket_endpoint or "").rpartition("://")
    # Elsewhere than at Amazon a region is a formality, and here it says where the bucket is.
    region = None if host else resolve_s3_region(bucket)
    return S3FileSystem(
        anonymous=rules.is_anonymous,
        endpoint_override=host or None,
        scheme=scheme or "https",
        region=region,
        connect_timeout=rules.timeout_s,
        request_timeout=rules.timeout_s,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=rules.attempts),
    )


def _describe(info: pyarrow.fs.FileInfo) -> Source:
    place = f"s3://{info.path}"
    shard = shard_of(str(info.path).rpartition("/")[2], place)
    return Source(shard, place, place, _name_version(info))


def _name_version(info: pyarrow.fs.FileInfo) -> str:
    # Some servers list fractions of a second, and leave them out where one object is asked for.
    return f"{info.size}-{info.mtime_ns // 1_000_000_000}"


@contextmanager
def _name_failures(name: str) -> Iterator[None]:
    try:
        yield
    # What Arrow calls invalid is a ValueError.
    except (OSError, ValueError) as error:
        raise ShardError(f"{name}: {first_line(error)}; {REMEDY}", code="bucket-failed") from error
