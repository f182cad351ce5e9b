"""SFTP over SSH: sshfs with checked host keys, time-outs, and a connection that is made again when it is lost.

Entries of a listing are not resolved: a symbolic link has the type `link` and `islink`. `info` follows links, and
`realpath` gives the path that a link leads to, so that who walks a folder can see whether it leaves the root.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import asyncssh
from fsspec.asyn import sync_wrapper
from fsspec.spec import AbstractBufferedFile
from sshfs import SSHFileSystem
from sshfs.utils import wrap_exceptions

from actors.sources.errors import ChangedError, SourceError
from events.sources import SftpConnection

CONNECT_SECONDS = 20.0
SILENCE_SECONDS = 30.0
PIECE_BYTES = 64 * 1024
"""What sshd gives for one request, unless it says that it gives more."""
PIECES_IN_FLIGHT = 64
HOST_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "rsa-sha2-512", "rsa-sha2-256")
CONNECTIONS = 64
"""File systems that are kept open."""
ENTRIES = 1_000_000
"""Of one directory: a bound on a listing that does not end."""

# It tells users and addresses of every connection.
logging.getLogger("asyncssh").setLevel(logging.WARNING)


@lru_cache(CONNECTIONS)
def file_system(connection: SftpConnection) -> "SftpFileSystem":
    """Return the file system of a connection; it connects when it is first used."""
    return SftpFileSystem(connection, skip_instance_cache=True)


class Session:
    """One connection to the server, made when it is needed and made again when it was lost.

    It stands where sshfs has its pool of channels: SFTP takes many requests at once over one channel.
    """

    def __init__(self, connection: SftpConnection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()
        self._ssh: asyncssh.SSHClientConnection | None = None
        self._channel: asyncssh.SFTPClient | None = None

    @asynccontextmanager
    async def get(self) -> AsyncIterator[asyncssh.SFTPClient]:
        """Give the channel; what befalls it is raised as an OSError or SourceError without secrets."""
        channel = await self._connected()
        try:
            yield channel
        except asyncssh.SFTPPermissionDenied:
            raise PermissionError from None
        except (TimeoutError, asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.Error) as error:
            if isinstance(error, asyncssh.SFTPError) and not _is_lost(error):
                raise
            await self._drop(channel)
            if isinstance(error, TimeoutError):
                raise
            raise ConnectionError("The SFTP connection was lost") from None

    async def close(self) -> None:
        """End the connection."""
        if self._ssh is not None:
            self._ssh.abort()

    async def _connected(self) -> asyncssh.SFTPClient:
        async with self._lock:
            if self._ssh is not None and self._ssh.is_closed():
                self._ssh = self._channel = None
            if self._channel is None:
                try:
                    async with asyncio.timeout(2 * CONNECT_SECONDS):
                        self._ssh = await asyncssh.connect(**await asyncio.to_thread(_arguments, self._connection))
                        self._channel = await self._ssh.start_sftp_client(path_errors="surrogateescape")
                except (OSError, asyncssh.Error) as error:
                    raise _refusal(self._connection, error) from None
            return self._channel

    async def _drop(self, channel: asyncssh.SFTPClient) -> None:
        async with self._lock:
            if channel is self._channel and self._ssh is not None:
                self._ssh.abort()
                self._ssh = self._channel = None


class SftpFileSystem(SSHFileSystem):  # type: ignore[misc] # sshfs has no types
    """Files of one SFTP server."""

    protocol = "sftp"
    cachable = False

    def __init__(self, connection: SftpConnection, **options: Any) -> None:
        self._connection = connection
        super().__init__(connection.host, **options)

    def connect(self, *_: Any, **__: Any) -> tuple[None, Session]:
        """Give sshfs the session in place of its pool, without connecting."""
        return None, Session(self._connection)

    def channel(self) -> AbstractAsyncContextManager[asyncssh.SFTPClient]:
        """Give the channel to enter; errors are as of `Session.get`."""
        pool: Session = self._pool
        return pool.get()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        # Paths only, never URLs: `#` and `?` are letters of a name.
        return path.rstrip("/") or path[:1]

    def _decode_attributes(self, attributes: Any) -> dict[str, Any]:
        info: dict[str, Any] = super()._decode_attributes(attributes)
        info["islink"] = info["type"] == "link"
        info["ETag"] = _version(attributes)
        return info

    @wrap_exceptions  # type: ignore[untyped-decorator] # sshfs has no types
    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        async with self._pool.get() as channel, asyncio.timeout(SILENCE_SECONDS):
            attributes = await channel.stat(path)
        return {**self._decode_attributes(attributes), "name": path}

    @wrap_exceptions  # type: ignore[untyped-decorator] # sshfs has no types
    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002 - fsspec's
        folder = path.rstrip("/")
        found: list[dict[str, Any]] = []
        async with self._pool.get() as channel:
            entries = channel.scandir(path or ".")
            while (entry := await asyncio.wait_for(anext(entries, None), SILENCE_SECONDS)) is not None:
                if len(found) > ENTRIES:
                    raise SourceError(f"{path} has more than {ENTRIES} entries")
                if entry.filename not in (".", ".."):
                    name = f"{folder}/{entry.filename}" if path else str(entry.filename)
                    found.append({**self._decode_attributes(entry.attrs), "name": name})
        return found if detail else [info["name"] for info in found]

    @wrap_exceptions  # type: ignore[untyped-decorator] # sshfs has no types
    async def _realpath(self, path: str) -> str:
        async with self._pool.get() as channel, asyncio.timeout(SILENCE_SECONDS):
            return str(await channel.realpath(path or "."))

    realpath = sync_wrapper(_realpath)

    @wrap_exceptions  # type: ignore[untyped-decorator] # sshfs has no types
    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, version: str | None = None, **_: Any
    ) -> bytes:
        """Return bytes of a file; SourceError if its version is another one than `version`."""
        async with self._pool.get() as channel:
            async with asyncio.timeout(SILENCE_SECONDS):
                file = await channel.open(
                    path, "rb", block_size=_piece_bytes(channel), max_requests=PIECES_IN_FLIGHT
                )
            try:
                attributes = await asyncio.wait_for(file.stat(), SILENCE_SECONDS)
                if version is not None and _version(attributes) != version:
                    raise ChangedError(f"{path} was changed while it was read")
                begin = start or 0
                stop = min(attributes.size if end is None else end, attributes.size)
                return await _read(file, begin, stop - begin) if stop > begin else b""
            finally:
                # Not waited for where the connection is gone.
                await asyncio.wait({asyncio.ensure_future(_closed(file))}, timeout=1)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> "SftpFile":
        return SftpFile(self, path, mode, block_size or "default", **options)


class SftpFile(AbstractBufferedFile):  # type: ignore[misc] # fsspec has no types
    """A file that is read by ranges, each with a session that is there by then."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.cat_file(self.path, start=start, end=end, version=self.details["ETag"])  # type: ignore[no-any-return]


