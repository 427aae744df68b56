"""Captions of sample rows: English words with a long tail, other languages, names, decorations."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_assets.demo import vocabulary
from laion_assets.demo.draws import (
    Integers,
    Mask,
    Seeds,
    choose,
    derive_number,
    draw,
    draw_below,
    draw_rank,
    draw_skewed_below,
    is_drawn,
    join_texts,
    mix,
    replace_where,
    take,
)

RARE_WORD_OCTAVES = tuple(range(18))
RARE_WORD_COUNT = 1 << 18
# Of 256 words: function words, common words, numbers, rare words.
WORD_CLASS_SHARES = (46, 162, 8, 40)
# Shares of 10,000 captions.
NAMED_SHARE = 400
FOREIGN_SHARE = 320
DECORATED_SHARE = 300
NAME_FORMS = 6
NAME_FORM_POOL = (*(0,) * 9, *(1,) * 2, *(2,) * 2, 3, 4, 5)


def make_captions(seeds: Seeds, is_broken: Mask, name_forms: pa.Array) -> pa.Array:
    """Returns the caption of each row, null or blank where `is_broken`.

    Args:
        seeds: one for each row.
        is_broken: the rows without a usable caption.
        name_forms: what `list_name_forms` gives; may be empty.
    """
    captions = _join_words(seeds)
    chosen = is_drawn(seeds, "is foreign", FOREIGN_SHARE)
    captions = replace_where(captions, chosen, _join_phrases(seeds[chosen]))
    if len(name_forms):
        chosen = is_drawn(seeds, "is named", NAMED_SHARE)
        named = _add_names(seeds[chosen], captions.filter(pa.array(chosen)), name_forms)
        captions = replace_where(captions, chosen, named)
    chosen = is_drawn(seeds, "is decorated", DECORATED_SHARE)
    decorated = _decorate(seeds[chosen], captions.filter(pa.array(chosen)))
    captions = replace_where(captions, chosen, decorated)
    broken = choose(seeds[is_broken], "broken caption", vocabulary.BROKEN_CAPTIONS)
    return replace_where(captions, is_broken, broken)


def list_name_forms(names: Sequence[str], seed: int) -> pa.Array:
    """Returns `NAME_FORMS` spellings of each name; the names come in an order of the seed's."""
    # Names are drawn with a long tail; without shuffling the first of a list would be its stars.
    shuffled = sorted(names, key=lambda name: derive_number(seed, name))
    return pa.array([form for name in shuffled for form in _spell_name(name)], pa.string())


def _spell_name(name: str) -> tuple[str, ...]:
    return (
        name,
        name.upper(),
        name.lower(),
        html.escape(name),
        unicodedata.normalize("NFD", name),
        name.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}"),
    )


