"""An event loop in a thread of its own, with one connection, for callers that are not async."""

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Self, TypeVar

from eventsourcing.persistence import DataError, IntegrityError, InterfaceError, OperationalError

from rota.errors import RotaError, TooLargeError
from rota.jetstream import WRONG_LAST_SEQUENCE, Connection, JetStreamError

T = TypeVar("T")

Opened = tuple[asyncio.AbstractEventLoop, asyncio.Event, Connection]


class Loop:
    """Runs coroutines for other threads; its errors are those of the `eventsourcing` library.

    It is closed by `close`, by leaving its context, or when nobody has it any more: the library drops some of
    its factories without closing them.
    """

    def __init__(self, url: str, *, name: str) -> None:
        opened: Future[Opened] = Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(_serve(url, name, opened)), name=f"loop of {name}", daemon=True
        )
        thread.start()
        self._loop, stop, self.connection = _result(opened)
        self._submitting = threading.Lock()
        self._close = weakref.finalize(self, _close, self._loop, stop, thread, self._submitting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread; a second time does nothing."""
        self._close()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine in the loop; InterfaceError if it is closed."""
        with self._submitting:
            if not self._close.alive:
                work.close()
                raise InterfaceError("The connection to NATS is closed")
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and return its result; not to be called from the loop itself.

        IntegrityError if the stream has something else than was expected; DataError if a message is too large;
        OperationalError if NATS cannot be reached or refuses.
        """
        return _result(self.submit(work))


async def _serve(url: str, name: str, opened: Future[Opened]) -> None:
    try:
        connection = await Connection.open(url, name=name)
    except Exception as error:  # noqa: BLE001 - it is raised where the loop was asked for
        opened.set_exception(error)
        return
    async with connection:
        stop = asyncio.Event()
        opened.set_result((asyncio.get_running_loop(), stop, connection))
        await stop.wait()


def _close(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread, submitting: threading.Lock
) -> None:
    with submitting:  # so that what was submitted before is cancelled rather than lost
        loop.call_soon_threadsafe(stop.set)
    if threading.current_thread() is not thread:  # the garbage collector runs in any thread
        thread.join()


def _result(future: Future[T]) -> T:
    try:
        return future.result()
    except CancelledError as error:
        raise InterfaceError("The connection to NATS was closed") from error
    except JetStreamError as error:
        if error.code in WRONG_LAST_SEQUENCE:
            raise IntegrityError(str(error)) from error
        raise OperationalError(str(error)) from error
    except TooLargeError as error:
        raise DataError(str(error)) from error
    except RotaError as error:
        raise OperationalError(str(error)) from error
