"""A thread that reads a file, so that one which may never say anything again keeps nobody waiting."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Self, TypeVar

T = TypeVar("T")


class FileThread:
    """Carries out calls one after the other; what nobody waits for any more is carried out and dropped."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        # A daemon: a process that is interrupted does not wait for what a pipe may say some day.
        threading.Thread(target=self._serve, name="rota file", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.put(None)

    def call(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Have a function called, and return what will have its result."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((future, function))
        return future

    def _serve(self) -> None:
        while call := self._calls.get():
            future, function = call
            result, error = None, None
            try:
                result = function()
            except Exception as raised:  # noqa: BLE001 - it is the caller's
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():  # given up
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(result)