def _add_names(seeds: Seeds, captions: pa.Array, name_forms: pa.Array) -> pa.Array:
    rank = draw_skewed_below(seeds, "name", len(name_forms) // NAME_FORMS)
    form = np.array(NAME_FORM_POOL)[draw_below(seeds, "name form", len(NAME_FORM_POOL))]
    before, after = zip(*vocabulary.NAME_SURROUNDINGS, strict=True)
    surrounding = draw_below(seeds, "name surrounding", len(before))
    name = join_texts(
        take(before, surrounding),
        take(name_forms, rank * NAME_FORMS + form),
        take(after, surrounding),
    )
    beside = pc.if_else(
        pa.array(is_drawn(seeds, "is name last", 4_000)),
        join_texts(captions, " ", name),
        join_texts(name, " ", captions),
    )
    return pc.if_else(pa.array(is_drawn(seeds, "is name alone", 1_000)), name, beside)


def _decorate(seeds: Seeds, captions: pa.Array) -> pa.Array:
    decoration = choose(seeds, "decoration", vocabulary.DECORATIONS)
    return pc.if_else(
        pa.array(is_drawn(seeds, "is decorated in front", 3_000)),
        join_texts(decoration, " ", captions),
        join_texts(captions, " ", decoration),
    )


def _join_phrases(seeds: Seeds) -> pa.Array:
    phrases = [phrase for language in vocabulary.PHRASES for phrase in language]
    per_language = len(vocabulary.PHRASES[0])
    first = draw_below(seeds, "language", len(vocabulary.PHRASES)) * per_language
    ending = pc.if_else(
        pa.array(is_drawn(seeds, "is one phrase", 2_500)),
        choose(seeds, "phrase number", vocabulary.NUMBER_WORDS),
        take(phrases, first + draw_below(seeds, "second phrase", per_language)),
    )
    return join_texts(
        take(phrases, first + draw_below(seeds, "phrase", per_language)),
        choose(seeds, "phrase separator", vocabulary.PHRASE_SEPARATORS),
        ending,
    )


def _join_words(seeds: Seeds) -> pa.Array:
    counts = np.array(vocabulary.WORD_COUNTS)[
        draw_below(seeds, "word count", len(vocabulary.WORD_COUNTS))
    ]
    ends = np.cumsum(counts)
    first_words = np.repeat(ends - counts, counts)
    positions = (np.arange(len(first_words)) - first_words).astype(np.uint64)
    word_seeds = mix(np.repeat(draw(seeds, "words"), counts) + positions)
    # Lower case, capitals in front, capitals only: one form for all words of a caption.
    form = np.array((0,) * 10 + (1,) * 9 + (2,))[draw_below(seeds, "form", 20)]
    indices = _draw_words(word_seeds) + np.repeat(form, counts) * (len(_list_words()) // 3)
    offsets = pa.array(np.concatenate(([0], ends)), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, take(_list_words(), indices))
    return pc.binary_join(lists, choose(seeds, "separator", vocabulary.WORD_SEPARATORS))


def _draw_words(seeds: Seeds) -> Integers:
    """Returns indices of the lower-case words in `_list_words`."""
    function, common, number = (
        len(vocabulary.FUNCTION_WORDS),
        len(vocabulary.COMMON_WORDS),
        len(vocabulary.NUMBER_WORDS),
    )
    word_class = np.repeat(np.arange(4), WORD_CLASS_SHARES)[draw_below(seeds, "word class", 256)]
    is_function, is_common, is_number, is_rare = (word_class == each for each in range(4))
    indices = np.empty(len(seeds), dtype=np.int64)
    indices[is_function] = draw_below(seeds[is_function], "function word", function)
    indices[is_common] = function + draw_skewed_below(seeds[is_common], "common word", common)
    indices[is_number] = function + common + draw_below(seeds[is_number], "number", number)
    rank = draw_rank(seeds[is_rare], "rare word", RARE_WORD_OCTAVES)
    indices[is_rare] = function + common + number + rank - 1
    return indices


@cache
def _list_words() -> pa.Array:
    """Returns all words in lower case, then the same ones with a capital, then in capitals."""
    plain = pa.array(vocabulary.FUNCTION_WORDS, pa.string())
    lower = pa.concat_arrays(
        [
            pa.array(vocabulary.COMMON_WORDS, pa.string()),
            pa.array(vocabulary.NUMBER_WORDS, pa.string()),
            _make_rare_words(),
        ]
    )
    return pa.concat_arrays(
        [plain, lower, plain, pc.ascii_capitalize(lower), plain, pc.ascii_upper(lower)]
    )


def _make_rare_words() -> pa.Array:
    seeds = np.arange(RARE_WORD_COUNT, dtype=np.uint64)
    syllables = vocabulary.SYLLABLES
    is_long = pa.array(is_drawn(seeds, "is long", 4_000))
    return join_texts(
        choose(seeds, "first syllable", syllables),
        choose(seeds, "second syllable", syllables),
        pc.if_else(is_long, choose(seeds, "third syllable", syllables), ""),
        choose(seeds, "last syllable", vocabulary.LAST_SYLLABLES),
    )
