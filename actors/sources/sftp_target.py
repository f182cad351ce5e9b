"""Writes files over SFTP: beside their place, and renamed when they are whole."""

import asyncio
from contextlib import suppress
from typing import BinaryIO

import asyncssh
from fsspec.asyn import sync
from sshfs.utils import wrap_exceptions

from actors.sources.errors import SourceError
from actors.sources.sftp import PIECES_IN_FLIGHT, SILENCE_SECONDS, SftpFileSystem, file_system
from events.sources import SftpConnection

PIECE_BYTES = 1024 * 1024
SAFE_BYTES = 32 * 1024
"""What every server takes in one request."""


def store(connection: SftpConnection, path: str, part: str, file: BinaryIO, size: int) -> None:
    """Write a file; one that is there already is a FileExistsError."""
    files = file_system(connection)
    sync(files.loop, _store, files, connection.root, path, part, file, size)


def remove(connection: SftpConnection, path: str) -> None:
    """Remove a file."""
    files = file_system(connection)
    sync(files.loop, _remove, files, path)


@wrap_exceptions  # type: ignore[untyped-decorator] # sshfs has no types
async def _store(  # noqa: PLR0917 - fsspec's `sync` passes them on by place
    files: SftpFileSystem, root: str, path: str, part: str, file: BinaryIO, size: int
) -> None:
    async with files.channel() as channel:
        if await _is_there(channel, path):
            raise FileExistsError
        await _make_folders(channel, root, path.rpartition("/")[0])
        try:
            await _write(channel, part, file, size)
            await _rename(channel, part, path)
        except BaseException:
            with suppress(OSError, asyncssh.Error):
                async with asyncio.timeout(1):  # not waited for where the connection is gone
                    await channel.remove(part)
            raise


@wrap_exceptions  # type: ignore[untyped-decorator] # sshfs has no types
async def _remove(files: SftpFileSystem, path: str) -> None:
    async with files.channel() as channel, asyncio.timeout(SILENCE_SECONDS):
        with suppress(asyncssh.SFTPNoSuchFile):
            await channel.remove(path)


async def _write(channel: asyncssh.SFTPClient, part: str, file: BinaryIO, size: int) -> None:
    # Servers other than OpenSSH may carry out requests at the same time, and some cannot write out of order.
    ordered = not channel.limits.max_packet_len
    at_once = {"block_size": SAFE_BYTES, "max_requests": 1} if ordered else {"max_requests": PIECES_IN_FLIGHT}
    file.seek(0)
    async with asyncio.timeout(SILENCE_SECONDS):
        opened = await channel.open(part, "wb", **at_once)
    try:
        while piece := file.read(PIECE_BYTES):
            async with asyncio.timeout(SILENCE_SECONDS):
                await opened.write(piece)
        async with asyncio.timeout(SILENCE_SECONDS):
            with suppress(asyncssh.SFTPOpUnsupported):
                await opened.fsync()
    except asyncssh.SFTPFailure as error:
        raise _failure(error) from None
    finally:
        with suppress(OSError, asyncssh.Error):
            async with asyncio.timeout(SILENCE_SECONDS):
                await opened.close()
    async with asyncio.timeout(SILENCE_SECONDS):
        written = (await channel.stat(part)).size
    if written not in (None, size):
        raise SourceError(f"The SFTP server has kept {written} of {size} bytes")


async def _rename(channel: asyncssh.SFTPClient, part: str, path: str) -> None:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            await channel.rename(part, path)
    except asyncssh.SFTPFailure as error:
        # The protocol has no code for it.
        if await _is_there(channel, path):
            raise FileExistsError from None
        raise _failure(error) from None


async def _make_folders(channel: asyncssh.SFTPClient, root: str, folder: str) -> None:
    """Make the directories that are missing below the root; PermissionError if a link leads out of it."""
    missing: list[str] = []
    while folder.rstrip("/") not in ("", root.rstrip("/")) and not await _is_there(channel, folder):
        missing.append(folder)
        folder = folder.rpartition("/")[0]
    async with asyncio.timeout(SILENCE_SECONDS):
        if root:
            real_root = str(await channel.realpath(root)).rstrip("/")
            real = str(await channel.realpath(folder or "."))
            if not f"{real}/".startswith(f"{real_root}/"):
                raise SourceError("The path leads out of the root of its connection")
        for one in reversed(missing):
            with suppress(asyncssh.SFTPFailure):  # another one may have made it
                await channel.mkdir(one)


async def _is_there(channel: asyncssh.SFTPClient, path: str) -> bool:
    """Say whether something has this name: also a link that leads nowhere."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            await channel.lstat(path)
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return False
    return True


def _failure(error: asyncssh.SFTPFailure) -> OSError:
    """Return an error for one that says nothing: most often the disk is full."""
    del error
    return OSError("The SFTP server gives no reason: it may have no room")
