"""What the supervisor has readers do on request: with a real NATS server, and readers in place of Ray's actors."""

import asyncio
from typing import Any, cast

import msgspec
import pytest

from actors.collecting import Collecting
from actors.deaths import MAX_DEATHS
from actors.dry_runs import AT_ONCE, DryRuns
from actors.leading import Leading
from actors.offers import Offer
from actors.reader_pool import ReaderPool
from actors.supervisor import Supervisor
from actors.system import ActorDiedError, System
from events.batch import FinishFile
from events.batch_results import CollectResults, ResultsFailed
from events.config import Config
from events.jetstream.topology import EVENTS, READERS
from events.subjects import DRY_RUN
from rota.batch_protocol import DryRunView
from rota.errors import UnavailableError
from tests.integration.leading import opened, rows
from tests.integration.write_side import WAIT_SECONDS, WriteSide


class Readers:
    """In place of Ray: readers that do what a test says."""

    name = "reader"

    def __init__(self, deaths: int = 0) -> None:
        self.deaths = deaths
        self.calls: list[tuple[Any, ...]] = []
        self.running = self.most_running = 0
        self.go_on = asyncio.Event()
        self.several = asyncio.Event()
        self.stopped = asyncio.Event()

    def spawn(self, *_: object) -> "Readers":
        return self

    async def call(self, method: str, *arguments: Any) -> Any:
        if method == "pid":
            return 1
        if method == "stop":
            self.stopped.set()
            return None
        if method == "run" and not arguments:
            return await self.stopped.wait()  # a shard
        if method == "offer":
            return await asyncio.Event().wait()
        if method == "wanted":
            return 0
        self.calls.append((method, *arguments))
        if self.deaths:
            self.deaths -= 1
            raise ActorDiedError(f"The process of {self.name} has ended")
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        if self.running == AT_ONCE:
            self.several.set()
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        return True if method == "run" else arguments[-1]

    def processors(self) -> int:
        return 1

    def end(self) -> None:
        """Do nothing."""


class ReadersOfFiles:
    """In place of Ray: a lead that offers once, and readers of files, which die of some."""

    name = "reader"

    def __init__(self, offer: Offer, deadly: set[int], until_read: int) -> None:
        self.reads: list[tuple[int, ...]] = []
        self._offers = [offer]
        self._deadly = deadly
        self._until_read = until_read
        self._all_read = asyncio.Event()

    def spawn(self, *_: object) -> "ReadersOfFiles":
        return self

    async def call(self, method: str, *arguments: Any) -> Any:
        match method:
            case "wanted":
                return 1
            case "offer" if self._offers:
                return self._offers.pop(0)
            case "offer":
                return await asyncio.Event().wait()
            case "run":
                return await self._all_read.wait()
            case "read":
                self.reads.append(arguments[1])
                if len(self.reads) == self._until_read:
                    self._all_read.set()
                if self._deadly & set(arguments[1]):
                    raise ActorDiedError(f"The process of {self.name} has ended")
        return None

    def processors(self) -> int:
        return 1

    def end(self) -> None:
        """Do nothing."""


def pool_of(readers: Readers | ReadersOfFiles) -> ReaderPool:
    return ReaderPool(Config(), cast(System, readers))


async def ask(write_side: WriteSide, body: bytes) -> bytes:
    return (await write_side.connection.request(DRY_RUN, body, timeout=WAIT_SECONDS)).data


async def test_a_dry_run_is_answered_with_what_a_reader_returns(write_side: WriteSide) -> None:
    readers = Readers()
    readers.go_on.set()

    async with DryRuns(write_side.connection, pool_of(readers)):
        assert await ask(write_side, b"details") == b"details"

    assert readers.calls == [("dry_run", b"details")]


async def test_two_dry_runs_are_at_work_at_a_time_and_others_wait(write_side: WriteSide) -> None:
    readers = Readers()

    async with DryRuns(write_side.connection, pool_of(readers)), asyncio.timeout(WAIT_SECONDS):
        asked = [asyncio.create_task(ask(write_side, b"%d" % number)) for number in range(5)]
        await readers.several.wait()
        await write_side.connection.client.flush()
        assert readers.running == AT_ONCE
        readers.go_on.set()
        assert await asyncio.gather(*asked) == [b"%d" % number for number in range(5)]

    assert readers.most_running == AT_ONCE


