"""A blocking iterator that a thread runs ahead."""

import threading
from collections.abc import Iterator

import pytest

from actors.prefetch import prefetched


def test_items_come_in_order_and_then_the_error() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        raise ValueError("no more")

    seen = prefetched(items, 1, "items")

    assert [next(seen), next(seen), next(seen)] == [1, 2, 3]
    with pytest.raises(ValueError, match="no more"):
        next(seen)


def test_it_says_that_nothing_comes_as_often_as_it_is_asked_to() -> None:
    comes = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        comes.wait()
        yield 2

    seen = prefetched(items, 1, "items", tick_seconds=0.01)

    assert next(seen) == 1
    assert [next(seen), next(seen)] == [None, None]
    comes.set()
    assert [item for item in seen if item] == [2]
