"""Where a file of results goes: into a source's store, or into NATS to be downloaded.

Beside a file in a store is its manifest, `<path>.manifest.json`. It is put there first under another name, so that
who takes over from a process that was killed can tell a file of this collection from those of others, and goes on.
"""

import asyncio
import hashlib
import io
from contextlib import closing
from typing import BinaryIO, Protocol

import msgspec

from actors.sources.errors import MomentaryError, SourceError
from actors.sources.file import SourceFile
from actors.sources.target import TakenError, remove, write_once
from events.jetstream.results_files import ResultsFiles
from events.sources import Connection as SourceConnection
from rota.batch_protocol import Manifest
from rota.errors import NotFoundError
from rota.jetstream import Connection

MANIFEST = ".manifest.json"
MANIFEST_BYTES = 8 * 1024 * 1024
NAME_LETTERS = 40
"""Of a file's name in that of its parts: with a collection's id it fits into what file systems take."""


class Delivery(Protocol):
    """Puts the file of one collection where it was asked for."""

    async def earlier(self) -> Manifest | None:
        """Return the manifest of what a process has delivered that died before it could tell.

        TakenError if the file could not be delivered, since its name is another one's.
        """

    async def deliver(self, file: BinaryIO, manifest: Manifest) -> None:
        """Let the file appear, whole."""


class Download:
    """Keeps a file in NATS."""

    def __init__(self, connection: Connection, batch: str, collection: str) -> None:
        self._files = ResultsFiles(connection)
        self._batch = batch
        self._collection = collection

    async def earlier(self) -> Manifest | None:
        """Return None: what is there was not told of, and is replaced."""
        return None

    async def deliver(self, file: BinaryIO, manifest: Manifest) -> None:
        """Store the file in pieces; nobody reads them before the batch tells of it."""
        await self._files.put(self._batch, self._collection, file, manifest.sha256)


class StoredManifest(Manifest, frozen=True, kw_only=True, omit_defaults=True):
    """A manifest as it lies beside its file: with the collection that both are of."""

    collection: str


class Store:
    """Writes a file and its manifest into a source's store."""

    def __init__(self, source: SourceConnection, path: str, collection: str) -> None:
        self._source = source
        self._path = path
        self._collection = collection
        folder, slash, name = path.rpartition("/")
        self._parts = f"{folder}{slash}.{name[:NAME_LETTERS]}.{collection}"

    async def earlier(self) -> Manifest | None:
        """Return the manifest of a file that is there, if both are of this collection."""
        return await asyncio.to_thread(self._earlier)

    async def deliver(self, file: BinaryIO, manifest: Manifest) -> None:
        """Write the file, then its manifest."""
        await asyncio.to_thread(self._deliver, file, manifest)

    def _earlier(self) -> Manifest | None:
        if told := self._manifest(self._path + MANIFEST):
            return told
        announced = self._manifest(self._announcement)
        if announced and self._is_there(announced):
            self._finish(announced)
            return announced
        for path in (self._path, self._path + MANIFEST):
            if self._size(path) is not None:
                raise TakenError(f"{path} is there already; name another path")
        return None

    def _deliver(self, file: BinaryIO, manifest: Manifest) -> None:
        told = StoredManifest(**msgspec.structs.asdict(manifest), collection=self._collection)
        remove(self._source, self._announcement)
        try:
            self._write(self._announcement, told, for_path=self._path)
        except TakenError:
            # Perhaps it was written, and the answer was lost.
            if self._manifest(self._announcement) is None:
                raise
        try:
            write_once(self._source, self._path, file, manifest.size, f"{self._parts}.part")
        except TakenError:
            if not self._is_there(manifest):
                remove(self._source, self._announcement)
                raise
        except Exception:
            remove(self._source, self._announcement)
            raise
        self._finish(told)

    def _finish(self, manifest: StoredManifest) -> None:
        try:
            self._write(self._path + MANIFEST, manifest)
        except TakenError:
            if self._manifest(self._path + MANIFEST) is None:
                raise
        remove(self._source, self._announcement)

    def _write(self, path: str, manifest: StoredManifest, for_path: str | None = None) -> None:
        body = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
        write_once(
            self._source, path, io.BytesIO(body), len(body), f"{self._parts}.manifest.part", for_path=for_path
        )

    @property
    def _announcement(self) -> str:
        return f"{self._parts}.manifest.json"

    def _manifest(self, path: str) -> StoredManifest | None:
        """Return a manifest if it is there and of this collection."""
        try:
            with closing(SourceFile(self._source, path)) as file:
                found = msgspec.json.decode(file.read_at(0, MANIFEST_BYTES), type=StoredManifest)
        except (NotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return found if found.collection == self._collection else None

    def _is_there(self, manifest: Manifest) -> bool:
        """Say whether the file has the bytes that a manifest tells of."""
        if self._size(self._path) != manifest.size:
            return False
        digest = hashlib.sha256()
        with closing(SourceFile(self._source, self._path)) as file:
            for chunk in file.chunks():
                digest.update(chunk)
        return digest.hexdigest() == manifest.sha256

    def _size(self, path: str) -> int | None:
        try:
            with closing(SourceFile(self._source, path)) as file:
                return file.size or 0
        except NotFoundError:
            return None
        except MomentaryError:
            raise
        except SourceError:
            return 0  # it is there, and is no file
