"""What tests run in another process; it imports little, as each of them has to."""

from typing import Any

from laion_assets.training import SplitStream


def read_when_asked(stream: SplitStream, asked: Any, answers: Any) -> None:
    """Answers with the id of the first row, as often as it is asked."""
    while asked.get():
        answers.put(stream[0]["image_id"])


def read_one(stream: SplitStream, answers: Any) -> None:
    """Answers with the first row, or with what is raised in its place."""
    try:
        answers.put(stream[0])
    except Exception as error:  # noqa: BLE001 - the other process looks at it
        answers.put(error)
