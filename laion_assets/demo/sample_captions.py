"""Captions of sample rows: what real ones are like, with other languages, names and decorations."""

from __future__ import annotations

import html
import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_assets.demo import vocabulary
from laion_assets.demo.caption_pools import POOLS
from laion_assets.demo.caption_templates import Literal, Slot, make_templates
from laion_assets.demo.draws import (
    Integers,
    Mask,
    Seeds,
    choose,
    derive_number,
    draw,
    draw_below,
    draw_skewed_below,
    is_drawn,
    join_texts,
    mix,
    replace_where,
    start_seeds,
    take,
)

# A pool is cut into so many equal shares.
SHARE_BITS = 12
# Shares of 10,000 captions.
NAMED_SHARE = 400
FOREIGN_SHARE = 150
DECORATED_SHARE = 120
NAME_FORMS = 6
NAME_FORM_POOL = (*(0,) * 9, *(1,) * 2, *(2,) * 2, 3, 4, 5)


def make_captions(seeds: Seeds, is_broken: Mask, name_forms: pa.Array) -> pa.Array:
    """Returns the caption of each row, null or blank where `is_broken`.

    Args:
        seeds: one for each row.
        is_broken: the rows without a usable caption.
        name_forms: what `list_name_forms` gives; may be empty.
    """
    captions = _fill_templates(seeds)
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


def invent_captions(count: int, seed: int) -> pa.Array:
    """Returns captions for rows of another making: none is missing, and none mentions a name."""
    seeds = start_seeds(count, "captions", seed)
    return make_captions(seeds, np.zeros(count, dtype=bool), pa.array([], pa.string()))


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
        choose(seeds, "phrase number", POOLS["year"][0]),
        take(phrases, first + draw_below(seeds, "second phrase", per_language)),
    )
    return join_texts(
        take(phrases, first + draw_below(seeds, "phrase", per_language)),
        choose(seeds, "phrase separator", vocabulary.PHRASE_SEPARATORS),
        ending,
    )


def _fill_templates(seeds: Seeds) -> pa.Array:
    """Returns one template for each seed, with words in its slots."""
    plan = _list_templates()
    template = draw_below(seeds, "template", len(plan.counts))
    counts = plan.counts[template]
    ends = np.cumsum(counts)
    starts = ends - counts
    slots = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
        plan.starts[template] - starts, counts
    )
    positions = (np.arange(len(slots)) - np.repeat(starts, counts)).astype(np.uint64)
    bits = mix(np.repeat(draw(seeds, "words"), counts) + positions) >> np.uint64(64 - SHARE_BITS)
    pieces = (
        plan.shares[plan.pools[slots] + bits.view(np.int64) * plan.is_pool[slots]]
        + plan.pieces[slots]
    )
    offsets = pa.array(np.concatenate(([0], ends)), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, take(plan.texts, pieces))
    return pc.binary_join(lists, "")


@dataclass(frozen=True)
class _Plan:
    """All templates, as arrays.

    Attributes:
        starts: of each template, its first slot.
        counts: of each template, how many slots it has.
        pools: of each slot, where its pool's part of `shares` begins.
        is_pool: of each slot, whether it is one of a pool (1) or a literal (0).
        pieces: of each slot, where its texts begin in `texts`.
        shares: ranks in a pool, each as often as it is to be drawn of `1 << SHARE_BITS` times.
        texts: all pools in all spellings, and the literals.
    """

    starts: Integers
    counts: Integers
    pools: Integers
    is_pool: Integers
    pieces: Integers
    shares: Integers
    texts: pa.Array


@cache
def _list_templates() -> _Plan:
    templates = make_templates()
    parts = list(itertools.chain.from_iterable(templates))
    counts = np.array([len(template) for template in templates])
    pools = {name: number << SHARE_BITS for number, name in enumerate(POOLS)}
    texts: list[pa.Array] = []
    places: dict[Literal | Slot, int] = {}
    end = 0
    for part in dict.fromkeys(parts):
        places[part] = end
        texts.append(_spell_part(part))
        end += len(texts[-1])
    return _Plan(
        starts=np.cumsum(counts) - counts,
        counts=counts,
        # A literal is the first of its only text: the shares of the first pool begin with 0.
        pools=np.array([pools[part.pool] if isinstance(part, Slot) else 0 for part in parts]),
        is_pool=np.array([int(isinstance(part, Slot)) for part in parts]),
        pieces=np.array([places[part] for part in parts]),
        shares=np.concatenate([_share_out(*pool) for pool in POOLS.values()]),
        texts=pa.concat_arrays(texts),
    )


def _share_out(words: Sequence[str], evenness: int) -> Integers:
    """Returns ranks of words; that of rank r comes in proportion to 1 / (r + 1 + evenness)."""
    # In whole numbers, because fractions are not rounded alike everywhere.
    weights = (1 << 40) // (np.arange(len(words), dtype=np.int64) + 1 + evenness)
    ends = np.cumsum(weights)
    steps = np.arange(1 << SHARE_BITS, dtype=np.int64)
    middles = (2 * steps + 1) * (int(ends[-1]) >> (SHARE_BITS + 1))
    return np.searchsorted(ends, middles, "right")


def _spell_part(part: Literal | Slot) -> pa.Array:
    if isinstance(part, Literal):
        return pa.array([part.text], pa.string())
    words = _spell_pool(part.pool, part.case)
    return join_texts(part.before, words) if part.before else words


@cache
def _spell_pool(pool: str, case: str) -> pa.Array:
    words: Sequence[str] = POOLS[pool][0]
    match case:
        case "small":
            words = [word.lower() for word in words]
        case "first":
            words = [f"{word[0].upper()}{word[1:]}" for word in words]
        case "capital":
            words = [_capitalize(word) for word in words]
        case "upper":
            words = [word.upper() for word in words]
    return pa.array(words, pa.string())


def _capitalize(words: str) -> str:
    """Returns the words with capitals, but not the article in front."""
    article, blank, rest = (
        words.rpartition(" ") if words.startswith(("a ", "an ")) else ("", "", words)
    )
    return f"{article}{blank}{rest[0].upper()}{rest[1:]}"
