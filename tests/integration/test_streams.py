"""Data that is streamed in over HTTP and as messages, with a real NATS server."""

import asyncio
import gzip
import json
import secrets
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from backports import zstd

from events.batch import OpenBatch
from events.jetstream.chunks import HEAD_BYTES, MEBIBYTE, PIECE_BYTES, ChunkLog, OtherWriterError, remove
from events.jetstream.topology import CHUNKS
from gateway.stream_operations import append, data, seal
from rota.batch_protocol import AppendRequest, DataView
from rota.errors import ConflictError, NotFoundError, UnavailableError
from tests.integration.stream_side import (
    ASKER,
    STREAM_BYTES,
    WAIT_SECONDS,
    Answer,
    Gateway,
    body_of,
    details,
    durable,
    failure,
    reached,
    serving,
    stored,
    until,
)
from tests.integration.write_side import WriteSide, new_id


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(write_side: WriteSide, nats_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with serving(write_side, tmp_path, nats_url) as found:
        yield found


# What is durable


async def test_bytes_follow_each_other_and_the_answer_says_how_many_are_durable(gateway: Gateway) -> None:
    id_ = await gateway.open()

    first = await gateway.patch(id_, b"one\n", 0)
    second = await gateway.patch(id_, b"two\n", 4)

    assert (first.status, first.offset, first.complete, first.text) == (204, 4, "?0", "")
    assert (second.status, second.offset) == (204, 8)
    assert await body_of(gateway, id_) == b"one\ntwo\n"
    head = await gateway.ask("HEAD", f"/batches/{id_}/data")
    assert (head.status, head.offset, head.complete) == (200, 8, "?0")
    view = await gateway.ask("GET", f"/batches/{id_}/data")
    assert json.loads(view.text) == {"id": id_, "offset": 8, "complete": False}


async def test_a_long_body_becomes_pieces_of_a_mebibyte(gateway: Gateway) -> None:
    id_ = await gateway.open()
    body = secrets.token_bytes(6 * MEBIBYTE + 5)

    assert (await gateway.patch(id_, body, 0)).offset == len(body)

    pieces = await stored(gateway, id_)
    assert b"".join(piece.body for piece in pieces) == body
    assert all(len(piece.body) <= PIECE_BYTES for piece in pieces)
    assert len(pieces) < 10


async def test_a_chunk_that_is_sent_twice_counts_once(gateway: Gateway) -> None:
    id_ = await gateway.open()
    body = secrets.token_bytes(3 * MEBIBYTE)
    await gateway.patch(id_, body[: 2 * MEBIBYTE], 0)

    again = await gateway.patch(id_, body[: 2 * MEBIBYTE], 0)
    over = await gateway.patch(id_, body[MEBIBYTE - 7 :], MEBIBYTE - 7)

    assert (again.status, again.offset) == (204, 2 * MEBIBYTE)
    assert (over.status, over.offset) == (204, len(body))
    assert await body_of(gateway, id_) == body


async def test_other_bytes_at_an_offset_are_refused(gateway: Gateway) -> None:
    id_ = await gateway.open()
    await gateway.patch(id_, b"abcdef", 0)

    refused = await gateway.patch(id_, b"abcxefgh", 0)

    assert (refused.status, refused.offset) == (409, 6)
    assert "Other bytes are stored at this offset" in refused.detail
    assert await body_of(gateway, id_) == b"abcdef"


async def test_bytes_behind_a_gap_are_refused_and_the_durable_offset_is_named(gateway: Gateway) -> None:
    id_ = await gateway.open()
    await gateway.patch(id_, b"abc", 0)

    refused = await gateway.patch(id_, b"xyz", 10)

    assert (refused.status, refused.offset) == (409, 3)
    assert "begin at 10, and only 3 are durable" in refused.detail


@pytest.mark.parametrize("offset", [None, "-1", "five", "1.0", ""])
async def test_an_offset_that_is_none_is_refused(gateway: Gateway, offset: Any) -> None:
    id_ = await gateway.open()

    refused = await gateway.patch(id_, b"abc", offset)

    assert (refused.status, refused.offset) == (400, 0)
    assert "Upload-Offset" in refused.detail


def head_of(id_: str, length: str) -> bytes:
    return f"PATCH /batches/{id_}/data HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\n{length}\r\n\r\n".encode()


async def test_what_came_of_a_broken_body_stays(gateway: Gateway) -> None:
    id_ = await gateway.open()
    body = secrets.token_bytes(2 * MEBIBYTE + 100)
    _, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(head_of(id_, f"Content-Length: {2 * len(body)}") + body)
    await writer.drain()
    await until(lambda: reached(gateway, id_, len(body)))
    writer.transport.abort()

    async def rest_is_taken() -> bool:
        return (await gateway.patch(id_, b"rest", len(body))).status == 204

    await until(rest_is_taken)
    assert await body_of(gateway, id_) == body + b"rest"


async def begun(gateway: Gateway, id_: str, more: asyncio.Event, then: bytes = b"") -> asyncio.Task[Answer]:
    """Send a first line, which is durable when this returns, and the rest of the body when there may be more."""

    async def body() -> AsyncIterator[bytes]:
        yield b"first\n"
        await more.wait()
        if then:
            yield then

    sending = gateway.start(gateway.patch(id_, body(), 0))
    await until(lambda: reached(gateway, id_, 6))
    return sending


async def test_bytes_are_durable_while_a_body_is_still_sent(gateway: Gateway) -> None:
    id_ = await gateway.open()
    more = asyncio.Event()
    sending = await begun(gateway, id_, more, then=b"second\n")
    more.set()

    assert (await sending).offset == 13


# The end


async def test_a_stream_is_sealed_by_its_last_chunk(gateway: Gateway) -> None:
    id_ = await gateway.open()
    await gateway.patch(id_, b"one\n", 0)

    sealed = await gateway.patch(id_, b"two\n", 4, complete=True)
    again = await gateway.patch(id_, b"two\n", 4, complete=True)
    earlier = await gateway.patch(id_, b"one\n", 0)

    assert [(one.status, one.offset, one.complete) for one in (sealed, again, earlier)] == [(204, 8, "?1")] * 3
    refused = await gateway.patch(id_, b"three\n", 8)
    assert (refused.status, refused.offset, refused.complete) == (409, 8, "?1")
    assert "is sealed at byte 8" in refused.detail
    shorter = await gateway.patch(id_, b"one\n", 0, complete=True)
    assert shorter.status == 409


async def test_a_stream_is_sealed_by_itself_and_twice_is_once(gateway: Gateway) -> None:
    id_ = await gateway.open()
    await gateway.patch(id_, b"one\n", 0)

    answers = [await gateway.ask("POST", f"/batches/{id_}/seal") for _ in range(2)]

    assert [json.loads(one.text) for one in answers] == [{"id": id_, "offset": 4, "complete": True}] * 2
    assert (await gateway.patch(id_, b"", 4, complete=True)).status == 204


async def test_a_stream_without_bytes_can_be_sealed(gateway: Gateway) -> None:
    id_ = await gateway.open()

    sealed = await gateway.patch(id_, b"", 0, complete=True)

    assert (sealed.status, sealed.offset, sealed.complete) == (204, 0, "?1")


async def test_a_batch_that_has_failed_takes_no_bytes_and_says_why(gateway: Gateway) -> None:
    id_ = await gateway.open()
    await gateway.patch(id_, b"one\n", 0)
    await gateway.carry_out(failure(id_, "the disk is on fire"))

    refused = await gateway.patch(id_, b"two\n", 4)

    assert (refused.status, refused.offset) == (409, 4)
    assert "it is failed: the disk is on fire" in refused.detail


async def test_what_is_removed_at_the_end_leaves_the_mark_of_the_end(gateway: Gateway) -> None:
    id_ = await gateway.open()
    await gateway.patch(id_, b"one\n", 0, complete=True)

    for _ in range(2):
        await remove(gateway.write_side.connection, id_)

    assert await gateway.write_side.messages(CHUNKS) == 1
    again = await gateway.patch(id_, b"one\n", 0, complete=True)
    assert (again.status, again.offset, again.complete) == (204, 4, "?1")


async def test_nobody_can_write_behind_what_was_removed(gateway: Gateway) -> None:
    id_ = await gateway.open()
    await gateway.patch(id_, b"one\n", 0)
    chunks = ChunkLog(gateway.write_side.connection, id_)
    last = await chunks.last()

    await remove(gateway.write_side.connection, id_)

    with pytest.raises(OtherWriterError):
        await chunks.append(last, b"two\n")


async def test_batches_that_are_not_there_or_read_files_have_no_data(gateway: Gateway) -> None:
    files = await gateway.open(files=("a.csv",), stream=None)

    for method, path in (("GET", "data"), ("PATCH", "data"), ("POST", "seal")):
        assert (await gateway.ask(method, f"/batches/none/{path}")).status == 404
        refused = await gateway.ask(method, f"/batches/{files}/{path}")
        assert (refused.status, "reads files" in refused.detail) == (409, True)


async def test_a_batch_takes_bytes_while_its_opening_waits(gateway: Gateway) -> None:
    id_ = new_id()
    await gateway.write_side.send(OpenBatch(id=id_, details=details()))

    assert (await gateway.patch(id_, b"one\n", 0)).status == 204


# Two writers


async def test_a_second_writer_is_refused_while_one_is_at_work(gateway: Gateway) -> None:
    id_ = await gateway.open()
    more = asyncio.Event()
    sending = await begun(gateway, id_, more)
    second = await gateway.patch(id_, b"other\n", 6)
    more.set()

    assert (second.status, second.offset) == (409, 6)
    assert "Another writer" in second.detail
    assert (await sending).status == 204
    assert (await gateway.patch(id_, b"other\n", 6)).status == 204


async def test_two_writers_at_two_gateways_cannot_both_go_on_at_one_place(
    gateway: Gateway, nats_url: str, tmp_path: Path
) -> None:
    id_ = await gateway.open()
    more = asyncio.Event()
    async with serving(gateway.write_side, tmp_path, nats_url) as other:
        sending = await begun(gateway, id_, more, then=b"second\n")
        assert (await other.patch(id_, b"other\n", 6)).status == 204
        more.set()
        refused = await sending

    assert (refused.status, refused.offset) == (409, 12)
    assert await body_of(gateway, id_) == b"first\nother\n"


async def test_a_writer_hears_that_the_stream_was_sealed_meanwhile(gateway: Gateway) -> None:
    id_ = await gateway.open()
    chunks = ChunkLog(gateway.write_side.connection, id_)
    more = asyncio.Event()
    sending = await begun(gateway, id_, more, then=b"second\n")
    await chunks.seal(await chunks.last())
    more.set()

    refused = await sending
    assert (refused.status, refused.offset, refused.complete) == (409, 6, "?1")
    assert "is sealed at byte 6" in refused.detail


async def test_the_same_bytes_by_two_writers_count_once(gateway: Gateway) -> None:
    id_ = await gateway.open()
    chunks = ChunkLog(gateway.write_side.connection, id_)
    nothing = await chunks.last()

    first, second = await chunks.append(nothing, b"same"), await chunks.append(nothing, b"same")

    assert (first.sequence, first.end) == (second.sequence, second.end)


# Encodings

ENCODED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("encoding", ENCODED)
async def test_offsets_count_the_bytes_without_their_encoding(gateway: Gateway, encoding: str) -> None:
    id_ = await gateway.open()
    body = b'{"a": 1}\n' * 300_000
    half = len(body) // 2

    first = await gateway.patch(id_, ENCODED[encoding](body[:half]), 0, Content_Encoding=encoding)
    second = await gateway.patch(id_, ENCODED[encoding](body[half:]), half, Content_Encoding=encoding)

    assert (first.offset, second.offset) == (half, len(body))
    assert await body_of(gateway, id_) == body


async def test_a_body_that_is_cut_within_its_encoding_does_not_seal_a_stream_of_known_length(
    gateway: Gateway,
) -> None:
    id_ = await gateway.open()
    body = b"0123456789" * 10_000
    whole = gzip.compress(body)
    facts = {"Content_Encoding": "gzip", "Upload_Length": str(len(body))}

    refused = await gateway.patch(id_, whole[:-20], 0, complete=True, **facts)
    assert (refused.status, refused.complete) == (400, "?0")
    assert "The stream should have 100000 bytes" in refused.detail
    assert (await gateway.patch(id_, whole, 0, complete=True, **facts)).offset == len(body)


async def test_an_unknown_encoding_is_refused_with_those_that_are_known(gateway: Gateway) -> None:
    id_ = await gateway.open()

    refused = await gateway.patch(id_, b"abc", 0, Content_Encoding="compress")

    assert (refused.status, refused.offset) == (415, 0)
    assert "gzip, deflate, zstd" in refused.detail


async def test_a_body_that_is_not_in_its_encoding_is_refused(gateway: Gateway) -> None:
    id_ = await gateway.open()

    refused = await gateway.patch(id_, b"no gzip at all", 0, Content_Encoding="gzip")

    assert refused.status == 400


async def test_a_bomb_is_held_back_like_any_stream(gateway: Gateway) -> None:
    id_ = await gateway.open()
    bomb = gzip.compress(bytes(200 * MEBIBYTE))

    sending = gateway.start(gateway.patch(id_, bomb, 0, Content_Encoding="gzip"))
    await until(lambda: held(gateway, id_))

    await gateway.carry_out(failure(id_, "enough"))
    assert (await sending).status == 409


# Back-pressure


async def held(gateway: Gateway, id_: str) -> bool:
    """Say whether as much is stored as may be."""
    return await durable(gateway, id_) > HEAD_BYTES + STREAM_BYTES - PIECE_BYTES


async def test_a_sender_is_held_back_until_bytes_are_released(gateway: Gateway) -> None:
    id_ = await gateway.open()
    chunks = ChunkLog(gateway.write_side.connection, id_)
    total, block = 200 * MEBIBYTE, secrets.token_bytes(MEBIBYTE)
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(total // len(block)):
            yield block
            sent += len(block)

    sending = gateway.start(gateway.patch(id_, body(), 0, complete=True))
    await until(lambda: held(gateway, id_))
    await asyncio.wait([sending], timeout=0.5)
    before = await durable(gateway, id_)
    # It looks for room several times by then, and finds none.
    await asyncio.wait([sending], timeout=0.5)
    assert await durable(gateway, id_) == before
    assert before <= HEAD_BYTES + STREAM_BYTES + PIECE_BYTES
    assert sent < HEAD_BYTES + STREAM_BYTES + 16 * MEBIBYTE

    while not sending.done():
        last = await chunks.last()
        if last.sequence and last.end > HEAD_BYTES:
            first = await chunks.first_kept()
            assert first
            assert last.end - first.offset <= STREAM_BYTES
            await chunks.release(last.sequence)
        await asyncio.sleep(0)

    answer = await sending
    assert (answer.status, answer.offset, answer.complete) == (204, total, "?1")


async def test_a_sender_that_is_held_back_hears_that_its_batch_has_ended(gateway: Gateway) -> None:
    id_ = await gateway.open()
    sending = gateway.start(gateway.patch(id_, endless(), 0))
    await until(lambda: held(gateway, id_))

    await gateway.carry_out(failure(id_, "enough"))

    answer = await sending
    assert (answer.status, answer.detail.endswith("it is failed: enough")) == (409, True)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(MEBIBYTE)


async def test_a_sender_that_was_held_back_and_is_gone_makes_place_for_the_next(gateway: Gateway) -> None:
    id_ = await gateway.open()
    sending = gateway.start(gateway.patch(id_, endless(), 0))
    await until(lambda: held(gateway, id_))
    sending.cancel()
    await asyncio.wait([sending])

    async def place_is_free() -> bool:
        return (await gateway.patch(id_, b"", await durable(gateway, id_))).status == 204

    await until(place_is_free)


async def test_a_gateway_that_stops_says_how_much_is_durable(gateway: Gateway) -> None:
    id_ = await gateway.open()
    more = asyncio.Event()
    sending = await begun(gateway, id_, more)
    gateway.edge.stop()

    answer = await sending
    assert (answer.status, answer.offset) == (503, 6)


async def test_a_stream_that_is_kept_whole_has_a_largest_size(gateway: Gateway) -> None:
    id_ = await gateway.open(compression="gzip")
    size = STREAM_BYTES + 5 * MEBIBYTE

    refused = await gateway.patch(id_, bytes(size), 0)

    assert (refused.status, refused.offset) == (413, await durable(gateway, id_))
    assert STREAM_BYTES - PIECE_BYTES < (refused.offset or 0) <= STREAM_BYTES
    assert "ROTA_KEPT_STREAM_BYTES" in refused.detail


# As messages


async def test_bytes_come_as_messages_too(gateway: Gateway) -> None:
    id_ = await gateway.open()
    body = secrets.token_bytes(3 * MEBIBYTE)

    async def send(offset: int, data: bytes, *, complete: bool = False) -> DataView:
        return await append(gateway.edge, AppendRequest(id=id_, offset=offset, data=data, complete=complete), ASKER)

    assert await send(0, body) == await send(0, body) == DataView(id_, len(body), complete=False)
    with pytest.raises(ConflictError, match="only 3145728 are durable"):
        await send(len(body) + 1, b"x")
    assert await send(len(body), b"x", complete=True) == DataView(id_, len(body) + 1, complete=True)
    assert await seal(gateway.edge, id_, ASKER) == await data(gateway.edge, id_)
    with pytest.raises(NotFoundError):
        await data(gateway.edge, "none")


async def test_a_message_beyond_the_bound_is_to_be_sent_again(gateway: Gateway) -> None:
    id_ = await gateway.open()

    async def send() -> None:
        for n in range(30):
            await append(gateway.edge, AppendRequest(id=id_, offset=n * MEBIBYTE, data=bytes(MEBIBYTE)), ASKER)

    with pytest.raises(UnavailableError, match="do not keep up"):
        await send()

    assert await held(gateway, id_)


async def test_an_answer_is_heard_by_a_client_that_still_sends(gateway: Gateway) -> None:
    id_ = await gateway.open()
    await gateway.patch(id_, b"", 0, complete=True)

    def send() -> bytes:
        with socket.create_connection((gateway.host, gateway.port)) as client:
            client.settimeout(WAIT_SECONDS)
            client.sendall(head_of(id_, "Transfer-Encoding: chunked"))
            for _ in range(30):
                client.sendall(b"100000\r\n" + bytes(MEBIBYTE) + b"\r\n")
            client.sendall(b"0\r\n\r\n")
            return client.recv(65536)

    answer = await asyncio.to_thread(send)

    assert answer.startswith(b"HTTP/1.1 409 ")
    assert b"is sealed at byte 0" in answer


async def test_bytes_that_drip_are_stored_as_they_come(gateway: Gateway) -> None:
    """The gaps are shorter than the gateway waits for more."""
    id_ = await gateway.open()
    sent = 0

    async def drip() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 10
            yield b"123456789\n"
            await asyncio.sleep(0.02)

    sending = asyncio.create_task(gateway.patch(id_, drip(), 0))
    gateway.tasks.append(sending)
    for seen in (1, 100, 300):
        async with asyncio.timeout(10):
            while (offset := await durable(gateway, id_)) < seen:
                await asyncio.sleep(0.01)
        assert sent - offset < 200


async def test_who_seals_does_not_cut_off_a_writer_that_is_held_back(gateway: Gateway) -> None:
    id_ = await gateway.open()
    sending = asyncio.create_task(gateway.patch(id_, bytes(STREAM_BYTES + 8 * MEBIBYTE), 0))
    gateway.tasks.append(sending)
    async with asyncio.timeout(20):
        while await durable(gateway, id_) < STREAM_BYTES:
            await asyncio.sleep(0.01)

    sealed = await gateway.ask("POST", f"/batches/{id_}/seal")

    assert sealed.status == 409
    assert not sending.done()


async def test_a_compressed_last_body_says_how_long_the_stream_is(gateway: Gateway) -> None:
    id_ = await gateway.open()
    body = gzip.compress(b"123456789\n")

    blind = await gateway.patch(id_, body, 0, complete=True, Content_Encoding="gzip")

    assert (blind.status, blind.offset) == (400, 0)
    assert "Upload-Length" in blind.detail
    told = await gateway.patch(id_, body, 0, complete=True, Content_Encoding="gzip", Upload_Length="10")
    assert (told.status, told.offset, told.complete) == (204, 10, "?1")
