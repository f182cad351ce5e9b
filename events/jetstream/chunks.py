"""The bytes that are streamed in for a batch: pieces that follow each other, and the mark of the stream's end.

The first HEAD_BYTES are kept as long as the batch, since some formats begin with what is needed at each place of
the stream; what follows is removed as it is in jobs. Each piece is stored behind the one that its writer knows of,
so that two writers cannot both go on at one place. The last message is never removed: it says how much is durable.
"""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from msgspec import Struct, json

from events.jetstream.chain import EXPECTED
from events.jetstream.direct import sequence_of
from events.jetstream.topology import CHUNKS
from events.subjects import chunk_subject, chunks_filter
from rota.errors import ConflictError, RotaError, UnavailableError
from rota.jetstream import WRONG_LAST_SEQUENCE, Connection, JetStreamError, Msg

MEBIBYTE = 1024 * 1024
HEAD_BYTES = 4 * MEBIBYTE
PIECE_BYTES = MEBIBYTE
"""The most that is stored in a message: larger ones were no faster, and wait longer to be full."""

OFFSET = "Rota-Offset"
"""The header that says where in the stream the first byte of a message is."""
END = "Rota-End"

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class OtherWriterError(ConflictError):
    """Somebody else has stored something at this place of the stream."""


class Piece(Struct, frozen=True):
    """Bytes of a stream; the last piece has none, and marks the end."""

    sequence: int
    """In ROTA_CHUNKS; 0 if nothing is stored."""
    offset: int
    body: bytes
    is_end: bool = False
    stored_at: datetime = _BEGINNING
    """By the server's clock."""

    @property
    def end(self) -> int:
        """Where in the stream the next byte is."""
        return self.offset + len(self.body)


NOTHING = Piece(0, 0, b"")


def read_piece(message: Msg, sequence: int, stored_at: datetime = _BEGINNING) -> Piece:
    """Return what a message of ROTA_CHUNKS has; RotaError if Rota has not written it."""
    headers = message.headers or {}
    try:
        offset = int(headers[OFFSET])
    except (KeyError, ValueError) as error:
        raise RotaError(f"Message {sequence} of {CHUNKS} is no piece of a stream: it does not say where") from error
    return Piece(sequence, offset, message.data, END in headers, stored_at)


class ChunkLog:
    """The stream of one batch, as far as it is stored."""

    def __init__(self, connection: Connection, batch: str) -> None:
        self._connection = connection
        self._batch = batch

    async def last(self) -> Piece:
        """Return the last piece; its `end` is how much is durable."""
        message = await self._connection.last(CHUNKS, chunks_filter(self._batch))
        return _direct(message) if message else NOTHING

    async def append(self, last: Piece, body: bytes) -> Piece:
        """Store bytes behind a piece, and return the piece that they are.

        OtherWriterError if something else stands there; UnavailableError if it is not known whether they are
        stored: the same again does no harm.
        """
        return await self._store(last, body, {})

    async def seal(self, last: Piece) -> Piece:
        """Mark that the stream ends behind a piece; errors as above."""
        return last if last.is_end else await self._store(last, b"", {END: "1"})

    async def first_kept(self) -> Piece | None:
        """Return the first piece behind the head that is not removed yet, if there is one."""
        return await self._next(chunk_subject(self._batch, head=False), 1)

    async def pieces(self, offset: int) -> AsyncGenerator[Piece, None]:
        """Yield the stored pieces from the one that has an offset, or else from the first one behind it."""
        for head in (True, False):
            subject = chunk_subject(self._batch, head=head)
            piece = await self._at(subject, offset)
            while piece and not piece.is_end:
                if piece.end > offset:
                    yield piece
                piece = await self._next(subject, piece.sequence + 1)

    async def release(self, sequence: int) -> None:
        """Remove what stands behind the head and before a message of the stream, which is kept."""
        body = {"filter": chunk_subject(self._batch, head=False), "seq": sequence}
        await self._connection.call(f"STREAM.PURGE.{CHUNKS}", body)

    async def _store(self, last: Piece, body: bytes, headers: dict[str, str]) -> Piece:
        fence = {EXPECTED: str(last.sequence), f"{EXPECTED}-Subject": chunks_filter(self._batch)}
        subject = chunk_subject(self._batch, head=last.end < HEAD_BYTES)
        try:
            sequence = await self._connection.publish(subject, body, headers | {OFFSET: str(last.end)} | fence)
        except JetStreamError as error:
            if error.code not in WRONG_LAST_SEQUENCE:
                raise
            found = await self.last()
            if (found.offset, found.body, found.is_end) == (last.end, body, END in headers):
                return found  # stored by an attempt whose answer was lost
            raise OtherWriterError("Another writer has stored something in the stream meanwhile") from error
        return Piece(sequence, last.end, body, END in headers)

    async def _at(self, subject: str, offset: int) -> Piece | None:
        """Return the piece on a subject that has an offset, or else the first one behind it."""
        found = await self._next(subject, 1)
        newest = await self._connection.last(CHUNKS, subject)
        if found is None or newest is None or found.end > offset:
            return found
        low, high = found.sequence + 1, sequence_of(newest)
        while low <= high:
            piece = await self._next(subject, (low + high) // 2)
            if piece is None or piece.end > offset or piece.is_end:
                high = (low + high) // 2 - 1
                found = piece or found
            else:
                low = piece.sequence + 1
                found = piece
        return found if found.end > offset or found.is_end else await self._next(subject, found.sequence + 1)

    async def _next(self, subject: str, sequence: int) -> Piece | None:
        """Return the first piece on a subject from a sequence on.

        The subject is without wildcards, by which the server would search all of a large stream.
        """
        query = json.encode({"seq": sequence, "next_by_subj": subject})
        message = await self._connection.request(f"$JS.API.DIRECT.GET.{CHUNKS}", query)
        match (message.headers or {}).get("Status"):
            case None:
                return _direct(message)
            case "404":
                return None
            case status:
                raise UnavailableError(f"NATS could not read {subject}: {status}")


async def remove(connection: Connection, batch: str) -> None:
    """Remove all that was streamed in for a batch that has ended, for good; a second time does nothing.

    The mark of the end stays, up to its age: a sender that has not heard so learns that all had come, and none can
    write any more. Not for a batch that has failed, as long as it may be redriven: its reader needs the bytes.
    """
    chunks = ChunkLog(connection, batch)
    while True:
        try:
            last = await chunks.seal(await chunks.last())
        except OtherWriterError:
            continue
        break
    await connection.call(f"STREAM.PURGE.{CHUNKS}", {"filter": chunks_filter(batch), "seq": last.sequence})


def _direct(message: Msg) -> Piece:
    stored_at = datetime.fromisoformat((message.headers or {})["Nats-Time-Stamp"])
    return read_piece(message, sequence_of(message), stored_at)
