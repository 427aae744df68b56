"""What a user can set, read once from the environment; nothing else reads environment variables.

The names are those of the README's table of settings. The data folder starts at the project's home
unless it is absolute; other paths start where the program runs, which is there too. In a checkout
the home is the repository.
"""

from __future__ import annotations

import glob
import keyword
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

# The root of the checkout; meaningless where the package was installed from a wheel.
REPOSITORY = Path(__file__).resolve().parents[1]
# The files of the repository's root, as `pyproject.toml` puts them into a wheel.
WHEEL_FILES = Path(__file__).resolve().with_name("project_files")
# The encoder that the demo ships; `LAION_ENCODER=demo` names it.
DEMO_ENCODER = Path(__file__).resolve().parent / "demo" / "encoder"
# By these words of their own, our files differ from those of any other Dagster project.
OWN_WORDS = (("dagster.yaml", b"laion_assets.history"), (".env", b"LAION"))
# What can be done with pictures.
PICTURES = ("given", "fetch", "none")
# And with vectors.
EMBEDDINGS = ("given", "compute", "none")
SHEET_PREFIX = "LAION_SHEET_"
# Python stands surrogates for the bytes of a path that are no UTF-8.
UNUSABLE_IN_PATH = re.compile(r"[%?\\\x00-\x1f\x7f\ud800-\udfff]")
# How runs write their log.
LOG_FORMATS = ("text", "json")
# Lance's default, without the notice that `DataReplacement` may still change.
QUIET_LANCE_LOG = "warn,lance_table::transaction::manifest_build=error"
# An e-mail address or a web page, in a header.
_CONTACT = re.compile(r"[!-~]+@[!-~]+\.[!-~]+|https?://[!-~]+\.[!-~]+")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_SEPARATORS = re.compile(r"[,\r\n]")
# Postgres, as libpq and SQLAlchemy both take it.
_CATALOG = re.compile(r"postgres(?:ql)?://[^\s/]*/[^\s/?]+(?:\?\S*)?")
# Ray's head, where jobs are given to it.
_RAY = re.compile(r"https?://[^\s/@?#]+")
# What each machine has of its own, and what others should not read in Ray's list of jobs.
_OF_ONE_MACHINE = frozenset(
    {
        *("LAION_HOME", "LAION_HISTORY_DIR", "LAION_CURATION"),
        *("LAION_CATALOG", "LAION_ALERT_URL"),
    }
)
# Lance, Arrow and AWS programs write other signs in three ways.
_BUCKET_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]+)((?:/[A-Za-z0-9_][\w.=-]*)*)/*", re.ASCII)
_QUOTED = re.compile(r"""(["'])((?:(?!\1).)*)\1""", re.DOTALL)
# The tables of an export to SQLite beside those of the kinds; `images_fts` brings some of its own.
TAKEN_IN_SQLITE = frozenset(
    {
        *("domain", "images", "images_fts", "images_fts_config", "images_fts_content"),
        *("images_fts_data", "images_fts_docsize", "images_fts_idx"),
    }
)
# A sheet becomes an asset and a table of its kind's name, so a kind may not take one of these: the
# project's tables, assets and jobs, and what Dagster keeps for itself beside Python's keywords.
RESERVED_NAMES = frozenset(
    {
        *TAKEN_IN_SQLITE,
        *("conf", "config", "context", "input", "meta", "output", "result", "sheet", "type"),
        *("arg_dict", "bool", "dict", "float", "input_arg_dict", "int", "output_arg_dict", "str"),
        "caption_matches",
        "datasette",
        "declared_columns",
        "domain_counts",
        "embeddings",
        "entity_counts",
        "add_pictures",
        "ingest_shards",
        "lance_images",
        "pictures",
        "published",
        "raw_shards",
        "refresh_counts",
        "refreshes",
        "rejected_images",
        "release",
        "removals",
        "schema_version",
        "shard_columns",
        "shard_domains",
        "shard_figures",
        "shards",
        "sheets",
        "site_counts",
        "source_shards",
    }
)


class SettingsError(ValueError):
    """A setting that cannot be used; the message names the variable and the remedy.

    Attributes:
        code: which message it is, as that of `LaionError`.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Settings:
    """Where things come from and where they go.

    Attributes:
        data_dir: absolute folder of everything that the pipeline writes; with a bucket, of what
            stays on this machine.
        shards: locations of parquet shards, each a path, a glob or a URL.
        sheets: location of the list of names of each kind, ordered by kind.
        history: absolute folder of Dagster's history; None: beside the data.
        hub_endpoint: where the Hugging Face Hub is.
        has_hub_token: whether HF_TOKEN is set; its value is read by who sends it.
        bucket_endpoint: where the buckets of `s3://` are; None: Amazon's.
        is_anonymous: whether buckets are asked without credentials.
        pictures: `given` keeps the pictures that shards bring, `fetch` fetches the others from
            their URLs as well, `none` keeps none.
        fetch_contact: whom servers may write to about fetches; None: nothing is fetched.
        embeddings: `given` keeps the vectors that shards bring, `compute` computes the others from
            pictures as well, `none` keeps none.
        encoder: what makes vectors of texts and pictures; None: nothing does.
        alert_url: where alarms are sent; None: nowhere. It may hold a password.
        web_ui: where people find Dagster's pages.
        curation: the file of declared columns, as it was set; None: that of the data folder, which
            need not be there.
        keep_history_days: how long runs stay in the history that no page shows.
        keep_scratch_days: how long unfinished files stay that nobody works on.
        picture_cache_gb: how large the cache of fetched pictures and of vectors may become, in
            gigabytes; the daily cleaning makes it smaller.
        publish: where each release is published to: an absolute folder, or a place on the Hub;
            None: nowhere.
        removals: location of the list of what must not be shown or released; None: there is none.
        catalog: Postgres for Dagster's history and for locks; None: both are files. It may hold a
            password.
        bucket: where the Lance tables are, `s3://<bucket>/<prefix>`; None: in the data folder.
        ray: where Ray takes jobs, `http://<head>:8265`; None: runs run on this machine.
    """

    data_dir: Path
    shards: tuple[str, ...]
    sheets: Mapping[str, str]
    history: Path | None = None
    hub_endpoint: str = "https://huggingface.co"
    has_hub_token: bool = False
    bucket_endpoint: str | None = None
    is_anonymous: bool = False
    pictures: str = "given"
    fetch_contact: str | None = None
    embeddings: str = "given"
    encoder: str | None = None
    alert_url: str | None = field(default=None, repr=False)
    web_ui: str = "http://127.0.0.1:3000"
    curation: Path | None = None
    keep_history_days: float = 90
    keep_scratch_days: float = 7
    picture_cache_gb: float = 100
    publish: str | None = None
    removals: str | None = None
    catalog: str | None = field(default=None, repr=False)
    bucket: str | None = None
    ray: str | None = None

    @property
    def curation_file(self) -> Path:
        """The file of declared columns."""
        return self.curation or self.data_dir / "curation.toml"

    @property
    def raw_dir(self) -> Path:
        """Folder of the verified parquet files."""
        return self.data_dir / "raw"

    @property
    def database(self) -> Path:
        """The DuckDB database file."""
        return self.data_dir / "laion.duckdb"

    @property
    def picture_cache_dir(self) -> Path:
        """Folder of what was fetched from the URLs of pictures, and of their vectors."""
        return self.data_dir / "pictures"

    @property
    def lance_dir(self) -> Path:
        """Folder of the LanceDB database; with a bucket, of its unfinished files."""
        return self.data_dir / "lance"

    @property
    def lance_bucket(self) -> str | None:
        """Where the LanceDB database is in the bucket; None: it is in its folder."""
        return f"{self.bucket}/lance" if self.bucket else None

    @property
    def warehouse_bucket(self) -> str | None:
        """Where the tables of DuckDB are in the bucket; None: they are in its file."""
        return f"{self.bucket}/warehouse" if self.bucket else None

    @property
    def datasette_file(self) -> Path:
        """The SQLite file that `datasette` writes."""
        return self.data_dir / "datasette" / "laion.db"

    @property
    def parquet_dir(self) -> Path:
        """The folder that `laion export parquet` writes."""
        return self.data_dir / "parquet"

    @property
    def publish_dir(self) -> Path:
        """Folder of what is about to be published; it is empty between two publications."""
        return self.data_dir / "publish"

    @property
    def history_dir(self) -> Path:
        """Folder of Dagster's runs and events; it may lie on another disk than the data."""
        return self.history or self.data_dir / "dagster"

    @classmethod
    def default(cls, data_dir: Path, environ: Mapping[str, str] = os.environ) -> Settings:
        """Returns the settings of an empty environment, but for the folders of home and data."""
        sheets = find_sheets_dir(find_home(environ))
        return cls(
            data_dir=data_dir,
            shards=(f"{glob.escape(str(data_dir))}/shards/*.parquet",),
            sheets=MappingProxyType({p.stem: str(p) for p in sorted(sheets.glob("*.csv"))}),
        )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Reads the settings from environment variables; blank ones count as not set.

        Raises:
            SettingsError: a variable holds what cannot be used.
        """
        values = {name: value.strip() for name, value in environ.items()}
        data_dir, bucket = _find_data(values)
        _check_data_dir(data_dir)
        default = cls.default(data_dir, values)
        shards = _split_locations(values.get("LAION_SHARDS", ""))
        sheets = {**default.sheets, **_sheet_locations(environ)}
        contact = _read_contact(values.get("LAION_FETCH_CONTACT", ""))
        encoder = _unquote(values.get("LAION_ENCODER", "")) or None
        return cls(
            data_dir=data_dir,
            shards=shards or default.shards,
            sheets=MappingProxyType(dict(sorted(sheets.items()))),
            history=_find_folder(values, "LAION_HISTORY_DIR"),
            hub_endpoint=(values.get("HF_ENDPOINT") or default.hub_endpoint).rstrip("/"),
            has_hub_token=bool(values.get("HF_TOKEN")),
            bucket_endpoint=find_bucket_endpoint(values),
            is_anonymous=values.get("AWS_NO_SIGN_REQUEST", "").lower() in {"1", "true", "yes"},
            pictures=_read_pictures(values.get("LAION_PICTURES", ""), contact),
            fetch_contact=contact,
            embeddings=_read_embeddings(values.get("LAION_EMBEDDINGS", ""), encoder),
            encoder=encoder,
            alert_url=_unquote(values.get("LAION_ALERT_URL", "")) or None,
            web_ui=(_unquote(values.get("LAION_WEB_UI", "")) or default.web_ui).rstrip("/"),
            curation=_find_folder(values, "LAION_CURATION") or _find_curation(values, bucket),
            keep_history_days=_read_number(
                values, "LAION_KEEP_HISTORY_DAYS", default.keep_history_days
            ),
            keep_scratch_days=_read_number(
                values, "LAION_KEEP_SCRATCH_DAYS", default.keep_scratch_days
            ),
            picture_cache_gb=_read_number(
                values, "LAION_PICTURE_CACHE_GB", default.picture_cache_gb
            ),
            publish=_find_place(values, "LAION_PUBLISH"),
            removals=_unquote(values.get("LAION_REMOVALS", "")) or None,
            catalog=find_catalog(values),
            bucket=bucket,
            ray=_read_ray(values, bucket),
        )


def _split_locations(text: str) -> tuple[str, ...]:
    """Returns the locations between commas or line breaks, without quotes around all or each."""
    locations = map(_unquote, _SEPARATORS.split(_unquote(text)))
    return tuple(location for location in locations if location)


def _read_pictures(text: str, contact: str | None) -> str:
    word = _unquote(text).lower() or "given"
    if word not in PICTURES:
        raise SettingsError(
            f"LAION_PICTURES: {text!r} is not one of {', '.join(PICTURES)}",
            code="pictures-setting-unknown",
        )
    if word == "fetch" and contact is None:
        raise SettingsError(
            "LAION_PICTURES: `fetch` needs LAION_FETCH_CONTACT; set it to an e-mail address or a "
            "web page that servers may write to",
            code="fetch-contact-missing",
        )
    return word


def _read_contact(text: str) -> str | None:
    contact = _unquote(text)
    if contact and not _CONTACT.fullmatch(contact):
        raise SettingsError(
            f"LAION_FETCH_CONTACT: {contact!r} is no e-mail address and no web page; correct it",
            code="fetch-contact-unusable",
        )
    return contact or None


def _read_embeddings(text: str, encoder: str | None) -> str:
    word = _unquote(text).lower() or "given"
    if word == "compute" and encoder is None:
        raise SettingsError(
            "LAION_EMBEDDINGS: `compute` needs LAION_ENCODER; set it to the folder of an encoder "
            "in ONNX, or to one on the Hub",
            code="encoder-setting-missing",
        )
    if word not in EMBEDDINGS:
        raise SettingsError(
            f"LAION_EMBEDDINGS: {text!r} is not one of {', '.join(EMBEDDINGS)}",
            code="embeddings-unknown",
        )
    return word


def _read_number(values: Mapping[str, str], name: str, default: float) -> float:
    text = _unquote(values.get(name, ""))
    if not text:
        return default
    if not _NUMBER.fullmatch(text):
        raise SettingsError(
            f"{name}: {text!r} is not a number; write one such as {default:g}, 0 or more",
            code="setting-not-a-number",
        )
    return float(text)


def _unquote(text: str) -> str:
    quoted = _QUOTED.fullmatch(text.strip())
    return (quoted[2] if quoted else text).strip()


def _check_data_dir(data_dir: Path) -> None:
    """Refuses what the system allows in a path, and an engine cannot open.

    DuckDB cannot open a file below `?` or a backslash, Lance none below a control character, and
    Dagster's history decodes `%`; none of them takes what is not UTF-8.
    """
    if refused := UNUSABLE_IN_PATH.search(str(data_dir)):
        raise SettingsError(
            f"LAION_DATA_DIR: {str(data_dir)!r} has {refused[0]!r} in it, which DuckDB, Lance or "
            "Dagster cannot open; choose a folder without %, ?, \\ and control characters, "
            "named in UTF-8",
            code="data-dir-name-invalid",
        )


def find_history_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Returns the folder of Dagster's history, whatever else is set wrongly."""
    if history := _find_folder(environ, "LAION_HISTORY_DIR"):
        return history
    return _find_data(environ)[0] / "dagster"


def find_bucket_endpoint(environ: Mapping[str, str] = os.environ) -> str | None:
    """Returns where the buckets of `s3://` are, whatever else is set wrongly; None: Amazon's."""
    return environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None


def find_catalog(environ: Mapping[str, str] = os.environ) -> str | None:
    """Returns the address of Postgres, whatever else is set wrongly; None if none is set.

    Raises:
        SettingsError: the variable holds another address. What it holds is not shown.
    """
    catalog = _unquote(environ.get("LAION_CATALOG", ""))
    if catalog and not _CATALOG.fullmatch(catalog):
        raise SettingsError(
            "LAION_CATALOG: is not an address of a Postgres database; write it as "
            "`postgresql://user:password@host/database`",
            code="catalog-unusable",
        )
    return catalog or None


def find_ray(environ: Mapping[str, str] = os.environ) -> str | None:
    """Returns where Ray takes jobs, whatever else is set wrongly; None if runs run here.

    Raises:
        SettingsError: the variable holds another address.
    """
    ray = _unquote(environ.get("LAION_RAY", "")).rstrip("/")
    if ray and not _RAY.fullmatch(ray):
        raise SettingsError(
            f"LAION_RAY: {ray!r} is not where Ray takes jobs; write it as `http://<head>:8265`",
            code="ray-unusable",
        )
    return ray or None


def list_shared(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns the settings of this process that a run on another machine has to have, too.

    Those of one machine and those that are secret are not among them: each machine has its own.
    """
    known = {v.name for v in VARIABLES if v.name.startswith("LAION")} - _OF_ONE_MACHINE
    return {
        name: value
        for name, value in sorted(environ.items())
        if (name in known or name.startswith(SHEET_PREFIX)) and value.strip()
    }


def _read_ray(values: Mapping[str, str], bucket: str | None) -> str | None:
    ray = find_ray(values)
    lacking = [
        name
        for name, is_set in (
            ("LAION_DATA_DIR=s3://<bucket>/<prefix>", bucket is not None),
            ("LAION_CATALOG=postgresql://…", find_catalog(values) is not None),
        )
        if not is_set
    ]
    if ray and lacking:
        raise SettingsError(
            f"LAION_RAY: needs {' and '.join(lacking)}, so that all nodes have the same tables and "
            "the same history",
            code="ray-alone",
        )
    return ray


def find_log_format(environ: Mapping[str, str] = os.environ) -> str:
    """Returns how runs write their log, whatever else is set wrongly.

    Raises:
        SettingsError: the variable holds another word.
    """
    word = _unquote(environ.get("LAION_LOG_FORMAT", "")).lower() or LOG_FORMATS[0]
    if word not in LOG_FORMATS:
        raise SettingsError(
            f"LAION_LOG_FORMAT: {word!r} is not one of {', '.join(LOG_FORMATS)}; correct it",
            code="log-format-unknown",
        )
    return word


def find_misspelt(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns variables that nothing reads, each with the name of the setting it resembles."""
    import difflib

    names = [variable.name for variable in VARIABLES]
    found: dict[str, str] = {}
    for name in sorted(environ):
        is_ours = name.startswith("LAION") and not name.startswith(SHEET_PREFIX)
        if is_ours and name not in names and environ[name].strip():
            found.update((name, near) for near in difflib.get_close_matches(name, names, 1, 0.85))
    return found


def hush_lance() -> None:
    """Keeps Lance from writing a notice to the terminal at each commit of columns.

    Lance looks for the variable when it is first imported; one that is set stays. Statistics of a
    vector index come without its centroids, which nobody needs and the terminal is warned of.
    """
    os.environ.setdefault("LANCE_LOG", QUIET_LANCE_LOG)
    os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")


def find_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Returns the project's folder: where its settings are and where relative paths start.

    It is `LAION_HOME`; else the current folder, if that is a project; else the checkout that the
    package runs from; else a folder of this user.
    """
    if named := environ.get("LAION_HOME", "").strip():
        return Path.cwd() / Path(named).expanduser()
    if is_project(Path.cwd()):
        return Path.cwd()
    return REPOSITORY if is_checkout() else Path.home() / ".local" / "share" / "laion"


def is_project(folder: Path) -> bool:
    """Returns whether a folder has our `dagster.yaml` or `.env`."""
    return any(
        (folder / name).is_file() and word in (folder / name).read_bytes()
        for name, word in OWN_WORDS
    )


def is_checkout() -> bool:
    """Returns whether the package runs from a checkout, and not from a wheel."""
    return not WHEEL_FILES.is_dir()


def find_files_dir() -> Path:
    """Returns the folder of the files that a new project begins with."""
    return REPOSITORY if is_checkout() else WHEEL_FILES


def find_sheets_dir(home: Path) -> Path:
    """Returns the folder of the lists of names: the project's own, else the bundled ones."""
    own = home / "data" / "sheets"
    return own if own.is_dir() else find_files_dir() / "data" / "sheets"


def _find_folder(environ: Mapping[str, str], variable: str) -> Path | None:
    """Returns an absolute folder or file; None if the variable is blank or not set."""
    folder = environ.get(variable, "").strip()
    return find_home(environ) / Path(folder).expanduser() if folder else None


def _find_data(environ: Mapping[str, str]) -> tuple[Path, str | None]:
    """Returns the folder of the data, and the bucket of the Lance tables if that is set.

    Raises:
        SettingsError: the variable has a URL that is no bucket.
    """
    text = _unquote(environ.get("LAION_DATA_DIR", ""))
    home_data = find_home(environ) / "data"
    if "://" not in text:
        return _find_folder(environ, "LAION_DATA_DIR") or home_data, None
    found = _BUCKET_URL.fullmatch(text)
    if found is None:
        raise SettingsError(
            f"LAION_DATA_DIR: {text!r} is no folder and no bucket; write s3://<bucket>/<prefix>, "
            "with letters, digits, `.`, `_`, `=` and `-`",
            code="data-dir-url-unusable",
        )
    # A folder for each: what it says of the tables is about those of one place.
    return home_data / "s3" / f"{found[1]}{found[2]}", f"s3://{found[1]}{found[2]}"


def _find_curation(environ: Mapping[str, str], bucket: str | None) -> Path | None:
    """Returns the project's own file of declared columns, where the data are in a bucket."""
    file = find_home(environ) / "data" / "curation.toml"
    return file if bucket and file.is_file() else None


def _find_place(environ: Mapping[str, str], variable: str) -> str | None:
    """Returns a URL as it is, or an absolute folder; None if the variable is blank or not set."""
    place = _unquote(environ.get(variable, ""))
    if not place or "://" in place:
        return place or None
    return str(find_home(environ) / Path(place).expanduser())


def _sheet_locations(environ: Mapping[str, str]) -> dict[str, str]:
    locations = {}
    for variable, value in environ.items():
        if variable.startswith(SHEET_PREFIX) and value.strip():
            kind = variable.removeprefix(SHEET_PREFIX).lower()
            _check_kind(kind, variable)
            locations[kind] = value.strip()
    return locations


def _check_kind(kind: str, variable: str) -> None:
    is_name = kind.isidentifier() and kind.isascii() and not keyword.iskeyword(kind)
    # SQLite keeps `sqlite_` for itself.
    if not is_name or kind in RESERVED_NAMES or kind.startswith("sqlite_"):
        raise SettingsError(
            f"{variable}: {kind!r} cannot name a table of names; use letters, digits and _ after "
            f"{SHEET_PREFIX}, but not a keyword of Python, nothing that begins with `sqlite_`, and "
            f"none of {', '.join(sorted(RESERVED_NAMES))}",
            code="kind-name-invalid",
        )


@dataclass(frozen=True)
class Variable:
    """One variable of the environment, for the reference; a test finds those that are missing.

    Attributes:
        name: how it is written in the environment or in `.env`.
        meaning: what it sets.
        default: what holds if it is blank or not set.
    """

    name: str
    meaning: str
    default: str


VARIABLES = (
    Variable(
        "LAION_DATA_DIR",
        "The folder that the pipeline writes to. Its path may not contain `%`, `?`, backslashes or "
        "control characters. `s3://<bucket>/<prefix>` keeps the tables and releases in a "
        "bucket, and the rest in `data/s3/<bucket>/<prefix>` of the project's folder; it needs the "
        "extra `cluster`. See [Past one machine](../how-to/cluster.md).",
        "`data/` of the repository, or of the project's folder",
    ),
    Variable(
        "LAION_HOME",
        "The project's folder, with its settings and data. It is read from the environment only, "
        "not from `.env`.",
        "the current folder if it has a `dagster.yaml` or `.env` of this project, else the "
        "repository; without a checkout `~/.local/share/laion`",
    ),
    Variable(
        "LAION_HISTORY_DIR",
        "The folder of Dagster's history. On another disk than the data, the web UI still works "
        "when the disk of the data is full.",
        "`<data dir>/dagster`",
    ),
    Variable(
        "LAION_CATALOG",
        "A Postgres database for Dagster's history and for the locks of the Lance tables, so that "
        "several machines can share both: `postgresql://user:password@host/database`. It needs "
        "the extra `cluster`. See [Past one machine](../how-to/cluster.md).",
        "not set: files",
    ),
    Variable(
        "LAION_RAY",
        "A Ray cluster that runs run on, one job each: `http://<head>:8265`. It needs the extra "
        "`cluster`, LAION_CATALOG and a bucket as LAION_DATA_DIR. See "
        "[Past one machine](../how-to/cluster.md).",
        "not set: runs run on this machine",
    ),
    Variable(
        "LAION_SHARDS",
        "The parquet shards: paths (`~` is your home), globs and URLs; several with commas or line "
        "breaks, in quotes or not.",
        "`<data dir>/shards/*.parquet`",
    ),
    Variable(
        "LAION_SHEET_<KIND>",
        "A list of names: a Google Sheets link, another CSV URL, or a CSV file. "
        "`LAION_SHEET_BRANDS` adds the kind `brands`.",
        "the bundled lists of `artists`, `celebrities` and `characters`",
    ),
    Variable(
        "LAION_REMOVALS",
        "A list of what must not be shown or released, in any form that a list of names may have. "
        "See [Remove images on request](../how-to/removals.md).",
        "not set",
    ),
    Variable(
        "LAION_PICTURES",
        "`given` keeps the pictures that shards bring, in a column or in `<shard>.tar` beside "
        "`<shard>.parquet`. `fetch` fetches the others from their URLs as well. `none` keeps none.",
        "`given`",
    ),
    Variable(
        "LAION_FETCH_CONTACT",
        "An e-mail address or a web page. It is sent with every request for a picture, so that "
        "the owner of a server can write to you. Without it nothing is fetched.",
        "not set",
    ),
    Variable(
        "LAION_EMBEDDINGS",
        "`given` keeps the vectors that shards bring, in a column or in a `.npy` file: "
        "`<shard>.npy` beside `<shard>.parquet`, `img_emb/img_emb_N.npy` beside "
        "`metadata/metadata_N.parquet`, or `embeddings/X.npy` beside `metadata/X.parquet`. "
        "`compute` computes the others from pictures, with LAION_ENCODER. `none` keeps none.",
        "`given`",
    ),
    Variable(
        "LAION_ENCODER",
        "A CLIP or SigLIP model in ONNX, which makes vectors of pictures and of words: a folder, "
        "or `hf://<org>/<name>[@revision][/<folder>]`, with `vision_model.onnx`, "
        "`text_model.onnx`, `tokenizer.json` and `preprocessor_config.json` in it or in its folder "
        "`onnx`. `demo` is the small one of the demo, which knows only the demo's pictures.",
        "not set",
    ),
    Variable(
        "LAION_ALERT_URL",
        "A webhook that hears of failures: one of Slack, Discord or ntfy as they give it, another "
        "address, which gets JSON, or `mailtos://…` and whatever else Apprise knows. It can hold a "
        "password, and is shown nowhere.",
        "not set",
    ),
    Variable(
        "LAION_WEB_UI",
        "Where people find Dagster's web UI, for the links in alarms.",
        "`http://127.0.0.1:3000`",
    ),
    Variable(
        "LAION_LOG_FORMAT",
        "`json` prints each event of a run as a JSON object in a line to standard output as well: "
        "time, level, message, run, job, step, shard, event, error.",
        "`text`",
    ),
    Variable(
        "LAION_CURATION",
        "A TOML file of columns of your own. See [Columns of your own](../how-to/columns.md).",
        "`<data dir>/curation.toml`, if it is there",
    ),
    Variable(
        "LAION_KEEP_HISTORY_DAYS",
        "Days that a run stays in Dagster's history, with its events and logs, after it ended. The "
        "last run of each shard, asset and check stays anyway. `daily_clean_history` removes the "
        "others.",
        "`90`",
    ),
    Variable(
        "LAION_KEEP_SCRATCH_DAYS",
        "Days that unfinished files of killed processes stay, such as parts of downloads. "
        "`daily_clean_history` removes older ones.",
        "`7`",
    ),
    Variable(
        "LAION_PICTURE_CACHE_GB",
        "How large `<data dir>/pictures` may be, in gigabytes: what was fetched, and vectors. "
        "`daily_clean_history` removes the oldest pictures, then the oldest vectors. Those in "
        "Lance stay.",
        "`100`",
    ),
    Variable(
        "LAION_PUBLISH",
        "Where each release is published as a dataset, as `laion publish` does: a folder, or "
        "`hf://datasets/<org>/<name>`. See [Publish a release](../how-to/publish.md).",
        "not set",
    ),
    Variable(
        "HF_TOKEN",
        "The token for datasets of the Hugging Face Hub that need a login, and for publishing "
        "there. It is sent to the Hub only.",
        "not set",
    ),
    Variable("HF_ENDPOINT", "The address of another Hub.", "`https://huggingface.co`"),
    Variable(
        "AWS_ENDPOINT_URL",
        "The address of another service for `s3://`. `AWS_ENDPOINT_URL_S3` comes first.",
        "Amazon's",
    ),
    Variable("AWS_ENDPOINT_URL_S3", "The same, for `s3://` alone.", "`AWS_ENDPOINT_URL`"),
    Variable(
        "AWS_NO_SIGN_REQUEST",
        "`1`, `true` or `yes` reads public buckets without credentials.",
        "credentials are found as in every AWS program",
    ),
)
