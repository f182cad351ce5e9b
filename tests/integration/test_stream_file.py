"""The stream of a batch as its reader has it, with a real NATS server."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from actors.sources.errors import SourceError
from actors.stream_file import StreamFile
from events.jetstream.chunks import HEAD_BYTES, MEBIBYTE, ChunkLog, Piece
from events.jetstream.topology import CHUNKS
from rota.batch_protocol import StreamRules
from rota.jetstream import Connection
from tests.integration.stream_side import (
    serving,
    until,
)
from tests.integration.write_side import WriteSide, nats_server, new_id, restart


def stream_file(gateway: WriteSide, id_: str, rules: StreamRules | None = None, **opened: Any) -> StreamFile:
    opened_at = opened.get("opened_at", datetime.now(UTC))
    return StreamFile(gateway.connection, id_, rules or StreamRules(), asyncio.get_running_loop(), opened_at)


async def write(write_side: WriteSide, id_: str, *bodies: bytes, end: bool = True) -> list[Piece]:
    chunks = ChunkLog(write_side.connection, id_)
    last = await chunks.last()
    pieces = [last := await chunks.append(last, body) for body in bodies]
    return [*pieces, await chunks.seal(last)] if end else pieces


async def test_a_stream_is_read_piece_by_piece_from_any_offset(write_side: WriteSide) -> None:
    id_ = new_id()
    await write(write_side, id_, *(bytes([65 + n]) * MEBIBYTE for n in range(7)))
    file = stream_file(write_side, id_)

    sizes = [len(piece) for piece in await asyncio.to_thread(list, file.chunks())]
    [part, *others] = await asyncio.to_thread(list, file.chunks(5 * MEBIBYTE + 7))
    at_end = await asyncio.to_thread(list, file.chunks(7 * MEBIBYTE))

    assert sizes == [MEBIBYTE] * 7
    assert (len(part), part[:1], [piece[:1] for piece in others], at_end) == (MEBIBYTE - 7, b"F", [b"G"], [])
    assert await asyncio.to_thread(file.read_at, MEBIBYTE - 2, 4) == b"AABB"
    await asyncio.to_thread(file.close)


async def test_reading_waits_for_what_is_still_to_come(write_side: WriteSide) -> None:
    id_ = new_id()
    file = stream_file(write_side, id_)
    pieces = file.chunks()
    waiting = asyncio.create_task(asyncio.to_thread(next, pieces))

    await write(write_side, id_, b"abc", end=False)

    assert await waiting == b"abc"
    await write(write_side, id_)
    assert await asyncio.to_thread(list, pieces) == []
    await asyncio.to_thread(file.close)


async def test_bytes_that_are_released_are_removed_but_for_the_head_and_the_last(write_side: WriteSide) -> None:
    id_ = new_id()
    await write(write_side, id_, *([bytes(MEBIBYTE)] * 10), end=False)
    file = stream_file(write_side, id_)
    pieces = file.chunks()
    for _ in range(10):
        await asyncio.to_thread(next, pieces)

    await file.release(7 * MEBIBYTE + 5)
    first = await ChunkLog(write_side.connection, id_).first_kept()
    assert first
    assert (first.offset, await write_side.messages(CHUNKS)) == (7 * MEBIBYTE, 7)
    await file.release(10 * MEBIBYTE)
    assert await write_side.messages(CHUNKS) == 5
    assert (await ChunkLog(write_side.connection, id_).last()).end == 10 * MEBIBYTE

    pieces.close()
    await asyncio.to_thread(file.close)


async def test_reading_from_bytes_that_are_removed_is_an_error_that_names_the_offset(write_side: WriteSide) -> None:
    id_ = new_id()
    pieces = await write(write_side, id_, *([bytes(MEBIBYTE)] * 8))
    await ChunkLog(write_side.connection, id_).release(pieces[6].sequence)
    file = stream_file(write_side, id_)

    for offset in (0, 5 * MEBIBYTE):
        with pytest.raises(SourceError, match=f"from {max(offset, HEAD_BYTES)} on are not there any more"):
            await asyncio.to_thread(list, file.chunks(offset))
    await asyncio.to_thread(file.close)


async def test_a_silent_stream_fails_by_its_rule(write_side: WriteSide) -> None:
    id_ = new_id()
    file = stream_file(write_side, id_, StreamRules(silent_after_seconds=0.2))
    await write(write_side, id_, b"abc", end=False)

    with pytest.raises(SourceError, match=r"silent for 0\.2 s, since byte 3"):
        await asyncio.to_thread(list, file.chunks())
    await asyncio.to_thread(file.close)


async def test_a_stream_without_any_byte_is_silent_since_its_opening(write_side: WriteSide) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    file = stream_file(write_side, new_id(), StreamRules(silent_after_seconds=0.2), opened_at=long_ago)

    with pytest.raises(SourceError, match="silent"):
        await asyncio.to_thread(list, file.chunks())
    await asyncio.to_thread(file.close)


async def test_a_silent_stream_is_sealed_by_its_rule(write_side: WriteSide) -> None:
    id_ = new_id()
    file = stream_file(write_side, id_, StreamRules(silent_after_seconds=0.2, on_silence="seal"))
    await write(write_side, id_, b"abc", end=False)

    assert await asyncio.to_thread(list, file.chunks()) == [b"abc"]

    assert (await ChunkLog(write_side.connection, id_).last()).is_end
    await asyncio.to_thread(file.close)


async def test_closing_ends_the_wait_for_bytes(write_side: WriteSide) -> None:
    file = stream_file(write_side, new_id())
    waiting = asyncio.create_task(asyncio.to_thread(next, file.chunks()))
    await asyncio.wait([waiting], timeout=0.1)

    await asyncio.to_thread(file.close)

    with pytest.raises(SourceError, match="not read any more"):
        await waiting


async def test_a_message_that_rota_has_not_written_is_an_error(write_side: WriteSide) -> None:
    id_ = new_id()
    await write_side.connection.publish(f"rota.chunk.{id_}.head", b"abc")
    file = stream_file(write_side, id_)

    with pytest.raises(SourceError, match="no piece of a stream"):
        await asyncio.to_thread(list, file.chunks())
    await asyncio.to_thread(file.close)


async def test_reading_and_sending_go_on_when_the_server_was_away(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as (server, url), await Connection.open(url, name="test") as connection:
        write_side = WriteSide(connection)
        async with serving(write_side, tmp_path, url) as gateway:
            id_ = await gateway.open()
            file = stream_file(write_side, id_)
            pieces = file.chunks()
            assert (await gateway.patch(id_, b"one\n", 0)).status == 204
            assert await asyncio.to_thread(next, pieces) == b"one\n"
            waiting = asyncio.create_task(asyncio.to_thread(next, pieces))

            await restart(server, url)

            async def is_taken() -> bool:
                return (await gateway.patch(id_, b"two\n", 4, complete=True)).status == 204

            await until(is_taken)
            assert await waiting == b"two\n"
            assert await asyncio.to_thread(list, pieces) == []
            await asyncio.to_thread(file.close)
