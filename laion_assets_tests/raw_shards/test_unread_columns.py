"""A file is refused only for the columns that we read, and the remedy fits the cause."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from laion_assets.errors import ShardError
from laion_assets.raw_shards.verify import verify_parquet
from laion_assets.settings import Settings
from laion_assets_tests.pipeline import load

COLUMNS = {"url": ["https://a.test/1"] * 5, "caption": ["a fox"] * 5}
SECRET = pa.table({**COLUMNS, "secret": ["s"] * 5})


class Keys(pe.KmsClient):  # type: ignore[misc]
    """Wraps keys by writing them down."""

    def wrap_key(self, key_bytes: bytes, _master_key: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, _master_key: str) -> bytes:
        return base64.b64decode(wrapped_key)


def encrypt(path: Path, *columns: str, plain_footer: bool = True) -> None:
    factory = pe.CryptoFactory(lambda _: Keys())
    configuration = pe.EncryptionConfiguration(
        footer_key="footer", column_keys={"key": list(columns)}, plaintext_footer=plain_footer
    )
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), configuration)
    with pq.ParquetWriter(path, SECRET.schema, encryption_properties=properties) as writer:
        writer.write_table(SECRET)


def geoparquet(geo: object) -> Callable[[Path], None]:
    """Returns what writes a file with this metadata of its geometries."""

    def write(path: Path) -> None:
        table = pa.table({**COLUMNS, "geometry": [b"\x01"] * 5})
        table = table.replace_schema_metadata({"geo": json.dumps(geo)})
        pq.write_table(table, path)

    return write


def damage(column: str) -> Callable[[Path], None]:
    """Returns what writes a file whose pages of a column are overwritten."""

    def write(path: Path) -> None:
        pq.write_table(SECRET, path, use_dictionary=False, compression="none")
        chunk = next(
            chunk
            for chunk in map(pq.ParquetFile(path).metadata.row_group(0).column, range(3))
            if chunk.path_in_schema == column
        )
        content = bytearray(path.read_bytes())
        start = chunk.data_page_offset
        content[start : start + 12] = b"\xff" * 12
        path.write_bytes(content)

    return write


WKB = {"encoding": "WKB", "geometry_types": []}
ACCEPTED: dict[str, Callable[[Path], None]] = {
    "no geometry types": geoparquet(
        {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": {}}}
    ),
    "an encoding of tomorrow": geoparquet(
        {"version": "9", "primary_column": "geometry", "columns": {"geometry": {"encoding": "X"}}}
    ),
    "a list where an object should be": geoparquet([1, 2]),
    "a text": geoparquet("geo"),
    "a column that is not there": geoparquet(
        {"version": "1.1.0", "primary_column": "none", "columns": {"none": WKB}}
    ),
    "geometries that are none": geoparquet(
        {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": WKB}}
    ),
    "an encrypted column": lambda path: encrypt(path, "secret"),
    "a damaged column": damage("secret"),
}


@pytest.mark.parametrize("write", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_wrong_with_a_column_that_nobody_reads_refuses_nothing(
    settings: Settings, tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "s.parquet"
    write(path)

    assert verify_parquet(path, "s").row_count == 5
    load(settings, "s", path)

    with duckdb.connect(str(settings.database), read_only=True) as connection:
        found = connection.execute("SELECT url, caption FROM images").fetchall()
    assert found == [("https://a.test/1", "a fox")] * 5


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "an encrypted column": (
        lambda path: encrypt(path, "url"),
        "s: column url: is encrypted; decrypt it first",
    ),
    "two encrypted columns": (
        lambda path: encrypt(path, "secret", "caption"),
        "s: column caption: is encrypted; decrypt it first",
    ),
    "an encrypted footer": (
        lambda path: encrypt(path, "secret", plain_footer=False),
        "s: is encrypted; decrypt it first",
    ),
    "a damaged column": (damage("url"), "s: is damaged: row group 0, column url"),
}


@pytest.mark.parametrize(("write", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_with_a_column_that_we_read_has_its_own_remedy(
    tmp_path: Path, write: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / "s.parquet"
    write(path)

    with pytest.raises(ShardError) as refusal:
        verify_parquet(path, "s")

    assert str(refusal.value).startswith(reason)
