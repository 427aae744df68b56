"""URLs of sample rows: invented sites under `.example` and `.test`, and a few that are broken."""

from __future__ import annotations

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
    draw_below,
    draw_rank,
    format_numbers,
    is_drawn,
    join_texts,
    replace_where,
    take,
)

# Sites have ranks below 2^19. The slope is a little steeper than Zipf's law, so that 20,000 rows
# come from thousands of sites and 1.7 million from some hundred thousand.
SITE_OCTAVES = tuple(octave for octave in range(19) for _ in range(28 - octave))
SITE_COUNT = 1 << 19
# Odd, so that multiplying by it modulo a power of two gives every site another number.
SITE_SCATTER = 0x9E375


def make_urls(seeds: Seeds, is_broken: Mask) -> pa.Array:
    """Returns the URL of each row, null or unusable where `is_broken`."""
    origin = join_texts(
        choose(seeds, "scheme", vocabulary.SCHEMES),
        choose(seeds, "user", vocabulary.USERS),
        _make_hosts(seeds),
        choose(seeds, "port", vocabulary.PORTS),
    )
    urls = join_texts(
        origin,
        "/",
        choose(seeds, "directory", vocabulary.DIRECTORIES),
        "/",
        _make_file_names(seeds),
        choose(seeds, "extension", vocabulary.EXTENSIONS),
        choose(seeds, "query", vocabulary.QUERIES),
        choose(seeds, "fragment", vocabulary.FRAGMENTS),
    )
    is_bare = is_drawn(seeds, "is bare", 10)
    ending = choose(seeds[is_bare], "bare ending", vocabulary.BARE_ENDINGS)
    bare = join_texts(origin.filter(pa.array(is_bare)), ending)
    urls = replace_where(urls, is_bare, bare)
    broken = choose(seeds[is_broken], "broken url", vocabulary.BROKEN_URLS)
    return replace_where(urls, is_broken, broken)


def _make_hosts(seeds: Seeds) -> pa.Array:
    hosts = _name_sites(draw_rank(seeds, "site", SITE_OCTAVES))
    is_upper = is_drawn(seeds, "is upper", 50)
    return replace_where(hosts, is_upper, pc.ascii_upper(hosts.filter(pa.array(is_upper))))


def _name_sites(ranks: Integers) -> pa.Array:
    """Returns the host of the site of each rank; two sites hardly ever share one."""
    number = ranks * SITE_SCATTER % SITE_COUNT
    number, word = np.divmod(number, len(vocabulary.SITE_WORDS))
    kind, syllable = np.divmod(number, len(vocabulary.SYLLABLES))
    rank_seeds = ranks.astype(np.uint64)
    sites = join_texts(
        choose(rank_seeds, "site prefix", vocabulary.SITE_PREFIXES),
        take(vocabulary.SITE_WORDS, word),
        take(vocabulary.SYLLABLES, syllable),
        choose(rank_seeds, "site hyphen", ("-", "")),
        take(vocabulary.SITE_KINDS, kind),
        choose(rank_seeds, "top level", vocabulary.TOP_LEVELS),
    )
    is_famous = ranks <= len(vocabulary.FAMOUS_SITES)
    return replace_where(sites, is_famous, take(vocabulary.FAMOUS_SITES, ranks[is_famous] - 1))


def _make_file_names(seeds: Seeds) -> pa.Array:
    number = format_numbers(draw_below(seeds, "file number", 10_000_000))
    files = join_texts(
        choose(seeds, "file word", vocabulary.COMMON_WORDS),
        choose(seeds, "file joiner", ("-", "_", "-", "%20", "+", ".")),
        choose(seeds, "second file word", vocabulary.COMMON_WORDS),
        "-",
        number,
    )
    is_camera = is_drawn(seeds, "is from camera", 1_500)
    camera = choose(seeds[is_camera], "camera", vocabulary.CAMERA_NAMES)
    camera_files = join_texts(camera, number.filter(pa.array(is_camera)))
    files = replace_where(files, is_camera, camera_files)
    is_hashed = is_drawn(seeds, "is hashed", 4_000)
    return replace_where(files, is_hashed, _make_hashes(seeds[is_hashed]))


def _make_hashes(seeds: Seeds) -> pa.Array:
    digits = _list_hex_digits()
    return join_texts(*(choose(seeds, f"file digits {part}", digits) for part in range(5)))


@cache
def _list_hex_digits() -> pa.Array:
    return pa.array([f"{number:04x}" for number in range(1 << 16)], pa.string())
