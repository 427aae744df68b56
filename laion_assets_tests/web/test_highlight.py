import pytest

from laion_assets.web.highlight import fold_words, mark_words


@pytest.mark.parametrize(
    ("query", "caption", "marked"),
    [
        ("fox", "Fox, foxes and a FOX", ["Fox", "FOX"]),
        ('"red fox" box', "a red-fox box", ["red", "fox", "box"]),
        ("jose", "José, Jose\u0301 and Josef", ["José", "Jose\u0301"]),
        ("Straße", "STRASSE, straße", ["straße"]),
        ("istanbul", "İstanbul, I\u0307STANBUL", ["İstanbul", "I\u0307STANBUL"]),
        ("can-can", "Can-can, if you can", ["Can", "can"]),
        ('"red fox"', "red, fox and red", ["red", "fox"]),
        ("2.5", "2.5 of 2 in 5", ["2", "5"]),
        ("🥰", "a 🥰 or 😀", ["🥰"]),
        ("猫", "猫 and 犬", ["猫"]),
        ("", "anything", []),
        ("fo* OR hare -lynx", "Fox, hares, a hare, a lynx", ["Fox", "hare"]),
        ("---", "--- a", []),
    ],
)
def test_the_words_of_the_query_are_marked(query: str, caption: str, marked: list[str]) -> None:
    pieces = list(mark_words(caption, fold_words(query)))

    assert [text for text, is_hit in pieces if is_hit] == marked
    assert "".join(text for text, _ in pieces) == caption
