"""Opens what a batch reads, a file of a source or the data that is streamed in, as its format gets it."""

import asyncio

import msgspec

from actors.formats.block import BadRowError
from actors.formats.detect import detect
from actors.formats.input import Input
from actors.sources.file import SourceFile
from actors.stream_file import StreamFile
from events.batch import BatchDetails, FileFault
from events.catalog import decode_event
from events.formats import formats
from events.jetstream.topology import EVENTS
from events.sources import Connection as SourceConnection
from events.subjects import opened_subject
from rota.batch_protocol import StreamRules
from rota.errors import NotFoundError, RotaError
from rota.jetstream import Connection, until_available
from rota.options import Compression, Options

OpenedFile = SourceFile | StreamFile


def configured(connections: dict[str, SourceConnection], name: str | None) -> SourceConnection | None:
    """Return a connection by its name, None for plain URLs; NotFoundError if it is gone."""
    if name is None:
        return None
    if name not in connections:
        raise NotFoundError(f"The connection {name} is not configured any more")
    return connections[name]


async def open_file(source: SourceConnection | None, path: str) -> OpenedFile:
    """Open a file of a source; SourceError or NotFoundError if that cannot be."""
    return await asyncio.to_thread(SourceFile, source, path)


async def open_stream(connection: Connection, batch: str, rules: StreamRules) -> OpenedFile:
    """Open the data that is streamed in for a batch."""
    opened = await until_available(lambda: connection.last(EVENTS, opened_subject(batch)))
    if opened is None:
        raise RotaError(f"The events of the batch {batch} are gone")
    return StreamFile(connection, batch, rules, asyncio.get_running_loop(), decode_event(opened.data).at)


def kinds(file: OpenedFile, details: BatchDetails) -> tuple[str, Compression]:
    """Return the format of a file and its compression, as they are given or as the file shows them. It blocks."""
    if details.stream and details.format:
        return details.format, details.compression or "none"
    return detect(
        file.path,
        file.media_type,
        Input(file).head(),
        format=details.format,
        compression=file.compression or details.compression,
    )


def options_of(details: BatchDetails, format_: str) -> Options:
    """Return the options with which a batch reads files of a format; BadRowError if they are wrong."""
    given = details.options if details.format else details.options.get(format_, {})
    try:
        return msgspec.convert(given, formats()[format_].options)
    except msgspec.ValidationError as error:
        raise BadRowError(FileFault(f"The options of {format_} are wrong: {error}")) from error
