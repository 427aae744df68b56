"""The columns of every table, written once: DuckDB and Arrow types, meaning, names in the sources.

Source: the dataset cards of the LAION releases for the names of source columns; the meaning of the
scores is that of the LAION-5B paper (Schuhmann et al., 2022) and of the aesthetic predictor V2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: its name in DuckDB and Lance.
        type: its DuckDB type.
        description: what a value means, with its unit or range.
        sources: lower-cased names under which LAION releases have it; none: it is derived.
        is_required: never NULL; a source without the column is refused.
        is_integer_only: read from integer columns only; of another type, it is something else.
        is_text_only: likewise of text.
        compression: how DuckDB packs it; None: it tries all ways that it has, which takes longer
            than packing.
        since: the version of the schema that added it; 0: it was there from the start.
        default: SQL literal for the rows that are older than it; None: NULL. A required column that
            was added needs one, or the next.
        derivation: SQL expression over the other columns that gives its value, for the rows that
            are older than it.
    """

    name: str
    type: str
    description: str
    sources: tuple[str, ...] = ()
    is_required: bool = False
    is_integer_only: bool = False
    is_text_only: bool = False
    compression: str | None = None
    since: int = 0
    default: str | None = None
    derivation: str | None = None


# Of the tables below. Raise it by 1 when a table or a column is added, and give the column that
# `since`: data of an older version get it when they are next opened (`stores/migration.py`).
SCHEMA_VERSION = 7
# Raise it when the rules change so that a file gives other rows than before; also when a column is
# added whose values come from the file. Shards of another version are loaded again.
CLEANING_VERSION = "5"

# Which split an image is in, as SQL. It looks at other bits of the id than a sample like
# `image_id % 10` does, so that such a sample has all three. It must never change.
SPLIT = (
    "CASE WHEN (image_id >> 33) % 100 < 90 THEN 'train' "
    "WHEN (image_id >> 33) % 100 < 95 THEN 'validation' ELSE 'test' END"
)

IMAGES = (
    Column(
        "image_id",
        "BIGINT",
        "Identity of the pair of URL and caption: the same on every machine, run and version.",
        is_required=True,
        compression="uncompressed",
    ),
    Column(
        "url",
        "VARCHAR",
        "Where the image was found.",
        ("url",),
        is_required=True,
        compression="zstd",
    ),
    Column(
        "caption",
        "VARCHAR",
        "Text that stood beside the image, as in the source.",
        ("text", "caption", "top_caption"),
        is_required=True,
        compression="zstd",
    ),
    Column(
        "domain",
        "VARCHAR",
        "Host of the URL, lower case, no port.",
        is_required=True,
        compression="dict_fsst",
    ),
    Column("width", "INTEGER", "Pixels.", ("width", "original_width")),
    Column("height", "INTEGER", "Pixels.", ("height", "original_height")),
    Column(
        "similarity",
        "FLOAT",
        "CLIP cosine similarity of image and caption, -1 to 1.",
        (
            "similarity",
            "clip_similarity_vitl14",
            "clip_similarity_vitb32",
            "clip_l14_similarity_score",
            "clip_b32_similarity_score",
        ),
    ),
    Column("punsafe", "FLOAT", "Probability that the image is unsafe, 0 to 1.", ("punsafe",)),
    Column(
        "pwatermark",
        "FLOAT",
        "Probability that it bears a watermark, 0 to 1.",
        ("pwatermark", "watermark_score"),
    ),
    Column(
        "aesthetic",
        "FLOAT",
        "Predicted aesthetic score, 0 to 10.",
        ("aesthetic_score", "aesthetic", "aesthetic_score_laion_v2"),
    ),
    Column("nsfw", "VARCHAR", "Safety label, as in the source.", ("nsfw",)),
    Column("license", "VARCHAR", "Licence label, as in the source.", ("license",)),
    Column("language", "VARCHAR", "Language of the caption, as in the source.", ("language",)),
    Column(
        "hash",
        "BIGINT",
        "Hash of the row, as in the source.",
        ("hash",),
        is_integer_only=True,
        compression="uncompressed",
    ),
    Column(
        "registered_domain",
        "VARCHAR",
        "The domain that somebody registered (public suffix list); the host where there is none.",
        compression="dict_fsst",
        since=2,
    ),
    Column(
        "split",
        "VARCHAR",
        "train, validation or test (90, 5 and 5 %), from `image_id` alone: all copies of an image "
        "are in one.",
        is_required=True,
        compression="dict_fsst",
        since=4,
        derivation=SPLIT,
    ),
    Column(
        "key",
        "VARCHAR",
        "Name of the row, as in the source.",
        ("key", "uid", "id"),
        compression="dict_fsst",
        since=4,
    ),
    Column("shard", "VARCHAR", "Partition key: the shard's file name.", is_required=True),
    Column("row_index", "BIGINT", "Position in the shard's file, from 0.", is_required=True),
)

