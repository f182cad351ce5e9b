"""A blocking iterator, run ahead by a thread of its own for a blocking taker."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar, overload

T = TypeVar("T")

LOOK_SECONDS = 0.2


@overload
def prefetched(make: Callable[[], Iterator[T]], limit: int, name: str) -> Generator[T, None, None]: ...


@overload
def prefetched(
    make: Callable[[], Iterator[T]], limit: int, name: str, *, tick_seconds: float | None
) -> Generator[T | None, None, None]: ...


def prefetched(
    make: Callable[[], Iterator[T]], limit: int, name: str, *, tick_seconds: float | None = None
) -> Generator[T | None, None, None]:
    """Yield the items of an iterator that a thread runs, up to `limit` items ahead.

    With `tick_seconds` None is yielded whenever nothing has come for so long. What the iterator raises is raised
    here. When this is closed, the iterator is closed by its thread as soon as it comes to its next item.
    """
    items: queue.Queue[T | _End] = queue.Queue(limit)
    closed = threading.Event()

    def put(item: "T | _End") -> bool:
        while not closed.is_set():
            try:
                items.put(item, timeout=LOOK_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        error: BaseException | None = None
        try:
            made = make()
            try:
                for item in made:
                    if not put(item):
                        return
            finally:
                if isinstance(made, Generator):
                    made.close()
        except BaseException as raised:  # noqa: BLE001 - it is raised again where the items are taken
            error = raised
        put(_End(error))

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        while True:
            try:
                item = items.get(timeout=tick_seconds)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, _End):
                break
            yield item
        if item.error is not None:
            raise item.error
    finally:
        closed.set()


class _End:
    """After the last item: the error that ended the iterator, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
