"""A blocking iterator that a thread runs ahead of a loop."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing

from actors.ahead import ahead


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