# What a source says of a picture. In Lance the asset `pictures` writes these columns, as they tell
# the same of pictures that were fetched.
MD5 = Column(
    "md5",
    "VARCHAR",
    "MD5 of the picture before it was resized, as in the source.",
    ("md5", "hash"),
    is_text_only=True,
    compression="dict_fsst",
    since=6,
)
ORIGINAL_WIDTH = Column(
    "original_width", "INTEGER", "Pixels before a resize.", ("original_width",), since=6
)
ORIGINAL_HEIGHT = Column(
    "original_height", "INTEGER", "Pixels before a resize.", ("original_height",), since=6
)

# What the DuckDB table `images` has.
DUCKDB_IMAGES = (*IMAGES, MD5, ORIGINAL_WIDTH, ORIGINAL_HEIGHT)

# What the Lance table `images` has from the first load of a shard on.
LANCE_IMAGES = (
    *IMAGES,
    Column(
        "caption_words",
        "VARCHAR",
        "Words of the caption as SQLite FTS5 reads them; NULL where Lance reads the same.",
    ),
)

# What the Lance table `images` gets later, by the asset that writes them; NULL where there is none.
# The first column of each says whether a row has them.
LANCE_PICTURES = (
    Column(
        "image",
        "BLOB",
        "The picture as it was given: bytes of a JPEG, PNG or WebP file.",
        ("image", "jpg", "jpeg", "png", "webp"),
    ),
    Column(
        "status",
        "VARCHAR",
        "success, undecodable, not_given, failed_to_download, failed_to_resize, or what the "
        "source says of a picture that it lacks.",
        ("status",),
    ),
    Column(
        "error_message",
        "VARCHAR",
        "Why there is no picture, as in the source, or why it could not be decoded.",
        ("error_message",),
    ),
    Column("exif", "VARCHAR", "EXIF data as JSON, as in the source.", ("exif",)),
    MD5,
    Column("picture_sha256", "VARCHAR", "SHA-256 of the bytes in `image`, in hexadecimal."),
    Column("phash", "BIGINT", "Perceptual hash: pictures that look alike differ in few bits."),
    ORIGINAL_WIDTH,
    ORIGINAL_HEIGHT,
)
LANCE_EMBEDDINGS = (
    Column(
        "img_emb",
        "FLOAT[]",
        "CLIP vector of the picture, of unit length: in Lance a fixed-size list of float16, of one "
        "dimension for the whole table.",
        ("img_emb", "image_embedding", "image_emb"),
    ),
)
ADDED_COLUMNS = {"pictures": LANCE_PICTURES, "embeddings": LANCE_EMBEDDINGS}

# What sources write in the column `nsfw` for an image that may be unsafe, in upper case. LAION-400M
# and LAION-5B have UNLIKELY, UNSURE and NSFW; others a number or a truth value.
UNSAFE_LABELS = ("NSFW", "UNSURE", "1", "1.0", "TRUE")

# The least and the greatest value that a score can have.
SCORE_RANGES = {
    "similarity": (-1, 1),
    "punsafe": (0, 1),
    "pwatermark": (0, 1),
    "aesthetic": (0, 10),
}

REJECTED_IMAGES = (
    Column("shard", "VARCHAR", "Partition key: the shard's file name.", is_required=True),
    Column("row_index", "BIGINT", "Position in the shard's file, from 0.", is_required=True),
    Column("url", "VARCHAR", "As in the source; NULL if it was removed."),
    Column("caption", "VARCHAR", "As in the source; NULL if it was removed."),
    Column(
        "reason",
        "VARCHAR",
        "missing_url, invalid_url, missing_caption, or removed: on the list of removals.",
        is_required=True,
    ),
)

