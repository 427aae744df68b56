"""Digests of the newest release spare who looks for changes its record, and say what it would."""

from collections.abc import Callable
from pathlib import Path

import pytest

from laion_assets.releases.catalog import list_tags, newest_release
from laion_assets.releases.cleanup import delete_release
from laion_assets.releases.coverage import find_unreleased
from laion_assets.releases.digests import DIGESTS_KEY, read_digests
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.version_files import parse_version
from laion_assets_tests.pipeline import count, ingest, publish, refresh

pytestmark = pytest.mark.slow


def find(settings: Settings) -> str | None:
    return find_unreleased(Database.of(settings), LanceStore.of(settings), tuple(settings.sheets))


def has_digests(settings: Settings) -> bool:
    store = LanceStore.of(settings)
    return read_digests(store.open("images"), list_tags(store)) is not None


def test_what_is_released_is_known_without_its_record(settings: Settings) -> None:
    ingest(settings, "a", "a fox", "a boat")
    refresh(settings)
    images = LanceStore.of(settings).open("images")
    images.update_metadata({"word": "of somebody else"})
    (record,) = (
        path
        for path in Path(images.uri).glob("_versions/*.manifest")
        if parse_version(f"_versions/{path.name}") == images.version - 1
    )
    record.unlink()
    with pytest.raises((OSError, ValueError)):
        newest_release(LanceStore.of(settings))

    assert find(settings) is None
    ingest(settings, "b", "a wolf")
    count(settings)
    with pytest.raises((OSError, ValueError)):
        find(settings)


def tag_again(settings: Settings) -> None:
    images = LanceStore.of(settings).open("images")
    images.update_metadata({"word": "of somebody else"})
    images.tags.create("theirs", images.version)


def write_digests(text: str | None) -> Callable[[Settings], None]:
    def write(settings: Settings) -> None:
        LanceStore.of(settings).open("images").update_metadata({DIGESTS_KEY: text})

    return write


@pytest.mark.parametrize(
    "change",
    [write_digests(None), write_digests("{}"), write_digests("no JSON"), tag_again],
    ids=["none", "others", "broken", "a newer tag"],
)
def test_where_digests_do_not_tell_the_record_is_read(
    settings: Settings, change: Callable[[Settings], None]
) -> None:
    ingest(settings, "a", "a fox")
    tag = refresh(settings)
    assert has_digests(settings)
    change(settings)

    assert not has_digests(settings)
    assert find(settings) is None
    published = publish(settings)
    assert (published.is_new, published.manifest.release) == (False, tag)


def test_digests_of_a_release_that_was_deleted_say_nothing(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    first = refresh(settings)
    ingest(settings, "a", "a wolf")
    second = refresh(settings)
    delete_release(LanceStore.of(settings), second)

    assert not has_digests(settings)
    assert find(settings) is not None
    published = publish(settings)
    assert published.is_new
    assert published.manifest.release not in {first, second}
    assert find(settings) is None
