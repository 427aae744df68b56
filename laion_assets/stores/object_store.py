"""Lance tables in a bucket: how they are opened, and the few objects that Lance does not handle.

Lance writes the next version of a table under a name that must not be there yet (`If-None-Match:
*`). A store that ignores this lets two writers replace each other's commits, nearly in silence, so
it is refused before anything is written.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from laion_assets.errors import LaionError, first_line
from laion_assets.settings import find_bucket_endpoint

if TYPE_CHECKING:
    from datetime import datetime

    import lance
    from lance.lance import _Session

Answer = TypeVar("Answer")
# What a store answers to a creation of an object that is there.
_REFUSED = 412
_MISSING = ("404", "NoSuchKey", "NotFound")
_REASON_LENGTH = 300
# As Lance does: half a minute in all.
_ATTEMPTS = 10
# No store takes more.
_REMOVED_AT_ONCE = 1000
# The name of an object that is made and removed again.
PROBE = ".laion-probe"


@dataclass(frozen=True)
class ObjectStore:
    """Objects of a bucket below a prefix.

    Attributes:
        uri: `s3://<bucket>/<prefix>`.
    """

    uri: str

    def read(self, name: str) -> bytes | None:
        """Returns the content of an object; None if there is none."""
        with self._name_failures() as client:
            return _unless_missing(
                lambda: bytes(client.get_object(**self._at(name))["Body"].read())
            )

    def write(self, name: str, content: bytes) -> None:
        """Replaces an object; whoever reads meanwhile gets the old one or the new one."""
        check_safe(self.uri)
        with self._name_failures() as client:
            client.put_object(**self._at(name), Body=content)

    def remove(self, name: str) -> None:
        """Removes an object; one that is not there stays so."""
        with self._name_failures() as client:
            client.delete_object(**self._at(name))

    def remove_all(self, names: Sequence[str]) -> None:
        """Removes objects, a thousand in one request; those that are not there stay so."""
        bucket = self._at("")["Bucket"]
        with self._name_failures() as client:
            for start in range(0, len(names), _REMOVED_AT_ONCE):
                keys = [{"Key": self._at(n)["Key"]} for n in names[start:][:_REMOVED_AT_ONCE]]
                client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})

    def find_stamp(self, name: str) -> str | None:
        """Returns what changes with the content of an object; None if there is none."""
        with self._name_failures() as client:
            return _unless_missing(lambda: str(client.head_object(**self._at(name))["ETag"]))

    def upload(self, path: Path, name: str) -> None:
        """Copies a file to an object, in parts if it is large."""
        with self._name_failures() as client:
            client.upload_file(str(path), **self._at(name))

    def download(self, name: str, path: Path) -> None:
        """Copies an object to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._name_failures() as client:
            client.download_file(**self._at(name), Filename=str(path))

    def rename(self, name: str, new_name: str) -> None:
        """Copies an object within the bucket, in parts if it is large, and removes the first."""
        with self._name_failures() as client:
            client.copy(CopySource=self._at(name), **self._at(new_name))
            client.delete_object(**self._at(name))

    def list_names(self, prefix: str) -> Iterator[str]:
        """Yields the objects below a prefix, by their names after it."""
        with self._name_failures() as client:
            for page in self._list(client, prefix):
                for found in page.get("Contents", ()):
                    yield found["Key"].removeprefix(self._at(prefix)["Key"])

    def list_times(self, prefix: str) -> dict[str, datetime]:
        """Returns when each object below a prefix was written, by its name after it."""
        start = len(self._at(prefix)["Key"])
        with self._name_failures() as client:
            return {
                found["Key"][start:]: found["LastModified"]
                for page in self._list(client, prefix)
                for found in page.get("Contents", ())
            }

    def list_folders(self) -> list[str]:
        """Returns the names before the first `/`."""
        start = self._at("")["Key"]
        with self._name_failures() as client:
            return [
                found["Prefix"].removeprefix(start).rstrip("/")
                for page in self._list(client, "", Delimiter="/")
                for found in page.get("CommonPrefixes", ())
            ]

    def read_clock(self) -> datetime:
        """Returns what time it is where the bucket is."""
        from email.utils import parsedate_to_datetime

        with self._name_failures() as client:
            answer = client.list_objects_v2(Bucket=self._at("")["Bucket"], MaxKeys=1)
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    def probe(self) -> None:
        """Creates one object twice; the store has to refuse the second time.

        Raises:
            LaionError: it does not, or cannot be reached.
        """
        from botocore.exceptions import ClientError

        place = self._at(f"{PROBE}-{uuid.uuid4()}")
        with self._name_failures() as client:
            try:
                # The first is refused where it was there and its answer was lost: as good a sign.
                client.put_object(**place, Body=b"1", IfNoneMatch="*")
                client.put_object(**place, Body=b"2", IfNoneMatch="*")
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == _REFUSED:
                    return
                raise
            finally:
                client.delete_object(**place)
        raise LaionError(
            f"{self.uri}: this store ignores `If-None-Match: *`, so writers would lose each "
            "other's rows; nothing was written; use a store with conditional PUTs, such as "
            "Amazon S3 or MinIO",
            code="bucket-unsafe",
        )

    def _at(self, name: str) -> dict[str, str]:
        bucket, _, prefix = self.uri.partition("://")[2].partition("/")
        return {"Bucket": bucket, "Key": f"{prefix}/{name}".lstrip("/")}

    def _list(self, client: Any, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        place = self._at(prefix)
        pages = client.get_paginator("list_objects_v2")
        yield from pages.paginate(Bucket=place["Bucket"], Prefix=place["Key"], **options)

    @contextmanager
    def _name_failures(self) -> Iterator[Any]:
        """Yields the client, and says in one line what the store says.

        Raises:
            LaionError: it refuses, or cannot be reached.
        """
        client = _open_client(find_bucket_endpoint())
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield client
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise _unreachable(self.uri, error) from error


def _unless_missing(ask: Callable[[], Answer]) -> Answer | None:
    """Returns what a store answers; None where there is no such object."""
    from botocore.exceptions import ClientError

    try:
        return ask()
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return None
        raise


@cache
def check_safe(uri: str) -> None:
    """Checks once a process that commits of several writers are safe in a bucket.

    Raises:
        LaionError: they are not, or the store cannot be reached.
    """
    ObjectStore(uri).probe()


def open_in_bucket(uri: str, session: _Session | None = None) -> lance.LanceDataset | None:
    """Opens the newest version of a table in a bucket; None if it has none.

    Args:
        uri: of the table.
        session: remembers what was read; None: nothing does.

    Raises:
        LaionError: the store cannot be reached.
    """
    import lance

    try:
        return lance.dataset(uri, storage_options=find_lance_options(), session=session)
    except (ValueError, OSError) as error:
        if "was not found" in str(error):
            return None
        raise _unreachable(uri, error) from error


def find_lance_options() -> dict[str, str]:
    """Returns how Lance asks for buckets: credentials and region it finds as every AWS program."""
    endpoint = find_bucket_endpoint()
    if endpoint is None:
        return {}
    return {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http:")).lower()}


def _unreachable(uri: str, error: Exception) -> LaionError:
    # Lance says where in its own code, and all that the store has answered.
    reason = first_line(error).partition(", /")[0][:_REASON_LENGTH]
    return LaionError(
        f"{uri}: the store does not do what it is asked ({reason}); check "
        "LAION_DATA_DIR, AWS_ENDPOINT_URL, the credentials and the network",
        code="bucket-unusable",
        is_passing=True,
    )


@cache
def _open_client(endpoint: str | None) -> Any:
    try:
        import boto3
    except ModuleNotFoundError as error:
        raise LaionError(
            "LAION_DATA_DIR: s3:// needs more packages; run `pip install 'laion-assets[cluster]'`",
            code="bucket-library-missing",
        ) from error
    from botocore.config import Config

    # With a name of the bucket before the host, each bucket would need an entry in the DNS.
    style = {"addressing_style": "path"} if endpoint else {}
    config = Config(s3=style, retries={"mode": "standard", "max_attempts": _ATTEMPTS})
    return boto3.client("s3", endpoint_url=endpoint, config=config)
