"""Requests to web servers: redirects, credentials, and who may be asked."""

import base64
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from aiohttp.client_exceptions import InvalidURL
from yarl import URL

from actors.sources.address import PrivateAddressError, is_public, public_socket
from actors.sources.errors import MomentaryError, SourceError, reason
from actors.sources.url import SCHEMES, parsed
from events.sources import HttpConnection

CONNECT_SECONDS = 15
SILENCE_SECONDS = 30
"""How long a server may send nothing, before its answer and within it."""
MAX_REDIRECTS = 10
BUFFER_BYTES = 1024 * 1024
REDIRECTS = (301, 302, 303, 307, 308)
MOMENTARY = (408, 425, 429, 500, 502, 503, 504)


class HttpClient:
    """Gets URLs for one connection, within one event loop.

    The connection names its root: that server may be anywhere, and it alone is sent the credentials. All others, to
    which plain URLs and redirects lead, must have public addresses, unless the connection allows all.
    """

    def __init__(self, connection: HttpConnection) -> None:
        root = parsed(connection.root, "The root of the connection") if connection.root else None
        self._home = _origin(root) if root else None
        self._credentials = _credentials(connection)
        self._allow_private = connection.allow_private
        self._at_home = _session(TCPConnector(limit=0))
        self._elsewhere = _session(
            TCPConnector(limit=0)
            if connection.allow_private
            else TCPConnector(limit=0, socket_factory=public_socket)
        )

    async def get(self, url: URL, headers: Mapping[str, str], shown: str) -> ClientResponse:
        """Return the answer to GET, after redirects; who gets it closes it.

        Statuses below 400, 412 and 416 are returned. Others are errors: FileNotFoundError, PermissionError, a
        SourceError, or a MomentaryError, as servers are that do not answer.
        """
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._ask(url, headers, shown)
            if response.status in REDIRECTS:
                location = response.headers.get("Location")
                response.release()
                url = _target(url, location, shown)
                continue
            if response.status < HTTPStatus.BAD_REQUEST or response.status in (412, 416):
                return response
            response.close()
            raise _refusal(response, shown)
        raise SourceError(f"{shown} is redirected more than {MAX_REDIRECTS} times")

    async def close(self) -> None:
        """Close all connections."""
        await self._at_home.close()
        await self._elsewhere.close()

    async def _ask(self, url: URL, headers: Mapping[str, str], shown: str) -> ClientResponse:
        home = _origin(url) == self._home
        session = self._at_home if home else self._elsewhere
        if not home and not self._allow_private and _is_address(url) and not is_public(url.host or ""):
            raise _private(shown)
        try:
            return await session.get(
                url, headers={**(self._credentials if home else {}), **headers}, allow_redirects=False
            )
        except ClientSSLError as error:
            raise SourceError(f"{shown} cannot be read: no safe connection ({type(error).__name__})") from None
        except ClientConnectorError as error:
            if isinstance(error.os_error, PrivateAddressError):
                raise _private(shown) from None
            raise failed(shown, error) from None
        except InvalidURL:
            raise SourceError(f"{shown} leads to something that is not a URL of http or https") from None
        except (ClientError, TimeoutError, OSError, ValueError) as error:
            raise failed(shown, error) from None


def failed(shown: str, error: Exception) -> MomentaryError:
    """Return the error of a request or an answer that broke off."""
    return MomentaryError(f"{shown} cannot be read: {reason(error)}")


def _session(connector: TCPConnector) -> ClientSession:
    return ClientSession(
        connector=connector,
        timeout=ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=BUFFER_BYTES,
        trust_env=False,
    )


def _credentials(connection: HttpConnection) -> dict[str, str]:
    headers = dict(connection.headers)
    root = URL(connection.root)
    user, password = connection.user or root.user, connection.password or root.password
    if user is not None:
        basic = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
        headers["Authorization"] = f"Basic {basic}"
    elif connection.token is not None:
        headers["Authorization"] = f"Bearer {connection.token}"
    return headers


def _origin(url: URL) -> tuple[str, str, int | None]:
    return url.scheme, (url.host or "").lower().rstrip("."), url.port


def _is_address(url: URL) -> bool:
    host = url.host or ""
    return ":" in host or host.replace(".", "").isdigit()


def _target(url: URL, location: str | None, shown: str) -> URL:
    try:
        target = url.join(URL(location or ""))
    except ValueError:
        target = URL()
    if not location or target.scheme not in SCHEMES:
        raise SourceError(f"{shown} is redirected to something that is not a URL of http or https")
    if location.startswith(f"{target.scheme}://"):
        return parsed(location, shown)  # as it was given: it may be signed
    return target.with_user(None).with_fragment(None)


def _private(shown: str) -> SourceError:
    return SourceError(
        f"{shown} leads to a private, loopback or link-local address, where only the root of a connection may lie; "
        "its setting allow_private allows all"
    )


def _refusal(response: ClientResponse, shown: str) -> Exception:
    status = response.status
    if status in (401, 403, 407):
        return PermissionError(shown)
    if status in (404, 410):
        return FileNotFoundError(shown)
    text = f"{shown} cannot be read: the server answers with status {status}"
    return MomentaryError(text, _retry_after(response)) if status in MOMENTARY else SourceError(text)


def _retry_after(response: ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text[:9])
    try:
        wanted, now = (parsedate_to_datetime(one) for one in (text, response.headers.get("Date", "")))
        return max(0.0, (wanted - now).total_seconds())
    except (TypeError, ValueError):
        return None
