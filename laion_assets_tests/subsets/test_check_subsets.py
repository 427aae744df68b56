"""What `[subsets.*]` may say, and what is refused, each by one line that names the line."""

from pathlib import Path

import pytest

from laion_assets.curation.curation_file import read_curation
from laion_assets.curation.place import CurationError, find_line
from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.definitions import build_defs
from laion_assets.settings import Settings
from laion_assets.subsets.check_subsets import check_subsets
from laion_assets.subsets.subset_record import digest_subset

COLUMNS = """[columns.mine]
sql = "width * 2"
[columns.joined]
file = "x.csv"
on = "url"
value = "v"
"""


def read(folder: Path, text: str) -> tuple[DeclaredSubset, ...]:
    path = folder / "curation.toml"
    path.write_text(COLUMNS + text, encoding="utf-8")
    curation = read_curation(path)
    check_subsets(curation, ("artists",))
    return curation.subsets


def test_a_subset_is_read_as_it_is_written(tmp_path: Path) -> None:
    lemurs, rest = read(
        tmp_path,
        """
        [subsets.lemurs]
        where = "aesthetic >= 6.5 AND mine > 3 AND joined = 'x'"
        search = "lemur"
        like = "a lemur in a tree"
        limit = 500
        columns = ["image_id", "url", "image", "img_emb", "mine"]
        [subsets.rest]
        """,
    )
    assert (lemurs.search, lemurs.like, lemurs.limit) == ("lemur", "a lemur in a tree", 500)
    assert lemurs.columns == ("image_id", "url", "image", "img_emb", "mine")
    assert (rest.name, rest.describe()) == ("rest", {})


@pytest.mark.slow
def test_another_definition_has_another_digest_wherever_it_stands(tmp_path: Path) -> None:
    first, second, third = (
        read(tmp_path, f"{before}[subsets.a]\nsearch = '{words}'")[0]
        for before, words in (("", "fox"), ("\n# later\n", "fox"), ("", "foxes"))
    )
    assert digest_subset(first) == digest_subset(second) != digest_subset(third)


REFUSED = {
    "[subsets.images]": ("subset-name-taken", 7),
    "\n[subsets.Release]": ("subset-name-taken", 8),
    "[subsets.artists]": ("subset-name-kind", 7),
    "[subsets.a]\n[subsets.A]": ("subset-name-taken", 8),
    "[subsets.'a b']": ("subset-name-invalid", 7),
    "[subsets.a__b]": ("subset-name-invalid", 7),
    "[subsets._a]": ("subset-name-invalid", 7),
    "[subsets]\na = 1": ("curation-no-subset", 7),
    "[subsets.a]\n\nwhere = 1": ("subset-no-text", 9),
    "[subsets.a]\nsearch = ' '": ("subset-no-text", 8),
    "[subsets.a]\nlimit = 0": ("subset-limit-invalid", 8),
    "[subsets.a]\nlimit = true": ("subset-limit-invalid", 8),
    "[subsets.a]\nlimit = 1.5": ("subset-limit-invalid", 8),
    "[subsets.a]\nwher = 'x'": ("curation-key-unknown", 8),
    "[subsets.a]\nlimit = 1\ncolumns = 'url'": ("subset-columns-no-list", 9),
    "[subsets.a]\ncolumns = []": ("subset-columns-no-list", 8),
    "[subsets.a]\ncolumns = ['url', 'url']": ("subset-column-twice", 8),
    "[subsets.a]\ncolumns = ['caption_words']": ("subset-column-unknown", 8),
    "[subsets.a]\ncolumns = [\n 'urls']": ("subset-column-unknown", 8),
    "[subsets.a]\nwhere = 'widht > 3'": ("expression-column", 8),
    "[subsets.a]\nwhere = 'caption_words > 3'": ("expression-column", 8),
    "[subsets.a]\nwhere = 'width >'": ("expression-syntax", 8),
    "[subsets.a]\nwhere = 'true) OR (true'": ("expression-syntax", 8),
    "[subsets.a]\nwhere = 'width'": ("where-no-condition", 8),
    "[subsets.a]\nwhere = 'lower(caption) = 3'": ("where-part", 8),
    "[subsets.a]\nwhere = 'mine > joined AND upper(joined)'": ("where-part", 8),
    "[subsets.a]\nwhere = 'caption > 3 AND width'": ("expression-unbound", 8),
    "[subsets.a]\nwhere = 'image IS NULL'": ("expression-column", 8),
    "[subsets.a]\nsearch = '-fox'": ("subset-no-words", 8),
    "[subsets.a]\nsearch = '!'": ("subset-no-words", 8),
    "[subsets.a]\nsearch = 'a \"fox'": ("subset-search-unclear", 8),
    "subsets.a.limit = -1": ("curation-key-unknown", 7),
    "[subsets]\na.limit = -1": ("subset-limit-invalid", 8),
    "[subsets]\na = {limit = -1}": ("subset-limit-invalid", 8),
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    code, line = REFUSED[text]
    with pytest.raises(CurationError) as found:
        read(tmp_path, text)
    assert found.value.code == code, found.value
    assert str(found.value).startswith(f"{tmp_path / 'curation.toml'}:{line} ["), found.value
    assert "\n" not in str(found.value)


def test_definitions_are_refused_with_the_line(settings: Settings) -> None:
    settings.data_dir.mkdir()
    settings.curation_file.write_text("\n[subsets.a]\nwhere = 'x > 1'", encoding="utf-8")
    with pytest.raises(CurationError, match=r"curation\.toml:3 \[subsets\.a\.where\]: there is no"):
        build_defs(settings)


def test_texts_of_several_lines_are_no_keys() -> None:
    text = "[a.b]\nsql = '''\nwhere = 3\n[a.c]\n'''\nwhere = 1\n[a.c]\n'w' = 2"
    assert find_line(text, ("a", "b", "where")) == 6
    assert find_line(text, ("a", "c")) == 7
    assert find_line(text, ("a", "c", "w")) == 8
    assert find_line(text, ("a", "b", "none")) == 1
    assert find_line(text, ("none",)) == 1