async def test_the_death_of_a_reader_is_told_to_who_asked_for_a_dry_run(write_side: WriteSide) -> None:
    async with DryRuns(write_side.connection, pool_of(Readers(deaths=1))):
        view = msgspec.msgpack.decode(await ask(write_side, b"details"), type=DryRunView)

    assert view.error
    assert "ROTA_READER_MEMORY_BYTES" in view.error


async def test_nobody_answers_after_the_supervisor_has_stopped(write_side: WriteSide) -> None:
    readers = Readers()
    async with DryRuns(write_side.connection, pool_of(readers)):
        asked = asyncio.create_task(ask(write_side, b"details"))
        await asyncio.wait([asyncio.create_task(_until_called(readers))])
    asked.cancel()

    with pytest.raises(UnavailableError):
        await ask(write_side, b"details")
    assert not readers.running


async def _until_called(readers: Readers) -> None:
    while not readers.running:
        await asyncio.sleep(0)


@pytest.mark.usefixtures("shard")
async def test_results_are_collected_by_another_reader_when_one_dies(write_side: WriteSide) -> None:
    readers = Readers(deaths=MAX_DEATHS - 1)
    readers.go_on.set()
    collecting = Collecting(write_side.connection, pool_of(readers), asyncio.Event())

    async with asyncio.timeout(WAIT_SECONDS):
        await collecting.keep("batch", "c")

    assert readers.calls == [("collect", "batch", "c")] * MAX_DEATHS


@pytest.mark.usefixtures("shard")
async def test_results_that_end_reader_after_reader_are_given_up(write_side: WriteSide) -> None:
    readers = Readers(deaths=MAX_DEATHS)
    collecting = Collecting(write_side.connection, pool_of(readers), asyncio.Event())
    async with opened(write_side, rows(1)) as batch:
        await write_side.send(CollectResults(id=batch.id, collection="c", format="ndjson"))
        await batch.until("results_requested")

        await collecting.keep(batch.id, "c")

        [*_, failed] = await batch.until("results_failed")
        assert isinstance(failed, ResultsFailed)
        assert failed.reason == "Collecting the results has ended the process of its reader 5 times"


@pytest.mark.usefixtures("shard")
async def test_of_several_files_those_that_a_dead_reader_left_are_read_alone(write_side: WriteSide) -> None:
    """So the deadly one is given up by its name, and no other."""
    async with opened(write_side, *[rows(1)] * 4) as batch, asyncio.timeout(WAIT_SECONDS):
        await write_side.send(FinishFile(id=batch.id, file_index=1, rows=0, jobs=0, bad=0))
        await batch.until("file_finished")
        readers = ReadersOfFiles(((0, 1, 2, 3), 10, 1), deadly={2}, until_read=1 + 1 + MAX_DEATHS)

        await Leading(write_side.connection, pool_of(readers), asyncio.Event()).keep(batch.id)

        assert readers.reads == [(0, 1, 2, 3), (0,), *[(2,)] * MAX_DEATHS]


@pytest.mark.usefixtures("shard")
async def test_what_batches_ask_for_is_done_once_and_acknowledged(write_side: WriteSide) -> None:
    readers = Readers()
    config = Config(shards=1)
    async with opened(write_side, rows(1)) as batch, asyncio.timeout(WAIT_SECONDS):
        await write_side.send(CollectResults(id=batch.id, collection="c", format="ndjson"))
        await batch.until("results_requested")
        supervisor = Supervisor(config, cast(System, readers), write_side.connection)
        ready = asyncio.Event()
        supervising = asyncio.create_task(supervisor.run(ready.set))
        await ready.wait()
        await readers.several.wait()
        wanted = [("collect", batch.id, "c"), ("run", batch.id, False)]
        while sorted(call for call in readers.calls if len(call) > 1) != wanted:
            await asyncio.sleep(0.01)
        readers.go_on.set()
        while (await write_side.connection.call(f"CONSUMER.INFO.{EVENTS}.{READERS}"))["num_ack_pending"]:
            await asyncio.sleep(0.01)
        supervisor.stop()
        await supervising
