"""Why a file cannot be read; no text has secrets.

SourceError          the file cannot be read; trying again would not help
├── ChangedError     the file is another one by now
└── MomentaryError   it may go better in a moment: a server that is busy, a connection that broke
"""

import os
import socket

from rota.errors import NotFoundError, RotaError

UNREACHABLE, BROKEN, SILENT = "the server cannot be reached", "the connection broke off", "the server is silent"
REASONS = {
    "ClientConnectorError": UNREACHABLE,
    "ClientPayloadError": "the connection broke off before all bytes had come",
    "ConnectError": UNREACHABLE,
    "ConnectTimeout": SILENT,
    "ConnectTimeoutError": SILENT,
    "ConnectionLost": BROKEN,
    "EndpointConnectionError": UNREACHABLE,
    "IncompleteReadError": BROKEN,
    "ReadError": BROKEN,
    "ReadTimeout": SILENT,
    "ReadTimeoutError": SILENT,
    "RemoteProtocolError": BROKEN,
    "ResponseStreamingError": BROKEN,
    "ServerDisconnectedError": BROKEN,
}
"""What the errors of aiohttp, asyncssh, botocore and httpx mean, by their names; their texts may have secrets."""


class SourceError(RotaError):
    """A file cannot be read; the text says why, without secrets."""


class ChangedError(SourceError):
    """A file was changed while it was read; read it from its start."""


class MomentaryError(SourceError):
    """A file cannot be read at the moment; try again after a while, `retry_after_seconds` if that is given."""

    def __init__(self, detail: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


def not_there(path: str) -> NotFoundError:
    """Return the error of a file that does not exist."""
    return NotFoundError(f"{path} is not there")


def not_allowed(path: str) -> NotFoundError:
    """Return the error of a file that the server does not give out."""
    return NotFoundError(f"{path} may not be read with this connection")


def reason(error: Exception) -> str:
    """Say why a request failed, in words of Rota's own."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, TimeoutError):
        return SILENT
    if isinstance(cause, socket.gaierror):
        return "the name of its server is not known"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno).lower()
    name = type(error).__name__
    return REASONS.get(name, name)


def translated(path: str, error: Exception) -> RotaError:
    """Turn what a file system raises into an error of Rota's own."""
    if isinstance(error, RotaError):
        return error
    if isinstance(error, PermissionError):
        return not_allowed(path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return not_there(path)
    if isinstance(error, IsADirectoryError):
        return SourceError(f"{path} is a directory")
    return MomentaryError(f"{path} cannot be read: {reason(error)}")
