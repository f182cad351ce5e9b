"""The files of a batch, as its reader and others take them: each once."""

import asyncio

from actors.offers import MOST_TOGETHER, Offer, Offers


def put(offers: Offers, files: list[int], *, max_jobs: int, others: int) -> None:
    offers.change(max_jobs=max_jobs, others=others)
    offers.put(files)


async def waits(offers: Offers) -> asyncio.Task[Offer | None]:
    """Return another reader's wait for a file, when there is none for it."""
    task = asyncio.create_task(offers.take_for_other())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_each_file_is_taken_once_in_order() -> None:
    offers = Offers()
    put(offers, [0, 2, 3], max_jobs=50, others=2)

    assert offers.take() == 0
    assert await offers.take_for_other() == ((2,), 50, 2)
    assert offers.take() == 3
    assert offers.take() is None


async def test_what_another_reader_has_taken_stays_with_it_when_files_are_offered_again() -> None:
    """The batch's reader has lost its connection and begins again."""
    offers = Offers()
    put(offers, [0, 1, 2], max_jobs=10, others=1)
    assert offers.take() == 0
    assert await offers.take_for_other() == ((1,), 10, 1)

    put(offers, [0, 1, 2], max_jobs=10, others=1)

    assert [offers.take(), offers.take(), offers.take()] == [0, 2, None]


async def test_another_reader_waits_until_there_are_files() -> None:
    offers = Offers()
    waiting = await waits(offers)

    put(offers, [4], max_jobs=10, others=1)

    assert await waiting == ((4,), 10, 1)


async def test_a_batch_that_wants_no_other_readers_offers_nothing() -> None:
    offers = Offers()
    put(offers, [0, 1], max_jobs=10, others=0)
    waiting = await waits(offers)

    assert offers.take() == 0
    offers.close()
    assert await waiting is None


async def test_what_is_withdrawn_is_taken_by_nobody() -> None:
    """The batch has failed: files that nobody reads yet are left."""
    offers = Offers()
    put(offers, [0, 1], max_jobs=10, others=1)
    offers.withdraw()

    assert offers.take() is None
    waiting = await waits(offers)
    offers.close()
    assert await waiting is None


async def test_everybody_who_waits_is_let_go_at_the_end() -> None:
    offers = Offers()
    waiting = [await waits(offers) for _ in range(3)]

    offers.close()

    assert await asyncio.gather(*waiting) == [None] * 3
    assert await offers.take_for_other() is None


async def test_of_two_that_wait_one_gets_a_file() -> None:
    offers = Offers()
    first, second = [await waits(offers) for _ in range(2)]

    put(offers, [7], max_jobs=1, others=2)
    done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)

    assert [task.result() for task in done] == [((7,), 1, 2)]
    offers.close()
    assert {await first, await second} == {((7,), 1, 2), None}


async def test_what_is_left_is_offered_in_another_way_after_a_change() -> None:
    offers = Offers()
    put(offers, [0, 1], max_jobs=50, others=0)
    waiting = await waits(offers)

    offers.change(max_jobs=25, others=1)

    assert await waiting == ((0,), 25, 1)
    assert offers.others == 1
    offers.change(max_jobs=50, others=0)
    await waits(offers)
    assert offers.take() == 1


async def test_of_many_files_another_reader_takes_several_and_of_few_one() -> None:
    offers = Offers()
    put(offers, list(range(40)), max_jobs=10, others=1)

    taken = [await taken_for_other(offers) for _ in range(23)]

    assert [len(files) for files in taken] == [5, 4, 3, 3, 3, 2, 2, 2, 2, *[1] * 14]
    assert [index for files in taken for index in files] == list(range(40))


async def test_others_never_take_so_many_that_a_reader_would_have_none() -> None:
    offers = Offers()
    put(offers, list(range(100_000)), max_jobs=10, others=3)

    assert len(await taken_for_other(offers)) == MOST_TOGETHER
    offers.put(range(1_000, 1_100))
    for _ in range(3):
        assert len(await taken_for_other(offers)) <= 100 // 4
    assert offers.take() is not None


async def taken_for_other(offers: Offers) -> tuple[int, ...]:
    files, _, _ = (await offers.take_for_other()) or ((), 0, 0)
    return files
