import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from laion_assets.errors import ShardError
from laion_assets.raw_shards.verify import ParquetFacts, plain_path, verify_parquet
from laion_assets.stores.sql import quote_path
from laion_assets_tests.power import without_power

ROWS = 600
GROUP_ROWS = 200
CODECS = ("none", "snappy", "gzip", "brotli", "lz4", "zstd")


def make_table() -> pa.Table:
    """Returns rows of which no two pages are alike, without NULL but in the caption."""
    digests = [hashlib.sha256(b"%d" % i).hexdigest() for i in range(ROWS)]
    return pa.table(
        {
            "digest": digests,
            "URL": [f"https://a.example/{digest}" for digest in digests],
            "TEXT": [digest if i % 5 else None for i, digest in enumerate(digests)],
            "hash": pa.array([int(digest[:15], 16) for digest in digests], pa.int64()),
        }
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.parquet"


def write(path: Path, table: pa.Table | None = None, **options: object) -> Path:
    table = make_table() if table is None else table
    pq.write_table(table, path, row_group_size=GROUP_ROWS, **options)
    return path


def refuse(path: Path) -> str:
    with pytest.raises(ShardError) as refusal:
        verify_parquet(path, "s")
    message = str(refusal.value)
    assert "\n" not in message
    return message


def find_pages(path: Path, column: str, group: int) -> tuple[int, int]:
    """Returns where the pages of a chunk begin and end."""
    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(group).column(file.schema_arrow.names.index(column))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return start, start + chunk.total_compressed_size


def overwrite(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def replace_once(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def replace_codec(path: Path, codec: int) -> None:
    """Writes the number of another codec for the column URL into the footer, as 2 * number."""
    pq.write_table(pa.table({"URL": ["u"], "TEXT": ["t"]}), path, compression="lz4")
    replace_once(path, b"\x19\x18\x03URL\x15\x0e", b"\x19\x18\x03URL\x15" + bytes([2 * codec]))


class OpenKeys(pe.KmsClient):  # type: ignore[misc]  # pyarrow has no types
    """Keeps keys as no one should."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:  # noqa: ARG002
        return base64.b64encode(key_bytes)


def encrypt(path: Path, *, plaintext_footer: bool) -> None:
    table = pa.table({"URL": ["u"], "TEXT": ["t"]})
    properties = pe.CryptoFactory(lambda _: OpenKeys()).file_encryption_properties(
        pe.KmsConnectionConfig(),
        pe.EncryptionConfiguration(
            "footer", column_keys={"columns": ["TEXT"]}, plaintext_footer=plaintext_footer
        ),
    )
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


def cut(path: Path) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:-20])


def claim_more_rows(path: Path) -> None:
    """Says 602 rows where there are 600: field 3 of the footer, before the list of row groups."""
    write(path)
    replace_once(path, b"\x16\xb0\x09\x19\x3c", b"\x16\xb4\x09\x19\x3c")


def spoil_a_name(path: Path) -> None:
    table = pa.table({"URL": ["u"], "TEXT": ["t"], "extra": [1]})
    pq.write_table(table, path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"extra", b"ex\xedra"))


NOT_PARQUET = "and not a parquet file; correct the address, or fetch it again"
CUT_OFF = "is cut off: it does not end with a parquet footer; fetch it again"
UNREADABLE = "which cannot be read; write the file again with zstd or snappy"
NO_FOOTER = "is damaged: its footer cannot be read"
WRONG_LENGTH = "Invalid Input Error: Footer length error in file 'FILE'"
NO_UNICODE = (
    "Invalid Input Error: Invalid unicode (byte sequence mismatch) detected in value construction"
)
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda _: None, "No such file or directory; check the file and the disk"),
    "a directory": (Path.mkdir, "Is a directory; check the file and the disk"),
    "empty": (Path.touch, "is empty; fetch it again"),
    "html": (
        lambda path: path.write_bytes(b"\r\n <!DOCTYPE HTML><title>404</title>"),
        f"is a web page {NOT_PARQUET}",
    ),
    "html without a type": (
        lambda path: path.write_bytes(b"\xef\xbb\xbf<html lang=en>"),
        f"is a web page {NOT_PARQUET}",
    ),
    "xml": (
        lambda path: path.write_bytes(b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code>"),
        f"is an XML document {NOT_PARQUET}",
    ),
    "json": (
        lambda path: path.write_bytes(b'{"error":"Repository not found"}'),
        f"is a JSON document {NOT_PARQUET}",
    ),
    "a pointer of Git LFS": (
        lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
        f"is a pointer of Git LFS {NOT_PARQUET}",
    ),
    "wrong magic": (
        lambda path: path.write_bytes(b"PK\x03\x04" * 9),
        r"is no parquet file, it begins with b'PK\x03\x04'; correct the address, or fetch it again",
    ),
    "only the magic": (lambda path: path.write_bytes(b"PAR1"), CUT_OFF),
    "only both magics": (lambda path: path.write_bytes(b"PAR1PAR1"), CUT_OFF),
    "cut off": (cut, CUT_OFF),
    "cut in the middle": (
        lambda path: path.write_bytes(b"PAR1" + bytes(20) + b"\x88\x13\0\0PAR1"),
        f"{NO_FOOTER} ({WRONG_LENGTH}); fetch it again",
    ),
    "an empty footer": (
        lambda path: path.write_bytes(b"PAR1\0\0\0\0PAR1"),
        f"{NO_FOOTER} ({WRONG_LENGTH}); fetch it again",
    ),
    "a footer of nothing": (
        lambda path: path.write_bytes(b"PAR1\0\1\0\0\0PAR1"),
        f"{NO_FOOTER} (TProtocolException: Invalid data); fetch it again",
    ),
    "a footer without end": (
        lambda path: path.write_bytes(b"PAR1" + b"\x1c" * 99 + b"\x63\0\0\0PAR1"),
        f"{NO_FOOTER} (TProtocolException: (Invalid exception type)); fetch it again",
    ),
    "more rows than row groups have": (
        claim_more_rows,
        "is damaged: its row groups have 600 rows, its footer says 602; fetch it again",
    ),
    "a column name that is no text": (
        spoil_a_name,
        f"{NO_FOOTER} ({NO_UNICODE}); fetch it again",
    ),
    "encrypted": (
        lambda path: encrypt(path, plaintext_footer=False),
        "is encrypted; decrypt it first",
    ),
    "encrypted columns": (
        lambda path: encrypt(path, plaintext_footer=True),
        "column TEXT: is encrypted; decrypt it first",
    ),
    "lzo": (
        lambda path: replace_codec(path, 3),
        f"row group 0, column URL is compressed with LZO, {UNREADABLE}",
    ),
    "lz4 of hadoop": (
        lambda path: replace_codec(path, 5),
        f"row group 0, column URL is compressed with LZ4, {UNREADABLE}",
    ),
    # pyarrow ends the process at the mere look at this one.
    "a codec of the future": (
        lambda path: replace_codec(path, 9),
        f"{NO_FOOTER} (TProtocolException: Invalid data); fetch it again",
    ),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_is_no_whole_parquet_is_refused(path: Path, refused: str) -> None:
    make, message = REFUSED[refused]
    make(path)

    assert refuse(path).replace(str(path), "FILE") == f"s: {message}"


def test_a_file_without_read_permission_is_refused(path: Path) -> None:
    write(path).chmod(0)
    with without_power():
        message = refuse(path)

    assert message.startswith(f"{path}: permission denied; give this user access to it")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("column", ["URL", "TEXT", "hash"])
def test_spoilt_pages_are_found_and_named(path: Path, codec: str, column: str) -> None:
    """The column `hash` has no NULL by the footer: its pages are looked at all the same."""
    write(path, compression=codec)
    start, end = find_pages(path, column, group=1)
    overwrite(path, start, b"\xff" * (end - start))

    message = refuse(path)

    assert message.startswith(f"s: is damaged: row group 1, column {column} (")
    assert message.endswith("); fetch it again")


@pytest.mark.parametrize("codec", CODECS)
def test_a_column_that_is_not_read_may_be_spoilt(path: Path, codec: str) -> None:
    write(path, compression=codec)
    start, end = find_pages(path, "digest", group=1)
    overwrite(path, start, b"\xff" * (end - start))

    assert verify_parquet(path, "s").row_count == ROWS


def test_every_flip_in_a_gzip_page_is_found(path: Path) -> None:
    """Each page has a checksum of its own."""
    write(path, compression="gzip")
    content = path.read_bytes()

    for column in ("URL", "TEXT", "hash"):
        start, _ = find_pages(path, column, group=2)
        place = content.index(b"\x1f\x8b", start) + 40
        overwrite(path, place, bytes([content[place] ^ 4]))
        assert refuse(path).startswith(f"s: is damaged: row group 2, column {column} (GZipCodec")
        path.write_bytes(content)


def test_a_flip_that_makes_other_data_is_not_found(path: Path) -> None:
    """Without checksums nothing tells one letter from another: that is what SHA-256 is for."""
    write(path, compression="none", use_dictionary=False)
    _, end = find_pages(path, "URL", group=2)
    overwrite(path, end - 1, b"!")

    assert verify_parquet(path, "s").row_count == ROWS


@pytest.mark.exhaustive
def test_a_flip_in_the_footer_never_ends_the_process(path: Path) -> None:
    table = pa.table({"URL": ["https://a.example"], "TEXT": ["t"]})
    pq.write_table(table, path, store_schema=False)
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")

    for place in range(footer, len(content) - 8, 7):
        overwrite(path, place, bytes([content[place] ^ 16]))
        try:
            assert verify_parquet(path, "s").row_count >= 0
        except ShardError as refusal:
            assert "\n" not in str(refusal)  # noqa: PT017 - a flip in a name or a minimum is no harm
        path.write_bytes(content)


def test_bytes_that_are_no_utf8_are_no_reason_to_refuse(path: Path) -> None:
    texts = pa.array([b"caf\xe9", b"ok"], pa.binary())
    spoilt = pa.Array.from_buffers(pa.string(), 2, texts.buffers())
    pq.write_table(pa.table({"URL": ["u", "v"], "TEXT": spoilt}), path)

    assert verify_parquet(path, "s") == ParquetFacts(2, is_utf8=False)


def test_rows_are_counted_and_texts_in_utf8_need_no_repair(path: Path) -> None:
    assert verify_parquet(write(path), "s") == ParquetFacts(ROWS, is_utf8=True)


@pytest.mark.parametrize("groups", [0, 1], ids=["no row group", "an empty row group"])
def test_a_file_without_rows_is_accepted(path: Path, groups: int) -> None:
    table = pa.table({"URL": pa.array([], pa.string()), "TEXT": pa.array([], pa.string())})
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(groups):
            writer.write_table(table)
    assert pq.read_metadata(path).num_row_groups == groups

    assert verify_parquet(path, "s").row_count == 0


PATHS = {
    "plain": "s.parquet",
    "quotes and blanks": "a 'b' \"c\".parquet",
    "glob": "[s]*?.parquet",
    "unicode": "日本 🦊.parquet",
    "backslash": "a\\b.parquet",
    "backslash in front": "\\s.parquet",
    "backslash and glob": "\\[s]*.parquet",
    "braces and per cent": "{a,b}%20#x=1.parquet",
}


@pytest.mark.parametrize("name", PATHS.values(), ids=list(PATHS))
def test_a_path_of_any_name_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    """The others are decoys, which a glob would find or stumble over."""
    for decoy in {*PATHS.values(), "s0.parquet"}:
        pq.write_table(pa.table({"URL": [decoy], "TEXT": ["t"]}), tmp_path / decoy)

    assert verify_parquet(tmp_path / name, "s").row_count == 1
    with plain_path(tmp_path / name) as readable, duckdb.connect() as connection:
        query = f"SELECT URL FROM read_parquet({quote_path(str(readable))})"
        assert connection.execute(query).fetchall() == [(name,)]


def test_a_link_to_a_file_does_not_outlive_its_use(tmp_path: Path) -> None:
    path = write(tmp_path / "[s].parquet")

    with plain_path(path) as readable:
        assert readable != path
        assert readable.samefile(path)

    assert not readable.parent.exists()
    assert path.exists()
