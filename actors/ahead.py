"""A blocking iterator, run ahead in a thread."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def ahead(make: Callable[[], Iterator[T]], limit: int) -> AsyncGenerator[T, None]:
    """Run a blocking iterator in a thread, up to `limit` items ahead of who takes them."""
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

    thread = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        while (item := await items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while not thread.done():
            # The thread may be waiting for room.
            with suppress(asyncio.QueueEmpty):
                items.get_nowait()
            await asyncio.wait([thread], timeout=0.05)
