"""SQLite files that stay open."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import text

from laion_assets.stores.sqlite_engines import MAX_ENGINES, SqliteEngines, is_stamped


def list_open(folder: Path) -> set[str]:
    descriptors = (path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    return {path.name for path in descriptors if path.parent == folder and path.suffix == ".db"}


def write(engines: SqliteEngines, path: Path, value: int = 0) -> None:
    with engines.find(path).begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS t (value INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (:value)"), {"value": value})


def test_the_files_that_were_used_last_stay_open(tmp_path: Path) -> None:
    engines = SqliteEngines()
    paths = [tmp_path / f"{number}.db" for number in range(MAX_ENGINES + 1)]
    for path in paths[:-1]:
        write(engines, path)
    write(engines, paths[0])
    write(engines, paths[-1])

    assert list_open(tmp_path) == {path.name for path in paths if path != paths[1]}
    engines.close()
    assert list_open(tmp_path) == set()


def test_a_file_that_was_closed_is_opened_again(tmp_path: Path) -> None:
    engines = SqliteEngines()
    write(engines, tmp_path / "a.db")
    engines.close()

    write(engines, tmp_path / "a.db")

    with engines.find(tmp_path / "a.db").connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 2
    engines.close()


def test_many_threads_have_a_connection_each(tmp_path: Path) -> None:
    engines = SqliteEngines()
    write(engines, tmp_path / "a.db")
    with engines.find(tmp_path / "a.db").connect() as connection:
        connection.execute(text("PRAGMA journal_mode = WAL"))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda value: write(engines, tmp_path / "a.db", value), range(1, 200)))

    with engines.find(tmp_path / "a.db").connect() as connection:
        found = connection.execute(text("SELECT value FROM t ORDER BY value")).scalars().all()
    engines.close()
    assert found == list(range(200))


def test_a_file_without_a_revision_has_to_be_created(tmp_path: Path) -> None:
    engines = SqliteEngines()
    path = tmp_path / "a.db"
    assert not is_stamped(path)
    write(engines, path)
    assert not is_stamped(path)
    with engines.find(path).begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
    assert not is_stamped(path)
    with engines.find(path).begin() as connection:
        connection.execute(text("INSERT INTO alembic_version VALUES ('1')"))
    assert is_stamped(path)
    engines.close()
