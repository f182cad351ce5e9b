"""What the supervisor makes of readers that die, ask to be run again, or whose calls overtake each other."""

import asyncio
from typing import Any, cast

import pytest

from actors.leading import Leading
from actors.offers import Offer
from actors.reader_pool import ReaderPool
from actors.system import ActorDiedError, System
from actors.watching import LostActorError
from events.config import Config
from rota.jetstream import Connection


class Readers:
    """In place of Ray: readers of one batch, whose lead says what becomes of each time that it is run."""

    def __init__(self, runs: list[Any] | None = None, offers: list[Offer | None] | None = None) -> None:
        self.read = asyncio.Event()
        self.calls: list[tuple[Any, ...]] = []
        self.leading = self.most_leading = self.ended = 0
        self.others = 1
        self._runs = runs
        self._offers = offers or []

    def spawn(self, *_: object) -> "Readers":
        return self

    @property
    def name(self) -> str:
        return "reader"

    async def call(self, method: str, *arguments: Any) -> Any:
        if method not in ("offer", "pid", "wanted"):
            self.calls.append((method, *arguments))
        match method:
            case "run":
                return await self._run()
            case "wanted":
                return self.others
            case "offer" if self._offers:
                return self._offers.pop(0)
            case "offer":
                await asyncio.Event().wait()
            case "read":
                self.read.set()
                if self._runs is not None:
                    await asyncio.Event().wait()
        return None

    async def _run(self) -> Any:
        if self._runs is None:
            await self.read.wait()
            return True
        self.leading += 1
        self.most_leading = max(self.most_leading, self.leading)
        try:
            await asyncio.sleep(0)
            result = self._runs.pop(0)
            if isinstance(result, Exception):
                raise result
            if isinstance(result, asyncio.Event):
                await result.wait()
                return False
            return result
        finally:
            self.leading -= 1

    def end(self) -> None:
        self.ended += 1

    def processors(self) -> int:
        return 1


def leading(readers: Readers) -> Leading:
    pool = ReaderPool(Config(), cast(System, readers))
    return Leading(cast(Connection, None), pool, asyncio.Event())


async def test_files_are_read_though_their_lead_was_asked_before_it_led() -> None:
    readers = Readers(offers=[None, ((0,), 10, 1)])

    async with asyncio.timeout(10):
        await leading(readers).keep("batch")

    assert readers.read.is_set()


async def test_a_lead_that_asks_to_be_run_again_has_not_died() -> None:
    readers = Readers([False, False, True])

    async with asyncio.timeout(10):
        await leading(readers).keep("batch")

    assert readers.calls == [("run", "batch", False)] * 3
    assert not readers.ended


async def test_the_readers_of_other_files_end_before_a_lead_is_run_again() -> None:
    parting = asyncio.Event()
    readers = Readers([parting, True], [((0,), 10, 1)])

    async with asyncio.timeout(10):
        keeping = asyncio.create_task(leading(readers).keep("batch"))
        await readers.read.wait()
        parting.set()
        await keeping

    assert readers.calls == [("run", "batch", False), ("read", "batch", (0,), 10), ("run", "batch", False)]
    assert readers.ended == 1


async def test_a_batch_is_led_by_one_reader_at_a_time() -> None:
    """It was redriven while the lead that it had still follows it."""
    readers = Readers([True, True, True])
    supervised = leading(readers)

    async with asyncio.timeout(10):
        await asyncio.gather(*(supervised.keep("batch") for _ in range(3)))

    assert len(readers.calls) == 3
    assert readers.most_leading == 1


async def test_batches_are_led_at_the_same_time() -> None:
    readers = Readers([True, True])
    supervised = leading(readers)

    async with asyncio.timeout(10):
        await asyncio.gather(supervised.keep("one"), supervised.keep("other"))

    assert readers.most_leading == 2


async def test_who_has_a_reader_do_something_learns_of_its_death() -> None:
    readers = Readers([ActorDiedError("reader")])
    pool = ReaderPool(Config(), cast(System, readers))

    with pytest.raises(LostActorError):
        await pool.run("run")
    assert readers.ended == 1
