"""The table of kinds of connections: the settings of each, and which module of the actors opens it."""

import re
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from rota.errors import InvalidRequestError

ENTRY_POINTS = "rota.sources"
"""The group under which an installed package adds a `Source` of its own."""


class Connection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place where files lie, with what is needed to read them; requests know only its name."""

    kind: ClassVar[str]
    root: str = ""
    """Prefix of all paths: a folder, a bucket, or a URL."""

    def __repr__(self) -> str:
        # The other fields may be secrets.
        return f"{type(self).__name__}({self.root!r})"


class HttpConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A web server. Without a root: plain URLs, which need no secret."""

    kind = "http"
    user: str | None = None
    password: str | None = None
    token: str | None = None
    """A bearer token."""
    headers: dict[str, str] = {}
    allow_private: bool = False
    """Whether redirects may lead into private, loopback or link-local addresses."""

    def __post_init__(self) -> None:
        """Raise ValueError if the root is no URL."""
        if self.root:
            _check_url(self.root)


class S3Connection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """S3, or a server that speaks it; the root is a bucket, or a bucket and a folder."""

    kind = "s3"
    endpoint: str | None = None
    """Address of an S3-compatible server; AWS if it is left out."""
    key: str | None = None
    secret: str | None = None
    session_token: str | None = None
    region: str | None = None


class SftpConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server that speaks SFTP over SSH."""

    kind = "sftp"
    host: str
    port: int = 22
    user: str
    password: str | None = None
    private_key: str | None = None
    """The private key itself (PEM or OpenSSH), or the path of its file."""
    passphrase: str | None = None
    host_key: str | None = None
    """The server's public key as in known_hosts, without the host: `ssh-ed25519 AAAA...`."""
    known_hosts: str | None = None
    """Path of a known_hosts file; needed if `host_key` is left out."""


class WebdavConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server that speaks WebDAV; the root is its URL."""

    kind = "webdav"
    user: str | None = None
    password: str | None = None
    token: str | None = None
    allow_private: bool = False
    """Whether redirects may lead into private, loopback or link-local addresses."""

    def __post_init__(self) -> None:
        """Raise ValueError if the root is no URL."""
        _check_url(self.root)


class Source(Struct, frozen=True):
    """A kind of connection: the dotted name of the module that opens it, and its settings."""

    module: str
    settings: type[Connection]


SOURCES: dict[str, Source] = {
    "http": Source("actors.sources.http", HttpConnection),
    "s3": Source("actors.sources.s3", S3Connection),
    "sftp": Source("actors.sources.sftp", SftpConnection),
    "webdav": Source("actors.sources.webdav", WebdavConnection),
}


_STEP = re.compile(r"[/\\]|%2f|%5c", re.IGNORECASE)
_DOTS = re.compile(r"(\.|%2e){1,2}((;|%3b|%00|\0).*)?", re.IGNORECASE | re.DOTALL)
"""What a server may take for the directory above: some leave out what follows a semicolon, or NUL."""


def steps_up(path: str) -> bool:
    """Say whether a path has `.` or `..` in it, however it is written: it could lead out of its root."""
    return any(_DOTS.fullmatch(part) for part in _STEP.split(path))


def _check_url(root: str) -> None:
    if not re.match(r"https?://[^/]", root, re.IGNORECASE):
        raise ValueError("root is no URL of http or https")


@cache
def sources() -> dict[str, Source]:
    """Return all kinds of connections: Rota's own, and those that installed packages add."""
    return {**{point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}, **SOURCES}


def connection(settings: dict[str, Any]) -> Connection:
    """Return a connection of its settings; InvalidRequestError says what is wrong, without their values."""
    kind = settings.get("kind")
    source = sources().get(kind) if isinstance(kind, str) else None
    if source is None:
        raise InvalidRequestError(f"kind is {kind!r}, not one of {', '.join(sorted(sources()))}")
    rest = {name: value for name, value in settings.items() if name != "kind"}
    try:
        return msgspec.convert(rest, source.settings)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(str(error)) from None
