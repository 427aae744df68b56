# Rules read as prose.
# ruff: noqa: RUF001
"""How sample captions are put together: rules, and the templates that they give.

A rule has one alternative a line. `{name}` stands for another rule, or for a pool of
`caption_pools.POOLS` if there is no rule of that name. `3 *` in front makes an alternative three
times as likely; a line with nothing but `-` is the empty alternative.

Rules, weights and pools were tried until the captions had the figures of real ones: these and their
source are in `laion_assets_tests/demo/test_sample_captions.py`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from laion_assets.demo.caption_pools import PROPER
from laion_assets.demo.draws import start_seeds

TEMPLATE_COUNT = 4_096
# How the words of a caption are spelled: one for all of them, as often as it stands here.
FORMS = (*("title",) * 42, *("sentence",) * 15, *("small",) * 3, "upper")
# Words that stay small in a title.
_SMALL = frozenset(
    ("of", "the", "and", "with", "in", "for", "by", "on", "to", "at", "from", "a", "an", "is", "x")
)
_WORD = re.compile(r"(?<![\w'’&.@-])[a-z]\w*")
_SENTENCE_END = re.compile(r"[.!?] $")
_SLOT = re.compile(r"\{(\w+)\}")

RULES = {
    "caption": """
        8 * {garments}{tail}
        8 * {furnishing}{tail}
        8 * {device}{tail}
        3 * {cooking}{end}
        12 * {scene}{end}
        7 * {headline}{end}
        13 * {work}{end}
        9 * {listing}{end}
        9 * {artwork}{tail}
        4 * {stock}
        9 * {page}{end}
        6 * {bare}{end}
        2 * {news}
        2 * {keywords}
        15 * {long}
        """,
    "long": """
        3 * {garments}{tail}{tail} {plain} {plain}
        3 * {device}{tail} {plain} {plain} {plain}
        2 * {furnishing}{tail} {plain} {plain}
        2 * {headline} {sentence}
        {scene}. {sentence} {sentence}
        {work} {plain}{tail} {plain} {fullname} {fullname}
        {keywords} {keywords}
        """,
    "plain": """
        2 * {brand} {made} {topic} {number}
        2 * {crafted} {material} {object}
        2 * {topic} {place} {town}
        {fullname} {made} {topic}
        {animal} {plant} {topic} {art}
        {colour} {garment} {brand}
        {adjective} {household} {code}
        {size} {size} {topic} {made}
        {acronym} {letters}{large} {made}
        {brand} {surname} {town}
        {topic} & {made}
        {people} {topic} {brand}
        """,
    "topic": """
        8 * {theme}
        2 * {made}
        {surname}
        {townstem}{townend}
        """,
    "object": """
        4 * {gadget}
        {made}
        """,
    "surname": "{surnamestem}{surnameend}",
    "fullname": """
        9 * {first} {surname}
        {first} {initial}. {surname}
        {first} {first} {surname}
        """,
    "town": """
        5 * {townstem}{townend}
        {country}
        """,
    "brand": """
        6 * {brandstem}{brandend}
        2 * {brandstem}{syllable}{brandend}
        3 * {brandstem}{syllable}
        {brandstem}{syllable}{syllable}
        5 * {surname}
        4 * {made}
        """,
    "made": "{wordstem}{wordtail}",
    "code": """
        2 * {letters}{digits}
        3 * {letters}-{digits}-{number}
        {letters} {large} {number}
        {letters}{large}
        {digits}{letters}
        {large}
        {digits} {large}
        #{digits}
        {hash}{letters}
        """,
    "size": """
        2 * {measure}x{measure}
        2 * {measure} x {measure} x {measure}
        {measure} x {measure} cm
        {measure} inch
        {measure}"
        {large}mm
        {number}cm
        {measure}-inch
        {number}ml
        {number} oz
        """,
    "model": """
        3 * {adjective} {garment}
        2 * {crafted} {garment}
        2 * {crafted} {material} {garment}
        2 * {adjective} {material} {garment}
        {adjective} {colour} {garment}
        {colour} {material} {garment}
        {topic} {garment}
        {occasion} {garment}
        {adjective} {made} {garment}
        {nation} {garment}
        """,
    "garments": """
        3 * {brand} Women's {model}
        2 * {brand} Men's {model}
        2 * {brand} {model}
        2 * {brand} {model} {crafted} {garment}
        2 * {brand} {made} {model}
        2 * {model} for Women - {brand} {code}
        {brand} Kids {model} {garment} Set
        3 * {model} {brand}
        {crafted} {model} with {colour} {topic} {art}
        {colour} {model}, {adjective} {garment} and {material} {garment}
        {brand} {model} in {colour}
        {brand} {code} {model}
        {topic} {occasion} {garment} {people}
        {adjective} {animal} {garment} - {occasion} {garment} for {people}
        3 * {model}
        """,
    "furniture": """
        3 * {adjective} {household}
        2 * {crafted} {household}
        2 * {crafted} {material} {household}
        2 * {adjective} {material} {household}
        {adjective} {colour} {household}
        {colour} {material} {household}
        {topic} {household}
        {made} {household}
        {nation} {household}
        {adjective} {made}
        """,
    "furnishing": """
        3 * {brand} {furniture} {material} {household}
        3 * {brand} {code} {furniture}
        2 * {furniture} for {place} {place}
        2 * {furniture} with {adjective} {household} and {colour} {household}
        3 * {brand} {made} {furniture}
        {number} Piece {furniture} Set {brand}
        Set of {number} {furniture}
        {furniture} {crafted} {household} {material} {household}
        {furniture} & {household} - {brand}
        {nation} {adjective} {furniture} {town} {year}
        {crafted} {plant} in {acolour} {material} {household}
        {furniture} {place} {offer}
        {occasion} {household} {plant} {plant}
        3 * {furniture}
        """,
    "equipment": """
        3 * {adjective} {object}
        3 * {crafted} {object}
        2 * {wordtail} {object}
        2 * {made} {object}
        {crafted} {material} {object}
        {colour} {object}
        {vehicle} {object}
        {object} {object}
        {acronym} {object}
        """,
    "device": """
        3 * {brand} {code} {equipment} {object}
        3 * {brand} {equipment} {code}
        3 * {brand} {equipment} {equipment}
        2 * {equipment} for {brand} {code} {vehicle}
        2 * {year} {brand} {made} {equipment}
        {number} pcs {equipment} {brand} {made} {letters}{number}
        {crafted} {equipment} with {object} {object} and {object}
        {number}-Pack {equipment}
        {brand} {made} {number}.{number} {equipment}
        {number}V {large}W {equipment}
        "{brand} {measure}"" {equipment}"
        {brand}® {equipment} for {occasion}
        {equipment} {offer} - {brand} {made}
        3 * {acronym} {equipment} {brand}
        2 * {brand} {acronym} {object} {acronym}
        3 * {equipment}
        """,
    "cooking": """
        4 * {tasty} {food} with {food} and {food}
        3 * {tasty} {food} {food} recipe
        2 * {food} and {food} {food}
        2 * How to make {tasty} {food} {food}
        This {tasty} {food} with {food} is {tasty}, {tasty} and ready in {number} minutes
        {tasty} {food}, {tasty} {food} and {food} on {acolour} {household}
        {number} {tasty} {food} recipes for {occasion}
        {brand} {tasty} {food} {number} oz
        {nation} {food} with {tasty} {food}
        {brand} {nation} {food}, {year}
        """,
    "tail": """
        32 * -
        3 *  - {colour}
        6 *  {adjective} {colour} {art}
        8 *  {colour}
        , {size}
        2 *  ({size})
        4 *  {size}
        3 *  {code}
        2 *  - {code}
        2 *  ({colour})
        3 *  - {brand}
        12 * {tail}{tail}
        , {size} {art}
         - {brand}.com
        3 *  {colour}/{colour}
        2 *  - {colour} {garment} - {material} {object}
         {colour} & {colour}
         in {colour}
         for {occasion}
         (Pack of {number})
         & {adjective} {object}
         {acronym}
         {acronym} {crafted} {object}
         {size} {size} {made}
         {brand}/{brand}
         [{code}]
        2 * !
         - Size {measure}
        2 *  ({fullname})
        4 *  {crafted} {object} {material} {household}
         by {brand} {made}
        4 *  {made} {topic}
         – {brand}
         _{code}
         + {adjective} {object}
         for only ${measure}.{number}
         {crafted} {object}...
         ({brand} {code}, {adjective} {colour})
         for {object}, {household}, {garment} & {vehicle}
         {brand} {offer} *{adjective}*
        3 *  {brand} {made} {crafted} {adjective} {material}
        2 *  {place} {topic} {adjective} {household} {made} {brand}
        """,
    "end": """
        42 * -
        4 *  - {brand}
         ({year})
         - {town} {place}, {country}
         ({code})
        4 * .
        5 *  {topic} {topic}
        4 *  - {fullname}
        2 *  by {fullname}
        2 *  {surname}/{town}
         {brand} {made}
        2 * . {adjective} {topic} {made}
        2 * : {fullname}
         {acronym} {brand} {topic}
        2 *  - {brand} {topic} {offer}
        6 *  {brand} {topic} {offer}
        4 *  {make} {number} {art} {offer}
         / {brand}
        ! {adjective} {topic} {made}
         (photo: {fullname}/{brand})
        2 * : {adjective} {topic} {scenic} {place} {topic}
        2 *  - {adjective} {topic} {made} {scenic} {place}
        ...
         {code}
        2 *  {people} {town} {place}
         {brand}.com
         | {topic} {offer}
        10 * {end}{end}
        3 *  - {made} {brand}
        """,
    "where": """
        6 * in {town}
        in {town} {country}
        2 * in {country}
        on the {place}
        at the {place}
        in the {place}
        in {aplace}
        2 * near {town}
        by {town} {place}
        in front of {aplace}
        3 * at {town} {place}
        3 * at {town} {place} {place}
        from {town}
        over {town} {place}
        """,
    "when": """
        in {year}
        in {month} {year}
        at sunset
        at night
        on {day}
        during the {occasion}
        on {month} {date}, {year}
        """,
    "who": """
        3 * {aperson}
        2 * {amood} {person}
        3 * {mood} {people}
        2 * {mood} {person}
        2 * {nation} {people}
        3 * {fullname}
        {ananimal}
        2 * {mood} {animals}
        """,
    "scene": """
        3 * {who} {acting} {where}
        2 * {who} {acting} {where} {when}
        2 * {who} {where}
        {who} with {anadjective} {garment} {where}
        {who} holding {acolour} {household}
        2 * {adjective} {household} and {household} {where}
        {aplace} {where} {when}
        {scenic} {place} with {plant} and {plant} {where}
        {colour} {plant} in {aplace}
        {scenic} view of the {place} {where}
        {aperson} is {making} {anadjective} {object} {where}
        {fullname} {where} {when}.
        {fullname} and {fullname} {where}
        {colour} {plant} on {anadjective} {material} {household}
        {anadjective} {vehicle} {where} {when}
        {colour} {vehicle} {where}
        a red fox {acting} {where}
        {colour} {animal} {acting} {where}
        close-up of {acolour} {plant} with {animals}
        The {scenic} {place} of {town}, {country}
        2 * {town} {place}, {country}
        2 * {scenic} {town} {place} {place}
        2 * {mood} {person} {fullname} {acting} {where}
        {animal} and {animal} {acting} {where} ({code})
        Some of the {people} {acting} {where}... and {who} {when}!
        {fullname} wears {adjective} {material} {garment} {where}
        {occasion} of {first} and {first} {where}
        {first} & {first}'s {adjective} {occasion} {where}
        {who} at the {occasion} {where} {when}
        """,
    "headline": """
        3 * {fullname} {makes} {topic} {topic} {where}
        2 * {town} {person} {makes} {adjective} {topic}
        3 * How to {make} {adjective} {household} with {object}
        2 * {topic} and {topic}: {adjective} {topic} {where}
        Why {people} {make} {adjective} {topic}
        {adjective} {topic} {offer} to {make} for {people}
        2 * Ways to {make} your {object} for a {person}
        {fullname}: "We {make} the {topic} of {topic}"
        What is {adjective} {topic}?
        Can {people} {make} {adjective} {topic}?
        {country} {makes} {topic} {offer}, {number}% {when}
        {brand} and {brand} {make} {adjective} {topic} {where}
        {mood} {person} {makes} {people} {where}
        {town} {occasion} {year}: {topic} for {people}
        The {adjective} {offer} to {topic} {where}
        Best {adjective} {object} of {year}
        {fullname} says {topic} isn't {adjective}, {person} {makes} {topic}
        {fullname}'s {topic} {makes} {topic} {where}
        Don't {make} the {topic}!
        {person} {fullname} to {make} {topic} {where}
        {topic} {topic} for {people}: {number} {adjective} {offer}
        """,
    "title": """
        2 * The {topic}
        3 * The {adjective} {topic}
        2 * {topic} of {topic}
        4 * {adjective} {topic}
        3 * {topic} {topic}
        {made} {topic}
        The {topic} of {fullname}
        {town} {topic}
        {making} {topic}
        A {topic} for {topic}
        The {person}'s {topic}
        {made}
        {first} and the {topic}
        {topic}: {adjective} {topic} {topic}
        {topic} & {topic}
        It's {anadjective} {topic}
        {fullname}'s {topic}
        """,
    "work": """
        3 * {title} by {fullname}
        2 * {title} ({year})
        {title}
        2 * {title}: {title}
        3 * {title} - {fullname}
        {title} (DVD, {year})
        {title} Book Cover
        Cover of {title} by {fullname}
        2 * {title}, Volume {number}: {title}
        {title} #{number}
        2 * {title} ({brand} Series, Book {number})
        {title} mp3 download
        {title} movie poster
        2 * {fullname} - {title} [{year}]
        {brand} - {title}
        2 * {brand}: {title} Season {number}
        {title}: {topic}, {topic} and {topic} from {country}
        2 * {fullname} as {fullname} in {title}
        {brand}: {made} {code} {title}
        2 * {year} {brand} {title} #{number} {fullname}
        {title} Blu-ray
        {title} T-Shirt
        {title} iPhone Case
        {title} Poster
        """,
    "listing": """
        2 * {year} {brand} {made} {vehicle} for sale {where}
        2 * {year} {brand} {vehicle} in {colour}
        {year} {brand} {letters}{number} {vehicle} - {colour}
        2 * {number} bedroom {place} for sale {where}
        {large} {surname} St, {town}, {letters} {digits}{number}
        ${large},000 - {number} Br/{number} Ba {place} {where}
        {town} {place} to Rent, {town}, {country}
        {surname} {place} - {town}, {country}
        {scenic} {place} {where} | {brand}
        {digits} {town} Road, {town} {large}
        {town} {place} and {place}
        {brand} Hotel {town}, {country}
        {town} {topic} {offer}
        2 * {adjective} {place} {household} {offer}
        {household} in the {place} of the {brand} {place} {where}
        {adjective} {place} {household} with {adjective} {household} and {material} {household}
        Photo {number} of {number}
        Image {number} of {town} {place}
        {scenic} {place} tours {where}, {country} {offer} and {topic}
        """,
    "artwork": """
        2 * {fullname}, "{title}", {material} on {material}, {year}
        2 * {scenic} {place} {where}, {size} {art}
        2 * {fullname} {art} - {title}
        {title} {art} by {fullname}
        2 * {colour} {animal} {art}
        2 * {adjective} {topic} {art}
        {nation} {art} of {who} {where}
        {fullname} - {title}, {year}
        {art} of {who} {acting} {where}
        {adjective} {colour} {plant} {art}
        {topic} Canvas Print
        {colour} {crafted} {vehicle} on the {place} at sunset, {size} canvas print
        {scenic} {place} {where} Canvas Print by {fullname}
        {fullname} {title} {size}
        {occasion} {art} {offer}
        {animal} {art} on {adjective} {material} {household}
        {art} - {title} by {brand}
        {number} {adjective} {arts} of {fullname}
        {topic} tattoo {offer} for {people}
        {acolour} {animal} with {plant}, {adjective} {art} by {fullname}
        """,
    "stock": """
        5 * {who} {acting} {where} — Stock Photo
        {scenic} {place} {where}, {country} — Stock Photo #{digits}{digits}
        {adjective} {art} with {topic}, {topic} and {topic} — Stock Vector
        2 * {who} {acting} {where} - Stock Photo
        {who} {acting} {where} - stock video
        Vector {art} of {adjective} {topic}. {topic} {art} for your design
        {adjective} {topic} vector {art}. {adjective} {topic} illustration
        {adjective} {plant} seamless pattern with {animals} and {plant}
        {colour} {topic} icon
        {adjective} {arts} with {topic}, {topic}, {topic}
        {tasty} {food} on {material} {household}. Top view.
        Stock {art}: {who} {acting} {where}
        {adjective} {object} isolated on {colour} background
        Royalty free {art} of {acolour} {household}
        """,
    "page": """
        2 * {topic} {topic} {offer}
        2 * {adjective} {household} {offer} for your {place}
        2 * {occasion} {garment} {offer}
        {topic} {offer} for {people}
        {brand} {topic} {offer}
        {topic}-{topic}-{topic}-{number}
        {brand}_{topic}_{digits}.jpg
        {letters}_{digits}
        {topic}_{place}_{number}.png
        {made}{number}
        {people} {make} {topic}: {number} {offer}
        {brand} logo
        {topic} and {animal} coloring page
        {topic} {offer} | {brand} {topic}
        {brand} {offer} {adjective} {topic}
        {adjective} {object} {offer} {number}
        {brand} {offer} by {brand} @{made}
        {adjective} {topic} {offer} {where}
        Grade {number} {topic} worksheet
        {occasion} Party {topic}: {offer} & {topic}
        """,
    "bare": """
        4 * {fullname}
        2 * {town}, {country}
        2 * {brand} {made}
        2 * {made} {garment}
        2 * {brand} {brand}
        2 * {surname} {topic}
        {brandstem}{syllable}{syllable}
        """,
    "news": """
        2 * {newsphoto} {sentence} (Photo by {fullname}/{brand})
        2 * {newsphoto} {sentence} ({brand} Photo/{fullname})
        {newsphoto} {sentence}
        {sentence} {sentence}
        {sentence} {sentence} {sentence}
        {sentence} {sentence} {story}
        """,
    "newsphoto": """
        {person} {fullname} of {town}, {making} {anadjective} {object} {where}, {when}.
        {country} - {month} {date}: {fullname} of {town} {acting} {where} {when}.
        {fullname}, left, and {fullname}, right, {acting} {where} on {day}, {month} {date}, {year}.
        """,
    "sentence": """
        The {mood} {people} of {town} {make} {anadjective} {object} {where} and {make} it {when}.
        This {adjective} {household} is made of {material} with {household}. It's {adjective}.
        {fullname} and {aperson} {make} the {topic} {where}.
        You'll love our {tasty} {food} with {food}, {food} and {food}.
        {people} are {acting} {where}, where {aperson} {makes} the {topic} of {topic}.
        """,
    "story": """
        4 * {sentence}
        4 * {sentence} {story}
        {sentence} {sentence} {sentence} {sentence} {sentence} {sentence} {story}
        """,
    "keywords": """
        2 * {topic} {household} {topic} {offer} {household} {topic} {place}
        {town} {offer}, {town} {topic}, {town} {place},
        {adjective} {garment} {adjective} {garment} {offer} {adjective} {garment} {garment}
        {topic} {place} {household} {offer} | {topic} {household} pin
        {adjective} {object} {crafted} {object} {colour} {object} {material} {object} {code}
        """,
}


@dataclass(frozen=True)
class Literal:
    """Words and signs as they are."""

    text: str


@dataclass(frozen=True)
class Slot:
    """A place for a word of a pool.

    Attributes:
        pool: name of the pool.
        case: "as it is" in the pool, "small", "first" (letter), "capital" or "upper".
        before: a blank, or nothing.
    """

    pool: str
    case: str
    before: str


Template = tuple[Literal | Slot, ...]


def make_templates() -> list[Template]:
    """Returns the templates, the same everywhere."""
    rules = {name: _read_rule(text) for name, text in RULES.items()}
    draws = _draw_numbers()
    return [_make_template(rules, draws) for _ in range(TEMPLATE_COUNT)]


def _draw_numbers() -> Iterator[int]:
    for block in itertools.count():
        yield from start_seeds(1 << 16, "templates", block).tolist()


def _read_rule(text: str) -> list[str]:
    """Returns the alternatives, each as often as it is to be drawn."""
    # A blank at the begin of an alternative belongs to it, but not the indentation.
    alternatives = []
    for line in text.split("\n"):
        found = re.fullmatch(r"(?: {8})?(?:(\d+) \* )?(.+)", line)
        if found and line.strip():
            alternatives += [found[2]] * int(found[1] or 1)
    return ["" if alternative == "-" else alternative for alternative in alternatives]


def _make_template(rules: dict[str, list[str]], draws: Iterator[int]) -> Template:
    form = FORMS[next(draws) % len(FORMS)]
    return tuple(_spell(_expand(rules, "caption", draws), form))


def _expand(rules: dict[str, list[str]], name: str, draws: Iterator[int]) -> Iterator[str]:
    """Yields texts, and names of pools in braces."""
    if name not in rules:
        yield f"{{{name}}}"
        return
    alternatives = rules[name]
    for index, part in enumerate(_SLOT.split(alternatives[next(draws) % len(alternatives)])):
        if index % 2:
            yield from _expand(rules, part, draws)
        elif part:
            yield part


def _spell(parts: Iterable[str], form: str) -> Iterator[Literal | Slot]:
    """Yields the parts with their case; a blank in front of a slot becomes a part of it."""
    text, is_glued, is_start = "", False, True
    for part in parts:
        if not part.startswith("{"):
            text += _spell_text(part, form, is_glued=is_glued and not text, is_start=is_start)
            is_start = bool(_SENTENCE_END.search(text))
            continue
        pool = part[1:-1]
        is_glued = (is_glued and not text) or text[-1:].isalpha()
        before = text[-1:] if text.endswith(" ") else ""
        if text := text.removesuffix(before):
            yield Literal(text)
        is_capital = form == "title" or is_start or pool in PROPER
        if form in {"small", "upper"}:
            case = form
        else:
            case = "capital" if is_capital and not is_glued else "as it is"
            if is_start and form == "sentence":
                case = "first"
        yield Slot(pool, case, before)
        text, is_glued, is_start = "", True, False
    if text:
        yield Literal(text)


def _spell_text(text: str, form: str, *, is_glued: bool, is_start: bool) -> str:
    match form:
        case "small":
            return text.lower()
        case "upper":
            return text.upper()
        case "title":
            start = 0 if is_start else -1
            return _WORD.sub(
                lambda word: (
                    word[0]
                    if (word[0] in _SMALL and word.start() != start)
                    or (is_glued and not word.start())
                    else word[0].capitalize()
                ),
                text,
            )
        case _:
            return f"{text[:1].upper()}{text[1:]}" if is_start else text