SHARDS = (
    Column("shard", "VARCHAR", "Partition key: the shard's file name.", is_required=True),
    Column(
        "load_id", "VARCHAR", "Names this load of the shard; another one has another.", (), True
    ),
    Column("source", "VARCHAR", "Where the file came from.", is_required=True),
    Column("sha256", "VARCHAR", "SHA-256 of the file, in hexadecimal.", is_required=True),
    Column("file_bytes", "BIGINT", "Size of the file.", is_required=True),
    Column("file_rows", "BIGINT", "Rows in the file.", is_required=True),
    Column("image_count", "BIGINT", "Rows of it in `images`.", is_required=True),
    Column("rejected_count", "BIGINT", "Rows of it in `rejected_images`.", is_required=True),
    Column(
        "cleaning_version",
        "VARCHAR",
        "Of the rules that cleaned it.",
        is_required=True,
        since=1,
        default="'0'",
    ),
    Column(
        "lance_version",
        "BIGINT",
        "First version of Lance's `images` with it; NULL: none yet.",
        since=1,
    ),
    Column("run_id", "VARCHAR", "The Dagster run that loaded it.", is_required=True),
    Column("loaded_at", "TIMESTAMPTZ", "When it was loaded.", is_required=True),
    Column(
        "is_sample",
        "BOOLEAN",
        "Whether its rows are invented by `laion demo`.",
        is_required=True,
        since=1,
        default="false",
    ),
    Column(
        "origin_sha256",
        "VARCHAR",
        "SHA-256 of the file that the rows came from at first, if they were read from a published "
        "release; NULL: that of `sha256`.",
        since=5,
    ),
)

SHARD_FIGURES = (
    Column("shard", "VARCHAR", "Partition key: the shard's file name.", is_required=True),
    Column(
        "figure",
        "VARCHAR",
        "repeated, non_ascii, missing_<column> or out_of_range_<score>.",
        is_required=True,
    ),
    Column("row_count", "BIGINT", "Rows of the shard in `images` of which it is true.", (), True),
)

SHEETS = (
    Column("kind", "VARCHAR", "The kind of names, which is the name of their table.", (), True),
    Column("location", "VARCHAR", "Where the sheet is, as it was set.", is_required=True),
    Column("sha256", "VARCHAR", "SHA-256 of the CSV, in hexadecimal.", is_required=True),
    Column("etag", "VARCHAR", "The server's name for this content."),
    Column("name_header", "VARCHAR", "Header of the column of names.", is_required=True),
    Column("name_count", "BIGINT", "Names in the table.", is_required=True),
    Column("previous_count", "BIGINT", "Names in the table before this one."),
    Column("repeated", "VARCHAR[]", "Names that stood there more than once.", is_required=True),
    Column("blank_count", "BIGINT", "Rows without a name, left out.", is_required=True),
    Column("changed_at", "TIMESTAMPTZ", "When this content was first read.", is_required=True),
    Column(
        "error_count",
        "BIGINT",
        "Rows with an error of the spreadsheet in place of a name, left out.",
        is_required=True,
        since=1,
        default="0",
    ),
    Column(
        "reading_version",
        "BIGINT",
        "Version of the rules by which the list was read.",
        is_required=True,
        since=1,
        default="0",
    ),
)

CAPTION_MATCHES = (
    Column("shard", "VARCHAR", "Partition key: the shard's file name.", is_required=True),
    Column("phrase", "VARCHAR", "A name as a phrase of FTS5 tokens.", is_required=True),
    Column("image_count", "BIGINT", "Captions of the shard that hold the phrase.", (), True),
)

SHARD_DOMAINS = (
    Column("shard", "VARCHAR", "Partition key: the shard's file name.", is_required=True),
    Column("domain", "VARCHAR", "Host of image URLs.", is_required=True, compression="dict_fsst"),
    Column(
        "registered_domain",
        "VARCHAR",
        "Its registered domain, as in `images`.",
        compression="dict_fsst",
    ),
    Column("image_count", "BIGINT", "Images of the shard from that host.", is_required=True),
)

REFRESHES = (
    Column("table_name", "VARCHAR", "A table of counts.", is_required=True),
    Column("snapshot", "VARCHAR", "Digest of the loads of all shards it counts.", (), True),
    Column(
        "names_sha256", "VARCHAR", "Digest of the names it counts, if it counts names.", since=1
    ),
    Column("refreshed_at", "TIMESTAMPTZ", "When it was counted.", is_required=True),
)

DOMAIN_COUNTS = (
    Column("domain", "VARCHAR", "Host of the image URLs.", is_required=True),
    Column("image_count", "BIGINT", "Images from that host.", is_required=True),
)

SITE_COUNTS = (
    Column("registered_domain", "VARCHAR", "Registered domain of the hosts.", is_required=True),
    Column("image_count", "BIGINT", "Images from all of its hosts.", is_required=True),
    Column("host_count", "BIGINT", "Its hosts with images.", is_required=True),
)

ENTITY_COUNTS = (
    Column("kind", "VARCHAR", "The sheet that the name stands in.", is_required=True),
    Column("name", "VARCHAR", "The name as the sheet has it.", is_required=True),
    Column("image_count", "BIGINT", "Images whose caption matches the name.", is_required=True),
)

