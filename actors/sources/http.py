"""Files of web servers, whose index pages are directories."""

import asyncio
import weakref
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import ClientError, ClientResponse
from fsspec.asyn import AsyncFileSystem, sync
from yarl import URL

from actors.sources.errors import SourceError
from actors.sources.http_client import BUFFER_BYTES, HttpClient, failed
from actors.sources.http_file import HEADERS, HttpFile, check_end
from actors.sources.http_version import HttpVersion
from actors.sources.index_page import MAX_PAGE_BYTES, entries
from actors.sources.registry import shown_path
from actors.sources.url import parsed
from events.sources import HttpConnection

CLOSE_SECONDS = 1


def file_system(connection: HttpConnection) -> "HttpFileSystem":
    """Return the file system of a connection; a process keeps some, with their connections to servers."""
    return _file_system(msgspec.json.encode(connection))


@lru_cache(maxsize=64)
def _file_system(settings: bytes) -> "HttpFileSystem":
    return HttpFileSystem(msgspec.json.decode(settings, type=HttpConnection))


class HttpFileSystem(AsyncFileSystem):  # type: ignore[misc] # fsspec has no types
    """Read-only. Paths are URLs, names in listings too: as people read them, with %, ? and # escaped."""

    cachable = False
    """By fsspec, which knows instances by the text of their arguments: that of a connection hides what differs."""
    protocol = ("http", "https")

    def __init__(self, connection: HttpConnection) -> None:
        super().__init__()
        self._connection = connection
        self._client: HttpClient | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return what is known of a URL: an index page is a directory, all else a file."""
        url, shown = self._place(path)
        version, index_page = await self._found(url, shown)
        if index_page:
            return {"name": path.rstrip("/"), "type": "directory", "size": None}
        return version.info(path, shown)

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002 - as in fsspec
        """Return what the index page of a directory leads to: `name`, `type`, and `size`, which is None."""
        folder = path.partition("?")[0].rstrip("/")
        url, shown = self._place(f"{folder}/")
        answer = await (await self._opened()).get(url, HEADERS, shown)
        try:
            page = await _page(answer, shown)
        except (ClientError, TimeoutError, ConnectionError) as error:
            raise failed(shown, error) from None
        finally:
            answer.close()
        if page is None:
            raise NotADirectoryError(shown)
        found = [
            {"name": f"{folder}/{name}", "type": "directory" if directory else "file", "size": None}
            for name, directory in entries(page, answer.url).items()
        ]
        return found if detail else [one["name"] for one in found]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> HttpFile:
        """Return a file of the version that the URL has now; its `details` are as `info` gives them."""
        if mode != "rb":
            raise NotImplementedError
        url, shown = self._place(path)
        version, index_page = sync(self.loop, self._found, url, shown)
        if index_page:
            raise IsADirectoryError(shown)
        client = sync(self.loop, self._opened)
        return HttpFile(client, self.loop, url, version, version.info(path, shown), shown=shown)

    async def _found(self, url: URL, shown: str) -> tuple[HttpVersion, bool]:
        """Return the version of a URL, and whether it is an index page.

        GET for one byte tells more than HEAD: whether ranges are served; and signed URLs are signed for GET.
        """
        client = await self._opened()
        answer = await client.get(url, {**HEADERS, "Range": "bytes=0-0"}, shown)
        try:
            if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                version = HttpVersion.of(answer, shown)
                if version.size == 0:
                    return version, False
                answer.close()
                answer = await client.get(url, HEADERS, shown)
            if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                raise SourceError(f"{shown} cannot be read: the server answers with status {answer.status}")
            version = HttpVersion.of(answer, shown)
            if answer.content_length is not None and answer.content_length <= BUFFER_BYTES:
                await answer.read()  # so that the connection can be used again
        except (ClientError, TimeoutError, ConnectionError) as error:
            raise failed(shown, error) from None
        finally:
            answer.close()
        index_page = version.media_type == "text/html" and answer.url.path.endswith("/")
        if not version.ranges and not index_page:
            check_end(answer, shown)
        return version, index_page

    def _place(self, path: str) -> tuple[URL, str]:
        root = self._connection.root.rstrip("/")
        shown = shown_path(self._connection, path)
        if root and (path == root or path.startswith((f"{root}/", f"{root}?"))):
            shown = shown_path(self._connection, path.removeprefix(root).lstrip("/")) or "/"
            path = path.replace("#", "%23")  # a file's name, and no place within it
        return parsed(path, shown), shown

    async def _opened(self) -> HttpClient:
        if self._client is None:
            self._client = HttpClient(self._connection)
            weakref.finalize(self, _close, self.loop, self._client)
        return self._client


async def _page(answer: ClientResponse, shown: str) -> str | None:
    """Return the text of a page, None if it is no page."""
    if answer.status != HTTPStatus.OK or answer.content_type != "text/html":
        return None
    check_end(answer, shown)
    page = bytearray()
    async for piece in answer.content.iter_any():
        page += piece
        if len(page) > MAX_PAGE_BYTES:
            raise SourceError(f"{shown} has an index page of more than {MAX_PAGE_BYTES} bytes")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise SourceError(f"{shown} has an index page that is sent compressed, though it was asked for without")
    return page.decode(errors="replace")


def _close(loop: asyncio.AbstractEventLoop, client: HttpClient) -> None:
    if not loop.is_running():
        return
    closing = asyncio.run_coroutine_threadsafe(client.close(), loop)
    if asyncio._get_running_loop() is not loop:  # noqa: SLF001 - the other one raises without a loop
        with suppress(TimeoutError):
            closing.result(CLOSE_SECONDS)
