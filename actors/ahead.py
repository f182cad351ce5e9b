"""A blocking iterator, run in a thread for a taker that does not block."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


async def ahead(
    make: Callable[[], Iterator[T]], limit: int, stop: Callable[[], None] = lambda: None
) -> AsyncGenerator[T, None]:
    """Run a blocking iterator in a thread, up to `limit` items ahead of who takes them.

    Who leaves early waits until it has come to its next item, or to its end; `stop`, which may block, is called
    then so that it does not wait for what may never come.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[T | BaseException | None] = asyncio.Queue(limit)
    stopped = threading.Event()

    def put(item: T | BaseException | None) -> None:
        asyncio.run_coroutine_threadsafe(items.put(item), loop).result()

    def run() -> None:
        try:
            for item in make():
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised again where the items are taken
            put(error)
        else:
            put(None)

    ended = False
    thread = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        while (item := await items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
        ended = True
    finally:
        stopped.set()
        if not ended:
            await asyncio.to_thread(stop)
        while not thread.done():
            # The thread may be waiting for room.
            with suppress(asyncio.QueueEmpty):
                items.get_nowait()
            await asyncio.wait([thread], timeout=0.05)


async def by_turns(make: Callable[[], Iterator[T]], count: int) -> AsyncGenerator[T, None]:
    """Run a blocking iterator in a thread, up to `count` items at a time, each time that those before are taken.

    That is faster than `ahead` where there are few items. What the iterator raises is raised after the items that
    came before. Who leaves early waits until it has come so far.
    """
    items = make()

    def run() -> tuple[list[T], BaseException | None]:
        some: list[T] = []
        try:
            some.extend(islice(items, count))
        except BaseException as error:  # noqa: BLE001 - as above
            return some, error
        return some, None

    while True:
        turn = asyncio.ensure_future(asyncio.to_thread(run))
        try:
            some, error = await asyncio.shield(turn)
        finally:
            await asyncio.wait([turn])
        for item in some:
            yield item
        if error is not None:
            raise error
        if len(some) < count:
            return
