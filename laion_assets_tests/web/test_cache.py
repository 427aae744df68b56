from laion_assets.web.cache import PageCache


def test_what_was_not_asked_for_longest_goes_first() -> None:
    cache = PageCache(16)
    for key in ("a", "b"):
        cache.put(key, b"12345")
    assert cache.get("a")
    cache.put("c", b"12345")

    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (b"12345", None, b"12345")


def test_it_never_holds_more_than_its_bytes() -> None:
    cache = PageCache(13)
    cache.put("a", b"12345")
    cache.put("a", b"1234567890")
    assert cache.get("a") == b"1234567890"
    cache.put("b", b"12345678901")

    assert (cache.get("a"), cache.get("b")) == (None, None)
    cache.clear()
    cache.put("c", b"1234567890")
    assert (cache.get("a"), cache.get("c")) == (None, b"1234567890")


def test_keys_count_too() -> None:
    cache = PageCache(100)
    for number in range(20):
        cache.put((number, "x" * 40), b"")

    assert sum(cache.get((number, "x" * 40)) is not None for number in range(20)) == 2
