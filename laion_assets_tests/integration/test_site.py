"""The site under the command lines of compose.yaml, with visitors; and what Caddy lets through.

`python -m benchmarks.site` does the first for as long as one likes.
"""

from pathlib import Path

from benchmarks.site import live


def test_no_visitor_notices_a_release_or_a_restart(tmp_path: Path) -> None:
    visits = live(tmp_path / "site", visitors=2, seconds=0)

    assert visits.failures == []
    assert set(visits.answers) == {200}
