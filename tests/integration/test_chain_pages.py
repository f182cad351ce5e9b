"""The first events of an aggregate after a place, and no more, whatever lies between them."""

import pytest

from events.jetstream.chain import chain
from events.jetstream.direct import sequence_of
from rota.jetstream import Connection
from tests.integration.test_chain import store


async def fill(connection: Connection, stream: str, versions: int, *, copied: bool = False) -> list[int]:
    """Store events, each behind one of another aggregate; return their sequences."""
    sequences, last, other = [], 0, 0
    for version in range(1, versions + 1):
        other = await store(connection, stream, "b", version, None if copied else other)
        last = await store(connection, stream, "a", version, None if copied else last)
        sequences.append(last)
    return sequences


async def page(connection: Connection, stream: str, after: int, limit: int) -> list[int]:
    messages = await chain(connection, stream, f"{stream}.a.>", after, limit)
    return [sequence_of(message) for message in messages]


@pytest.mark.parametrize("copied", [False, True], ids=["as it was stored", "copied message by message"])
async def test_a_page_has_the_first_events_after_any_place(
    connection: Connection,
    stream: str,
    copied: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    sequences = await fill(connection, stream, 12, copied=copied)

    for limit in (1, 5, 11, 12, 13):
        for after in range(sequences[-1] + 3):
            expected = [sequence for sequence in sequences if sequence > after][:limit]
            assert await page(connection, stream, after, limit) == expected, (limit, after)


async def test_a_page_is_searched_for_no_further_than_its_last_event(connection: Connection, stream: str) -> None:
    sequences = await fill(connection, stream, 40)
    before = connection.client.stats["in_msgs"]

    assert await page(connection, stream, sequences[9], 10) == sequences[10:20]

    # The newest event, the one at the place, and the end of the answer.
    assert connection.client.stats["in_msgs"] - before == 10 + 3


async def test_a_page_of_what_was_removed_in_part_has_what_is_there(connection: Connection, stream: str) -> None:
    sequences = await fill(connection, stream, 12)
    await connection.call(f"STREAM.PURGE.{stream}", {"seq": sequences[4]})

    assert await page(connection, stream, 0, 5) == sequences[4:9]
    assert await page(connection, stream, sequences[1], 11) == sequences[4:]
