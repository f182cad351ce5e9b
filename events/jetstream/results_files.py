"""Files of results that are for download: kept in pieces, whole or not to be seen.

Nobody reads a file before its batch tells of it, and each piece names the file that it is of: what a writer left
that was killed is never taken for a part of another one's file.
"""

from collections.abc import AsyncIterator
from typing import BinaryIO

from events.jetstream.topology import RESULTS_FILES
from events.subjects import results_file_filter, results_file_subject
from rota.errors import NotFoundError
from rota.jetstream import Connection, Message, Msg

PIECE_BYTES = 1024 * 1024
PIECES_AT_ONCE = 8
FILE = "Rota-File"
"""Header of a piece: the SHA-256 of the whole file."""


class ResultsFiles:
    """The stream of files of results."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, batch: str, collection: str, file: BinaryIO, sha256: str) -> None:
        """Store a file that has this digest, in place of what an earlier try has left of it."""
        await self.remove(batch, collection)
        file.seek(0)
        number = 0
        while pieces := [piece for _ in range(PIECES_AT_ONCE) if (piece := file.read(PIECE_BYTES))]:
            await self._connection.publish_each(
                [
                    Message(results_file_subject(batch, collection, number + index), piece, {FILE: sha256})
                    for index, piece in enumerate(pieces)
                ]
            )
            number += len(pieces)

    async def read(self, batch: str, collection: str, sha256: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes of a file from one place to another; NotFoundError as soon as a piece is not there."""
        for number in range(start // PIECE_BYTES, -(-stop // PIECE_BYTES)):
            message = await self._piece(batch, collection, sha256, number)
            offset = number * PIECE_BYTES
            yield message.data[max(0, start - offset) : stop - offset]

    async def check(self, batch: str, collection: str, sha256: str, size: int) -> None:
        """Raise NotFoundError if the first or the last piece of a file is not there: the others stand between."""
        if size:
            await self._piece(batch, collection, sha256, 0)
            await self._piece(batch, collection, sha256, (size - 1) // PIECE_BYTES)

    async def remove(self, batch: str, collection: str = "*") -> None:
        """Remove a file, or all of a batch; when it returns, it is gone."""
        await self._connection.call(
            f"STREAM.PURGE.{RESULTS_FILES}", {"filter": results_file_filter(batch, collection)}
        )

    async def _piece(self, batch: str, collection: str, sha256: str, number: int) -> Msg:
        message = await self._connection.last(RESULTS_FILES, results_file_subject(batch, collection, number))
        if message is None or (message.headers or {}).get(FILE) != sha256:
            raise NotFoundError(
                f"The file of the collection {collection} was removed; ask for the results of {batch} again"
            )
        return message
