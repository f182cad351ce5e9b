"""A blocking iterator that a thread runs ahead of a loop."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing, suppress

import pytest

from actors.ahead import ahead, by_turns


async def test_items_come_in_order_and_nothing_is_stopped_that_ends_by_itself() -> None:
    stopped = threading.Event()

    assert [item async for item in ahead(lambda: iter((1, 2, 3)), 1, stopped.set)] == [1, 2, 3]
    assert not stopped.is_set()


async def test_who_leaves_early_stops_what_would_never_come() -> None:
    waits, stopped, ended = threading.Event(), threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        waits.set()
        stopped.wait()
        ended.set()

    async with aclosing(ahead(items, 1, stopped.set)) as some:
        assert await anext(some) == 1
        await asyncio.to_thread(waits.wait)

    assert ended.is_set()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
async def test_all_items_come_in_order_by_turns(count: int) -> None:
    assert [item async for item in by_turns(lambda: iter(range(count)), 2)] == list(range(count))


async def test_what_came_before_an_error_is_there_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("three")

    some = by_turns(items, 5)

    assert [await anext(some), await anext(some)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        await anext(some)


async def test_no_more_items_are_made_by_turns_than_are_asked_for() -> None:
    left = iter(range(9))
    async with aclosing(by_turns(lambda: left, 3)) as some:
        assert await anext(some) == 0

    assert next(left) == 3


async def test_who_leaves_in_the_middle_of_a_turn_waits_for_its_end() -> None:
    waits, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        waits.set()
        goes_on.wait()
        ended.set()
        yield 1

    taking = asyncio.ensure_future(anext(by_turns(items, 1)))
    await asyncio.to_thread(waits.wait)
    taking.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    with suppress(asyncio.CancelledError):
        await taking

    assert ended.is_set()
    assert taking.cancelled()
