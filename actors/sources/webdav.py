"""WebDAV: webdav4's file system on httpx, with names as they are, ranges, and redirects to public addresses only.

A path is the root's URL, and below it the names as people read them: `%`, `#` and `?` are letters of a name. What a
listing says is kept only if it lies in the directory that was asked for. Links do not show: they are the server's.
"""

import io
import logging
import posixpath
import socket
from collections.abc import Iterator, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
from fsspec import AbstractFileSystem
from webdav4.client import Client
from webdav4.fsspec import WebdavFileSystem
from webdav4.http import Client as HttpClient
from webdav4.multistatus import MultiStatusResponse, Response

from actors.sources.address import is_public
from actors.sources.errors import ChangedError, MomentaryError, SourceError, reason
from events.sources import WebdavConnection

TIMEOUT_SECONDS = 30
"""For connecting, and for silence."""
CONNECTIONS = 64
"""File systems that are kept open."""
REDIRECTS = 10
MOMENTARY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
LISTING_BYTES = 256 * 1024 * 1024
PIECE_BYTES = 1024 * 1024
PROPERTIES = (
    b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/><getetag/>'
    b"<getlastmodified/><getcontenttype/></prop></propfind>"
)

# httpx tells every URL.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@lru_cache(CONNECTIONS)
def file_system(connection: WebdavConnection) -> AbstractFileSystem:
    """Return the file system of a connection."""
    return Collection(connection, skip_instance_cache=True)


