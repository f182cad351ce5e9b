"""What holds a reader back: jobs that have not ended, and the bytes of their rows."""

import asyncio

import msgspec
import pytest

from actors.flight import Flight, Place, readers_of, share_of
from events.batch import BatchDetails
from rota.batch_protocol import StreamRules

DETAILS = BatchDetails(
    spec="load",
    queue="default",
    files=("a.csv",),
    rows_per_job=10,
    max_jobs_in_flight=100,
    params=msgspec.Raw(b"\x80"),
    max_readers=4,
    max_bytes_in_flight=4000,
)


MANY = [1] * 1000
"""The sizes of more jobs than there is ever room for."""


def scheduled(*places: Place, size: int = 10) -> list[tuple[Place, int]]:
    return [(place, size) for place in places]


async def waits(flight: Flight) -> asyncio.Task[int]:
    """Return a reader's wait for room, which there is not."""
    task = asyncio.create_task(flight.room(MANY))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_there_is_room_for_as_many_jobs_as_have_not_been_scheduled() -> None:
    flight = Flight(3)
    assert await flight.room(MANY) == 3
    flight.add(scheduled((0, 0), (0, 1)))
    assert await flight.room(MANY) == 1


async def test_a_reader_waits_until_a_job_has_ended() -> None:
    flight = Flight(2)
    flight.add(scheduled((0, 0), (0, 1)))
    waiting = await waits(flight)

    flight.ended((0, 1))

    assert await waiting == 1


async def test_the_jobs_of_a_reader_before_count_until_they_have_ended() -> None:
    flight = Flight(3, before=2, known={0: 5})
    assert await flight.room(MANY) == 1
    flight.add(scheduled((0, 7)))
    waiting = await waits(flight)

    flight.ended((0, 3))
    assert await waiting == 1
    flight.ended((0, 4))
    flight.ended((0, 7))

    assert await flight.room(MANY) == 3


async def test_ends_that_come_twice_or_of_others_make_no_room() -> None:
    flight = Flight(2)
    flight.add(scheduled((0, 0), (0, 1)))
    flight.ended((0, 0))
    flight.ended((0, 0))
    flight.ended((5, 5))

    assert await flight.room(MANY) == 1


async def test_a_job_that_has_ended_before_it_is_scheduled_again_takes_no_room() -> None:
    """A reader that died had scheduled it, and did not come to tell of it."""
    flight = Flight(2, before=1, known={0: 5})
    flight.ended((0, 6))
    flight.ended((0, 4))
    flight.add(scheduled((0, 5), (0, 6)))

    assert await flight.room(MANY) == 1


async def test_jobs_that_other_readers_schedule_do_not_count() -> None:
    flight = Flight(2)
    flight.ended((1, 0), mine=False)
    flight.add(scheduled((1, 0)))

    assert await flight.room(MANY) == 1


async def test_a_job_that_is_scheduled_again_counts_once() -> None:
    flight = Flight(2)
    flight.add(scheduled((0, 0)))
    flight.add(scheduled((0, 0)))

    assert await flight.room(MANY) == 1


async def test_a_reader_waits_for_rows_that_take_too_much_room() -> None:
    flight = Flight(1000, max_bytes=100)
    assert await flight.room([40, 40, 40]) == 2
    flight.add(scheduled((0, 0), size=100))
    waiting = await waits(flight)

    flight.ended((0, 0))

    assert await waiting == 100


async def test_a_job_of_more_bytes_than_there_may_be_is_scheduled_alone() -> None:
    flight = Flight(1000, max_bytes=100)
    assert await flight.room([500, 1]) == 1
    flight.add(scheduled((0, 0), size=500))
    waiting = await waits(flight)

    flight.ended((0, 0))

    assert await waiting == 100


async def test_other_limits_count_at_once() -> None:
    flight = Flight(1, max_bytes=100)
    flight.add(scheduled((0, 0), size=50))
    waiting = await waits(flight)

    flight.adapt(max_jobs=5, max_bytes=100, paused=False)
    assert await waiting == 4

    flight.adapt(max_jobs=5, max_bytes=50, paused=False)
    waiting = await waits(flight)
    flight.adapt(max_jobs=5, max_bytes=52, paused=False)
    assert await waiting == 2


async def test_there_is_no_room_while_the_batch_is_paused() -> None:
    flight = Flight(2, paused=True)
    waiting = await waits(flight)
    flight.ended((0, 0), mine=False)
    await asyncio.sleep(0)
    assert not waiting.done()

    flight.adapt(max_jobs=2, max_bytes=100, paused=False)
    assert await waiting == 2

    flight.adapt(max_jobs=2, max_bytes=100, paused=True)
    await waits(flight)


async def test_a_job_that_runs_again_takes_room_until_it_ends_again() -> None:
    flight = Flight(2)
    flight.add(scheduled((0, 0)))
    flight.ended((0, 0))
    assert await flight.room(MANY) == 2

    flight.redriven((0, 0))
    flight.redriven((0, 1))
    waiting = await waits(flight)
    flight.ended((0, 0))

    assert await waiting == 1


async def test_a_job_of_a_reader_before_that_runs_again_counts_once() -> None:
    flight = Flight(2, before=1, known={0: 5})
    flight.ended((0, 3))
    flight.redriven((0, 3))
    assert await flight.room(MANY) == 1
    flight.ended((0, 3))

    assert await flight.room(MANY) == 2


async def test_a_job_that_has_ended_and_runs_again_before_it_is_scheduled_again_blocks_nothing() -> None:
    flight = Flight(1)
    flight.ended((0, 6))
    flight.redriven((0, 6))
    flight.ended((0, 6))
    flight.add(scheduled((0, 6)))

    assert await flight.room(MANY) == 1


async def test_jobs_that_run_again_for_other_readers_do_not_count() -> None:
    flight = Flight(1)
    flight.redriven((1, 0), mine=False)

    assert await flight.room(MANY) == 1


def test_readers_share_what_their_batch_may_have_in_flight() -> None:
    assert share_of(DETAILS, 1) == {"max_jobs": 100, "max_bytes": 4000}
    assert share_of(DETAILS, 3) == {"max_jobs": 33, "max_bytes": 1333}
    few = msgspec.structs.replace(DETAILS, max_jobs_in_flight=1, max_bytes_in_flight=1)
    assert share_of(few, 3) == {"max_jobs": 1, "max_bytes": 1}


@pytest.mark.parametrize(("unread", "readers"), [(0, 1), (1, 1), (3, 3), (10, 4)])
def test_a_batch_has_as_many_readers_as_it_may_have_and_files_that_are_not_read(unread: int, readers: int) -> None:
    assert readers_of(DETAILS, unread) == readers


@pytest.mark.parametrize("change", [{"first": 5}, {"limit": 5}, {"stream": StreamRules()}])
def test_files_whose_rows_are_counted_together_are_read_in_their_order(change: dict[str, object]) -> None:
    assert readers_of(msgspec.structs.replace(DETAILS, **change), 10) == 1
