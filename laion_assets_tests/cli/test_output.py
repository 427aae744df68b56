"""What a person sees while runs go on."""

import logging

import pytest
from rich.progress import Progress

from laion_assets.cli.output import LOGGER, RunProgress, listen, show_progress
from laion_assets.raw_shards.progress import Progress as Download
from laion_assets.runs.backfill import Outcome


def test_the_bar_says_how_far_a_download_has_come() -> None:
    seen = []
    with Progress(disable=True) as progress:
        runs = RunProgress(progress, total=1)

        def run() -> Outcome:
            seen.append(progress.tasks[0].description)
            download = Download("a[b]")
            for done_bytes in (0, 15_000_000, 15_000_001, 30_000_000):
                download(done_bytes, 30_000_000)
                seen.append(progress.tasks[0].description)
            return Outcome(None, 1.0, {})

        with listen(runs.tell):
            runs.follow("a[b]", run)

    assert seen == [
        r"a\[b]",
        r"a\[b]",
        r"a\[b]: 15 of 30 MB",
        r"a\[b]: 15 of 30 MB",
        r"a\[b]: 30 of 30 MB",
    ]


def test_a_warning_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(1):
        logging.getLogger("laion_assets.download").warning("slow [x]")
        logging.getLogger("laion_assets.download").info("not a line")

    assert capsys.readouterr().err.splitlines()[0] == "slow [x]"


def test_the_end_of_a_run_says_how_many_pictures_a_shard_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metadata: dict[str, object] = {"pictures": 1234, "percent_with_picture": 61.7}
    with show_progress(1) as progress:
        progress.follow("a (pictures)", lambda: Outcome(None, 1.0, {"pictures": metadata}))

    assert capsys.readouterr().err.strip() == "done   a (pictures): 1,234 pictures (61.7 %), 1.0 s"


def test_afterwards_nobody_listens() -> None:
    before = (LOGGER.level, list(LOGGER.handlers))
    with show_progress(1):
        assert LOGGER.level == logging.INFO

    assert (LOGGER.level, LOGGER.handlers) == before


def test_a_download_of_unknown_size_is_told_in_steps(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    download = Download("s")
    for done_bytes in range(0, 250_000_001, 50_000_000):
        download(done_bytes, None)

    assert caplog.messages == ["s: 100 MB", "s: 200 MB"]


def test_what_was_there_before_was_not_transferred_now() -> None:
    download = Download("s")
    for done_bytes in (60, 80, 0, 50, 100):
        download(done_bytes, 100)

    assert download.transferred_bytes == 20 + 50 + 50
