"""What holds a reader back: jobs that have not ended, and the bytes of their rows."""

import asyncio

import pytest

from actors import flight as flight_module
from actors.flight import Flight, Place


def scheduled(*places: Place, size: int = 10) -> list[tuple[Place, int]]:
    return [(place, size) for place in places]


async def waits(flight: Flight) -> asyncio.Task[int]:
    """Return a reader's wait for room, which there is not."""
    task = asyncio.create_task(flight.room())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_there_is_room_for_as_many_jobs_as_have_not_been_scheduled() -> None:
    flight = Flight(3)
    assert await flight.room() == 3
    flight.add(scheduled((0, 0), (0, 1)))
    assert await flight.room() == 1


async def test_a_reader_waits_until_a_job_has_ended() -> None:
    flight = Flight(2)
    flight.add(scheduled((0, 0), (0, 1)))
    waiting = await waits(flight)

    flight.ended((0, 1))

    assert await waiting == 1


async def test_the_jobs_of_a_reader_before_count_until_they_have_ended() -> None:
    flight = Flight(3, before=2, known={0: 5})
    assert await flight.room() == 1
    flight.add(scheduled((0, 7)))
    waiting = await waits(flight)

    flight.ended((0, 3))
    assert await waiting == 1
    flight.ended((0, 4))
    flight.ended((0, 7))

    assert await flight.room() == 3


async def test_ends_that_come_twice_or_of_others_make_no_room() -> None:
    flight = Flight(2)
    flight.add(scheduled((0, 0), (0, 1)))
    flight.ended((0, 0))
    flight.ended((0, 0))
    flight.ended((5, 5))

    assert await flight.room() == 1


async def test_a_job_that_has_ended_before_it_is_scheduled_again_takes_no_room() -> None:
    """A reader that died had scheduled it, and did not come to tell of it."""
    flight = Flight(2, before=1, known={0: 5})
    flight.ended((0, 6))
    flight.ended((0, 4))
    flight.add(scheduled((0, 5), (0, 6)))

    assert await flight.room() == 1


async def test_jobs_that_other_readers_schedule_do_not_count() -> None:
    flight = Flight(2)
    flight.ended((1, 0), mine=False)
    flight.add(scheduled((1, 0)))

    assert await flight.room() == 1


async def test_a_job_that_is_scheduled_again_counts_once() -> None:
    flight = Flight(2)
    flight.add(scheduled((0, 0)))
    flight.add(scheduled((0, 0)))

    assert await flight.room() == 1


async def test_a_reader_waits_for_rows_that_take_too_much_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight_module, "MAX_BYTES", 100)
    flight = Flight(1000)
    flight.add(scheduled((0, 0), size=100))
    assert await flight.room() == 999
    flight.add(scheduled((0, 1), (1, 1), size=1))
    waiting = await waits(flight)

    flight.ended((1, 1))
    flight.ended((0, 1))

    assert await waiting == 999


async def test_more_jobs_may_be_in_flight_when_fewer_readers_share_them() -> None:
    flight = Flight(1)
    flight.add(scheduled((0, 0)))
    flight.max_jobs = 5

    assert await flight.room() == 4