async def _read(file: "asyncssh.SFTPClientFile", offset: int, size: int) -> bytes:
    """Return exactly these bytes: many requests are on their way at once, and answers come in any order."""
    result = bytearray(size)
    count = 0
    pieces = aiter(await file.read_parallel(size, offset))
    while (piece := await asyncio.wait_for(anext(pieces, None), SILENCE_SECONDS)) is not None:
        at, data = piece
        result[at - offset : at - offset + len(data)] = data
        count += len(data)
    if count != size:
        raise ChangedError(f"The file ended at byte {offset + count}; it should have {offset + size}")
    return bytes(result)


async def _closed(file: "asyncssh.SFTPClientFile") -> None:
    try:
        await file.close()
    except (OSError, asyncssh.Error):
        logging.getLogger("rota.source").debug("A file could not be closed")


def _piece_bytes(channel: asyncssh.SFTPClient) -> int:
    return max(channel.limits.max_read_len, PIECE_BYTES) if channel.limits.max_packet_len else PIECE_BYTES


def _version(attributes: asyncssh.SFTPAttrs) -> str:
    """Return what changes with the content: most servers tell the time of change in seconds only."""
    return f"{attributes.size}-{attributes.mtime}"


def _is_lost(error: asyncssh.SFTPError) -> bool:
    return isinstance(error, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection)


def _arguments(connection: SftpConnection) -> dict[str, Any]:
    """Return how to connect: with what the connection says, and nothing of the user that runs Rota."""
    if connection.password is None and connection.private_key is None:
        raise SourceError("The SFTP connection has neither password nor private_key")
    return {
        "host": connection.host,
        "port": connection.port,
        "username": connection.user,
        "password": connection.password,
        "client_keys": [_private_key(connection)] if connection.private_key else None,
        **_known_hosts(connection),
        "agent_path": None,
        "config": None,
        "gss_host": None,
        "connect_timeout": CONNECT_SECONDS,
        "login_timeout": CONNECT_SECONDS,
        "keepalive_interval": SILENCE_SECONDS / 3,
    }


def _private_key(connection: SftpConnection) -> asyncssh.SSHKey:
    text = connection.private_key or ""
    try:
        if "-----BEGIN" not in text:
            return asyncssh.read_private_key(Path(text).expanduser(), connection.passphrase)
        return asyncssh.import_private_key(text, connection.passphrase)
    except asyncssh.KeyEncryptionError:
        raise SourceError("The passphrase of the SFTP connection does not open its private_key") from None
    except asyncssh.KeyImportError:
        what = "needs a passphrase, or is no private key" if connection.passphrase is None else "is no private key"
        raise SourceError(f"The private_key of the SFTP connection {what}") from None
    except OSError as error:
        raise SourceError(f"The private_key of the SFTP connection cannot be read: {error.strerror}") from None


def _known_hosts(connection: SftpConnection) -> dict[str, Any]:
    if connection.host_key is not None:
        try:
            key = asyncssh.import_public_key(connection.host_key)
        except asyncssh.KeyImportError:
            raise SourceError("The host_key of the SFTP connection is no public key") from None
        # Other kinds after those of this key: a server that has only others is told from one that is down.
        kinds = [kind.decode() for kind in key.sig_algorithms]
        kinds += [kind for kind in HOST_KEYS if kind not in kinds]
        return {"known_hosts": ([key], [], []), "server_host_key_algs": kinds}
    if connection.known_hosts is None:
        raise SourceError("The SFTP connection needs host_key or known_hosts, to know the server by")
    path = Path(connection.known_hosts).expanduser()
    try:
        return {"known_hosts": path.read_bytes()}
    except OSError as error:
        raise SourceError(f"The known_hosts of the SFTP connection cannot be read: {error.strerror}") from None


def _refusal(connection: SftpConnection, error: Exception) -> Exception:
    """Return why no connection came about, as an OSError or a SourceError without secrets."""
    server = f"{connection.host}:{connection.port}"
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return SourceError(f"The SFTP server {server} has not the host key that the connection knows")
        case asyncssh.KeyExchangeFailed():
            return SourceError(f"The SFTP server {server} has no host key or cipher that the connection allows")
        case asyncssh.PermissionDenied():
            return PermissionError(f"The SFTP server {server} refused the user")
        case TimeoutError():
            return TimeoutError(f"The SFTP server {server} did not answer in time")
        case OSError():
            return ConnectionError(f"The SFTP server {server} cannot be reached: {error.strerror or ''}")
        case _:
            return ConnectionError(f"The SFTP server {server} ended the connection")