class PublicTransport(httpx.BaseTransport):
    """Connects to one server wherever it is, and to others if their addresses are public."""

    def __init__(self, own: httpx.URL) -> None:
        self._own = _origin(own)
        self._transport = httpx.HTTPTransport(trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; SourceError if it would lead into a network that is not public."""
        if _origin(request.url) == self._own:
            return self._transport.handle_request(request)
        host = request.url.host
        found = socket.getaddrinfo(host, request.url.port or request.url.scheme, type=socket.SOCK_STREAM)
        addresses = [str(address[0]) for *_, address in found]
        if not all(map(is_public, addresses)):
            raise SourceError("The WebDAV server redirects to an address that is not public (allow_private)")
        # The address that was looked at is the one that is connected.
        url = request.url.copy_with(host=addresses[0])
        named = {**request.extensions, "sni_hostname": host}
        return self._transport.handle_request(
            httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=named)
        )

    def close(self) -> None:
        """End all connections."""
        self._transport.close()


class Collection(WebdavFileSystem):  # type: ignore[misc] # webdav4 has no types
    """Files of one WebDAV server, below its root."""

    cachable = False

    def __init__(self, connection: WebdavConnection, **options: Any) -> None:
        try:
            root = httpx.URL(connection.root)
        except httpx.InvalidURL:
            raise SourceError("The root of the WebDAV connection is no URL") from None
        auth = (connection.user, connection.password or "") if connection.user is not None else None
        if auth is None and root.userinfo:
            auth = (root.username, root.password)
        # sent unasked: a server that gives some files to everybody would not ask
        headers = {"Accept-Encoding": "identity"} | (
            {"Authorization": f"Bearer {connection.token}"} if connection.token is not None else {}
        )
        self._written = connection.root.rstrip("/")
        self._root = root.copy_with(userinfo=b"", query=None, fragment=None)
        self._http = HttpClient(
            auth=auth,
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            follow_redirects=True,
            max_redirects=REDIRECTS,
            trust_env=False,
            transport=httpx.HTTPTransport(trust_env=False)
            if connection.allow_private
            else PublicTransport(self._root),
        )
        super().__init__(self._root, client=Client(self._root, http_client=self._http), **options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.rstrip("/")

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return what is known of a file or directory."""
        found = self._propfind(path, depth=0)
        if len(found) != 1:
            raise SourceError(f"{self._below(path)}: the server tells of {len(found)} things")
        return {**_facts(found[0]), "name": path.rstrip("/")}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002 - fsspec's
        """Return what lies in a directory."""
        asked = httpx.URL(self._url(path)).path.rstrip("/")
        infos, itself = [], None
        for response in self._propfind(path, depth=1):
            facts = _facts(response)
            if response.path_norm.rstrip("/") == asked:
                itself = facts
            elif posixpath.dirname(response.path_norm).rstrip("/") == asked:
                infos.append({**facts, "name": f"{path.rstrip('/')}/{posixpath.basename(response.path_norm)}"})
        if itself is not None and itself["type"] != "directory":
            raise NotADirectoryError
        return infos if detail else [info["name"] for info in infos]

    def _open(self, path: str, _mode: str = "rb", **_: Any) -> "WebdavFile":
        return WebdavFile(self, path, self.info(path))

    def get(self, path: str, offset: int) -> httpx.Response:
        """Return the answer of a file's bytes from an offset on, or all of them; its body is not read yet."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._sent(self._http.build_request("GET", self._url(path), headers=headers))
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                response.close()
                raise SourceError(f"{self._below(path)}: the server gives another range than it was asked for")
        else:
            _check(response)
        return response

    def send(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        content: bytes | Iterator[bytes] = b"",
        *,
        accepted: Sequence[int] = (),
    ) -> int:
        """Do something to a file or directory; return the status, which is an error only if it is `accepted`."""
        request = self._http.build_request(method, self._url(path), headers=headers, content=content)
        response = self._sent(request)
        try:
            if response.status_code not in accepted:
                _check(response)
        finally:
            response.close()
        return response.status_code

    def address(self, path: str) -> str:
        """Return the URL of a file."""
        return str(self._url(path))

    def _propfind(self, path: str, depth: int) -> list[Response]:
        headers = {"Depth": str(depth), "Content-Type": "application/xml"}
        request = self._http.build_request("PROPFIND", self._url(path), headers=headers, content=PROPERTIES)
        response = self._sent(request)
        try:
            _check(response)
            if response.status_code != HTTPStatus.MULTI_STATUS:
                raise SourceError(f"{self._below(path)}: the server does not speak WebDAV")
            body = bytearray()
            for piece in response.iter_bytes(PIECE_BYTES):
                body += piece
                if len(body) > LISTING_BYTES:
                    raise SourceError(f"{self._below(path)}: the listing is larger than {LISTING_BYTES} bytes")
        finally:
            response.close()
        try:
            return list(MultiStatusResponse(body.decode()).responses.values())
        except (SyntaxError, UnicodeError, ValueError, AssertionError):  # SyntaxError is XML's
            raise SourceError(f"{self._below(path)}: the server's listing is not WebDAV's") from None

    def _sent(self, request: httpx.Request) -> httpx.Response:
        try:
            response: httpx.Response = self._http.send(request, stream=True)
        except httpx.TooManyRedirects:
            raise SourceError("The WebDAV server redirects in a circle") from None
        except httpx.UnsupportedProtocol:
            raise SourceError("The WebDAV server redirects to what is no URL of http or https") from None
        return response

    def _below(self, path: str) -> str:
        return path.removeprefix(self._written).lstrip("/")

    def _url(self, path: str) -> httpx.URL:
        below = quote("/" + self._below(path), safe="/")
        base = self._root.raw_path.rstrip(b"/")
        return self._root.copy_with(raw_path=base + (b"" if below == "/" else below.encode()) or b"/")


class WebdavFile(io.RawIOBase):
    """A file whose answer is read on as long as reads follow each other, and asked for again elsewhere."""

    def __init__(self, files: Collection, path: str, details: dict[str, Any]) -> None:
        self.details = details
        self._files = files
        self._path = path
        self._position = 0
        self._ranges = True
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._rest = b""
        self._at = 0
        """Where the next byte of the answer stands."""

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say whether reading elsewhere is cheap: the server gives ranges."""
        if self._response is None and self.details.get("size"):
            self._position, position = 1, self._position
            self._ask()
            self._position = position
        return self._ranges

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; nothing is fetched until it is read."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.details["size"] or 0}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return bytes at the position; fewer at the end only."""
        if size < 0:
            size = max(0, (self.details["size"] or 0) - self._position)
        if not size or (self.details["size"] is not None and self._position >= self.details["size"]):
            return b""
        if self._response is None or not self._at <= self._position <= self._at + PIECE_BYTES:
            self._ask()
        try:
            self._skip(self._position - self._at)
            data = self._take(size)
        except httpx.TransportError as error:
            self._let_go()
            name = self._path.rpartition("/")[2]
            raise MomentaryError(f"{name} cannot be read: {reason(error)}") from None
        self._position += len(data)
        return data

    def close(self) -> None:
        """End the answer."""
        self._let_go()
        super().close()

    def _ask(self) -> None:
        self._let_go()
        response = self._files.get(self._path, self._position if self._ranges else 0)
        etag, known = response.headers.get("ETag"), self.details.get("ETag")
        if etag and known and _opaque(etag) != _opaque(known):
            response.close()
            raise ChangedError(f"{self._path.rpartition('/')[2]} was changed while it was read")
        try:
            _check_length(response, self.details.get("size"), self._path.rpartition("/")[2])
        except SourceError:
            response.close()
            raise
        self._response = response
        self._pieces = response.iter_bytes(PIECE_BYTES)
        self._at = self._position if response.status_code == HTTPStatus.PARTIAL_CONTENT else 0
        self._ranges = self._ranges and self._at == self._position

    def _skip(self, count: int) -> None:
        while count > 0 and (data := self._take(min(count, PIECE_BYTES))):
            count -= len(data)

    def _take(self, size: int) -> bytes:
        taken = [self._rest]
        count = len(self._rest)
        while count < size:
            try:
                piece = next(self._pieces, None)
            except httpx.TransportError:
                if not count:
                    raise
                self._let_go()  # what came so far counts
                break
            if piece is None:
                break
            taken.append(piece)
            count += len(piece)
        data = b"".join(taken)
        data, self._rest = data[:size], data[size:]
        self._at += len(data)
        return data

    def _let_go(self) -> None:
        response, self._response, self._rest = self._response, None, b""
        self._pieces = iter(())
        if response is not None:
            response.close()


def _facts(response: Response) -> dict[str, Any]:
    properties = response.properties
    if (properties.content_length or 0) < 0:
        raise SourceError("The WebDAV server tells of a file with less than no bytes")
    return {
        "size": properties.content_length,
        "type": properties.resource_type or "file",
        "ETag": properties.etag,
        "mtime": properties.modified,
        "mimetype": properties.content_type,
    }


def _check(response: httpx.Response) -> None:
    """Raise what a status means."""
    status = response.status_code
    if status < HTTPStatus.BAD_REQUEST:
        return
    response.close()
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise PermissionError
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise FileNotFoundError
    text = f"The WebDAV server answers with status {status}"
    if status in MOMENTARY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        seconds = response.headers.get("Retry-After", "")
        raise MomentaryError(text, float(seconds) if seconds.isdigit() else None)
    raise SourceError(text)


def _check_length(response: httpx.Response, size: int | None, name: str) -> None:
    """Raise SourceError if an answer is not as long as its file, or its end could not be told from a cut."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return  # the length is that of what is sent
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        told = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        told = response.headers.get("Content-Length", "")
    if size is not None and told.isdigit() and int(told) != size:
        raise ChangedError(f"{name} was changed while it was read: it has {told} bytes, and had {size}")
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    if size is None and not chunked and "Content-Length" not in response.headers:
        raise SourceError(
            f"{name}: the server tells neither its length nor where it ends, so that a part could not be told from "
            "the whole"
        )


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
