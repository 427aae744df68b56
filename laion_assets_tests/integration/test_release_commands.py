"""`laion release`: what a person reads of two releases, and what is left when one is deleted."""

from pathlib import Path

import lance

from laion_assets_tests.integration.conftest import (
    Shell,
    bring_source,
    release_source,
    write_source,
)


def test_releases_are_listed_shown_compared_and_deleted(shell: Shell, tmp_path: Path) -> None:
    name_lists(shell, tmp_path / "names.csv", "Claude Monet", "[Someone]")
    first = release_source(shell, write_source(shell, "one", "[Someone]", rows=3))
    bring_source(shell, write_source(shell, "one", "Claude Monet", rows=2))
    second = release_source(shell, write_source(shell, "two", rows=4))
    listed = split_lines(run(shell, "list"))[1:]
    assert [(tag, *counts) for tag, _, _, *counts, _ in listed] == [
        (second, "2", "6"),
        (first, "1", "3"),
    ]

    shown = run(shell, "show", first).splitlines()

    facts = {name: fact.strip() for name, fact in (line.split(":", 1) for line in shown[:11])}
    assert facts["Release"] == first
    assert facts["Content SHA-256"] == listed[1][-1]
    assert facts["Vectors"] == "none"
    assert facts["Rows"].startswith("images 3, ")
    (shard,) = (words for words in split_lines("\n".join(shown)) if words[:1] == ["one"])
    assert shard[1:3] == ["3", "0"]
    assert shard[-1] == str(tmp_path / "source" / "one.parquet")

    changes = split_lines(run(shell, "diff", first, second))

    assert changes[0] == [first, "->", second]
    for line in (
        "images: 3 -> 6",
        "shards added: 1: two",
        "shards removed: 0",
        "shards changed: 1: one",
        "domains whose count moved: 2",
        "+4 two.test: 0 -> 4",
        "-1 one.test: 3 -> 2",
        "+2 Claude Monet (artists): 0 -> 2",
        "-3 [Someone] (artists): 3 -> 0",
    ):
        assert line.split() in changes

    deleted = run(shell, "delete", first, "--keep-days", "0")

    assert deleted.startswith(f"{first} is no release any more; ")
    assert [tag for tag, *_ in split_lines(run(shell, "list"))[1:]] == [second]
    images = lance.dataset(shell.settings.lance_dir / "images.lance", version=second)
    assert images.count_rows() == 6


def name_lists(shell: Shell, sheet: Path, *names: str) -> None:
    sheet.write_text("\n".join(("name", *names)), encoding="utf-8")
    for kind in ("ARTISTS", "CELEBRITIES", "CHARACTERS"):
        shell.variables[f"LAION_SHEET_{kind}"] = str(sheet)


def run(shell: Shell, *arguments: str) -> str:
    result = shell.run("laion", "release", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def split_lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]