PICTURES = (
    Column("shard", "VARCHAR", "Partition key: the shard's file name.", is_required=True),
    Column("row_index", "BIGINT", "Position in the shard's file, from 0.", is_required=True),
    Column(
        "image_id",
        "BIGINT",
        "As in `images`; a new load keeps pictures by it.",
        is_required=True,
        compression="uncompressed",
    ),
    Column("status", "VARCHAR", "As in Lance's `images`.", is_required=True),
    Column("error_message", "VARCHAR", "As in Lance's `images`."),
    Column(
        "source",
        "VARCHAR",
        "given: the shard brought it; fetched: from its URL; NULL: there is no picture.",
    ),
    Column("format", "VARCHAR", "JPEG, PNG or WEBP."),
    Column("byte_count", "BIGINT", "Size of the picture."),
    Column("width", "INTEGER", "Pixels of the picture itself."),
    Column("height", "INTEGER", "Pixels of the picture itself."),
    Column("reason", "VARCHAR", "Why nothing came of a fetch, in a word; NULL: it was not asked."),
    Column("is_passing", "BOOLEAN", "Whether a fetch may go well another time."),
    Column("http_status", "INTEGER", "Of the last answer of a server."),
    Column("final_url", "VARCHAR", "Where the last answer came from, after redirects."),
    Column("seconds", "FLOAT", "A fetch took in all."),
    Column("received_bytes", "BIGINT", "Size of the picture as it came."),
    Column("fetched_at", "VARCHAR", "When it was fetched; ISO 8601, UTC."),
)

SHARD_COLUMNS = (
    Column("shard", "VARCHAR", "Partition key: the shard's file name.", is_required=True),
    Column(
        "column_set",
        "VARCHAR",
        "The asset that writes the columns; of a declared column `declared.` and its name.",
        is_required=True,
    ),
    Column("load_id", "VARCHAR", "The load of the shard that they were written for.", (), True),
    Column("made_from", "VARCHAR", "Names what they were made from, content and rules.", (), True),
    Column("value_count", "BIGINT", "Rows of the shard that have them.", is_required=True),
    Column("data_bytes", "BIGINT", "Size of their files in Lance.", is_required=True),
    Column("digest", "VARCHAR", "SHA-256 of the values by row, in hexadecimal.", is_required=True),
    Column(
        "lance_version",
        "BIGINT",
        "First version of Lance's `images` with them; NULL: they are being written.",
    ),
    Column("run_id", "VARCHAR", "The Dagster run that wrote them.", is_required=True),
    Column("made_at", "TIMESTAMPTZ", "When they were written.", is_required=True),
)

SCHEMA_VERSIONS = (
    Column("version", "BIGINT", "Version of the schema of all tables here.", is_required=True),
)

# The tables that exist from the start, even when empty; sheets add one table a kind.
TABLES = {
    "images": DUCKDB_IMAGES,
    "rejected_images": REJECTED_IMAGES,
    "shards": SHARDS,
    "shard_figures": SHARD_FIGURES,
    "shard_domains": SHARD_DOMAINS,
    "sheets": SHEETS,
    "caption_matches": CAPTION_MATCHES,
    "refreshes": REFRESHES,
    "domain_counts": DOMAIN_COUNTS,
    "site_counts": SITE_COUNTS,
    "entity_counts": ENTITY_COUNTS,
    "pictures": PICTURES,
    "shard_columns": SHARD_COLUMNS,
    "schema_version": SCHEMA_VERSIONS,
}


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Returns the Arrow schema of a table, as Lance stores it."""
    import pyarrow as pa

    return pa.schema(
        [pa.field(c.name, arrow_type(c.type), nullable=not c.is_required) for c in columns]
    )


def arrow_type(name: str) -> pa.DataType:
    """Returns the Arrow type of a DuckDB type, as Lance stores it."""
    import pyarrow as pa

    return {
        "BIGINT": pa.int64(),
        "BLOB": pa.large_binary(),
        "BOOLEAN": pa.bool_(),
        "DATE": pa.date32(),
        "DOUBLE": pa.float64(),
        "FLOAT": pa.float32(),
        "INTEGER": pa.int32(),
        "SMALLINT": pa.int16(),
        "TIMESTAMP": pa.timestamp("us"),
        "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
        "TINYINT": pa.int8(),
        "UBIGINT": pa.uint64(),
        "UINTEGER": pa.uint32(),
        "USMALLINT": pa.uint16(),
        "UTINYINT": pa.uint8(),
        "VARCHAR": pa.string(),
        "VARCHAR[]": pa.list_(pa.string()),
    }[name]


def vector_schema(dimension: int) -> pa.Schema:
    """Returns the Arrow schema of `LANCE_EMBEDDINGS` for vectors of so many numbers."""
    import pyarrow as pa

    return pa.schema(
        [pa.field(c.name, pa.list_(pa.float16(), dimension)) for c in LANCE_EMBEDDINGS]
    )
