"""What a shard remembers, and what it forgets first."""

from typing import Any

from msgspec import Raw

from actors.cache import Cache, Entry, Identity
from events.job import JobState
from rota.protocol import JobDetails


def entry(size: int = 0) -> Entry:
    details = JobDetails(spec="add", queue="default", params=Raw(b"x" * size))
    return Entry(JobState(1, "queued", 1, details), 7)


def remembered(cache: Cache, *ids: str) -> list[str]:
    return [id_ for id_ in ids if cache.get(("job", id_))]


def filled(*entries: tuple[str, Entry], **bounds: Any) -> Cache:
    cache = Cache(**bounds)
    for id_, one in entries:
        identity: Identity = ("job", id_)
        cache.put(identity, one)
    return cache


def test_what_has_not_changed_for_longest_is_forgotten_first() -> None:
    cache = filled(("a", entry()), ("b", entry()), ("a", entry()), ("c", entry()), max_entries=2)

    assert remembered(cache, "a", "b", "c") == ["a", "c"]


def test_large_params_take_the_room_of_others() -> None:
    cache = filled(*((id_, entry(40)) for id_ in "abc"), max_bytes=100)

    assert remembered(cache, "a", "b", "c") == ["b", "c"]


def test_what_changes_counts_once() -> None:
    cache = filled(*(("a", entry(40)) for _ in range(10)), ("b", entry(40)), max_bytes=100)

    assert remembered(cache, "a", "b") == ["a", "b"]


def test_what_has_more_bytes_than_there_is_room_for_is_not_remembered() -> None:
    assert remembered(filled(("a", entry(101)), max_bytes=100), "a") == []


def test_what_is_forgotten_gives_its_room_back() -> None:
    cache = filled(("a", entry(100)), max_bytes=100)

    assert cache.forget(("job", "a"))
    assert not cache.forget(("job", "a"))
    cache.put(("job", "b"), entry(100))
    assert remembered(cache, "a", "b") == ["b"]
