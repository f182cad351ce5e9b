"""Arrow: files, which Feather's version 2 are, and streams, one record batch at a time.

A position is a record batch: `part` its number and `offset` its byte, and `line` its row in there, from 1.
"""

from collections.abc import Generator, Iterator
from contextlib import closing, suppress

import pyarrow as pa
from pyarrow.ipc import Alignment, IpcReadOptions

from actors.formats.arrow_messages import (
    BATCH,
    DICTIONARY,
    FILE_MAGIC,
    SCHEMA,
    Bytes,
    Message,
    message_at,
    next_message,
    read_footer,
)
from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.native import faults_of
from actors.formats.plain import Plain, chosen, has_dictionaries
from events.batch import FileFault, Position
from rota.options import ArrowOptions

FEATHER_1_MAGIC = b"FEA1"
KEPT_BYTES = 4 * 1024 * 1024
"""What is kept of a stream as it is read; dictionaries must stand in there."""


def read(file: Input, options: ArrowOptions, start: Position, schema: pa.Schema | None) -> Iterator[Block]:  # noqa: ARG001 - the file has its own
    """Yield the rows of one record batch after the other, in blocks."""
    head = file.head(len(FILE_MAGIC))
    if head.startswith(FEATHER_1_MAGIC):
        raise BadRowError(
            FileFault(f"{file.path} is a Feather file of version 1; write it as version 2, which is Arrow", row=0)
        )
    if file.prompt and head.startswith(FILE_MAGIC):
        raise BadRowError(
            FileFault(
                f"{file.path} is an Arrow file, whose end says where its rows are; only Arrow's stream format can "
                "be read as it comes",
                row=0,
            )
        )
    with closing(_in_file(file, start) if head.startswith(FILE_MAGIC) else _in_stream(file, start)) as messages:
        batches = _Batches(file, options, next(messages))
        yield from batches.blocks(messages, start)


class _Batches:
    """The record batches of one file, decoded."""

    def __init__(self, file: Input, options: ArrowOptions, schema_message: Message) -> None:
        self._path = file.path
        self._feed = _Feed()
        self._feed.put(schema_message)
        with faults_of(file.path, 0):
            columns = chosen(file.path, _schema_in(schema_message), options.columns, file.limits)
            names = sorted(columns, key=columns.__getitem__)
            reading = IpcReadOptions(
                use_threads=False,
                ensure_alignment=Alignment.DataTypeSpecific,
                included_fields=sorted(columns.values()) if options.columns else [],
            )
            self._reader = pa.ipc.open_stream(self._feed, options=reading)
            self._plain = Plain(file.path, self._reader.schema, names, file.limits)
        self._names = list(columns)

    def blocks(self, messages: Iterator[Message], start: Position) -> Iterator[Block]:
        """Yield the rows of the batches in the messages; `start` is in the first of these batches."""
        row, part, skip = start.row, start.part, start.line - 1
        for message in messages:
            place = f"{self._path}, record batch {part + 1}"
            with faults_of(place, row):
                self._feed.put(message)
                if message.kind != BATCH:
                    continue
                batch = self._reader.read_next_batch()
                # Offsets that lie would make Arrow read beyond its buffers.
                batch.validate(full=True)
                tables = self._plain.blocks(batch, skip)
            first = row - skip
            while True:
                with faults_of(place, row):
                    begin, table = next(tables, (0, None))
                if table is None:
                    break
                yield Block(Position(message.offset, first + begin, 1 + begin, part), table.select(self._names))
                row = first + begin + table.num_rows
            part, skip = part + 1, 0


class _Feed:
    """A stream for Arrow's reader: the messages that were put in so far."""

    closed = False

    def __init__(self) -> None:
        self._waiting: list[memoryview] = []

    def put(self, message: Message) -> None:
        """Add a message."""
        self._waiting += [part for part in message.parts if len(part)]

    def read(self, size: int = -1) -> memoryview:
        """Return the next bytes; Arrow asks for the parts of a message one by one."""
        if not self._waiting:
            return memoryview(b"")
        part = self._waiting.pop(0)
        if size < len(part):
            self._waiting.insert(0, part[size:])
        return part[:size]


def _in_stream(file: Input, start: Position) -> Generator[Message, None, None]:
    """Yield the schema, and the messages that are needed to read from a position on."""
    with closing(file.chunks()) as chunks:
        source = Bytes(_head(chunks) if file.fades and start.offset else chunks)
        schema = _schema_message(source, file)
        yield schema
        with faults_of(file.path, 0):
            needs_all = has_dictionaries(_schema_in(schema))
        if start.offset == 0 or (needs_all and not file.fades):
            yield from _to_the_end(source, file, start)
            return
        if needs_all:
            yield from _first_dictionaries(source, file, start.offset)
    with closing(file.chunks(start.offset)) as chunks:
        yield from _to_the_end(Bytes(chunks, start.offset), file, start)


def _to_the_end(source: Bytes, file: Input, start: Position) -> Iterator[Message]:
    while message := next_message(source, file.path, file.limits):
        if message.kind not in (BATCH, DICTIONARY):
            raise BadRowError(FileFault(f"{file.path}, byte {message.offset}: this is no record batch"))
        if message.kind == DICTIONARY and file.fades and message.offset + message.size > KEPT_BYTES:
            raise BadRowError(
                FileFault(
                    f"{file.path}, byte {message.offset}: a dictionary stands behind the first {KEPT_BYTES} "
                    "bytes, which alone are kept of a stream. Write all dictionaries before the rows and none "
                    "again, write the columns without them, or compress the stream and open the batch with "
                    "`compression`"
                )
            )
        if message.kind == DICTIONARY or message.offset >= start.offset:
            yield message
    if source.take(1):
        raise BadRowError(
            FileFault(f"{file.path}, byte {source.offset - 1}: bytes follow the marker of the stream's end")
        )


def _first_dictionaries(source: Bytes, file: Input, stop: int) -> Iterator[Message]:
    """Yield the dictionaries before an offset; all of them are in the head."""
    with suppress(BadRowError):  # a record batch that is cut by the end of the head
        while source.offset < stop and (message := next_message(source, file.path, file.limits)):
            if message.kind == DICTIONARY:
                yield message


def _head(chunks: Iterator[bytes]) -> Iterator[bytes]:
    room = KEPT_BYTES
    for chunk in chunks:
        yield chunk[:room]
        room -= len(chunk)
        if room <= 0:
            return


def _in_file(file: Input, start: Position) -> Generator[Message, None, None]:
    """Yield the schema, all dictionaries, and the record batches from a position on."""
    with closing(file.open()) as body:
        footer = read_footer(body, file.path, file.limits)
        yield footer.schema
        for kind, extents in ((DICTIONARY, footer.dictionaries), (BATCH, footer.batches[start.part :])):
            for extent in extents:
                message = message_at(body, extent, file.path, file.limits)
                if message.kind != kind:
                    raise BadRowError(
                        FileFault(f"{file.path}, byte {message.offset}: the footer is wrong about it")
                    )
                yield message


def _schema_message(source: Bytes, file: Input) -> Message:
    message = next_message(source, file.path, file.limits)
    if message is None or message.kind != SCHEMA:
        raise BadRowError(FileFault(f"{file.path} is no Arrow file or stream: it begins without a schema", row=0))
    return message


def _schema_in(message: Message) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(b"".join(message.parts)))
