"""Why a file cannot be read; no text has secrets.

SourceError          the file cannot be read; trying again would not help
├── ChangedError     the file is another one by now
└── MomentaryError   it may go better in a moment: a server that is busy, a connection that broke
"""

from rota.errors import NotFoundError, RotaError


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
    # Every file system has its own tree of errors, and the texts of some have URLs with secrets.
    return MomentaryError(f"{path} cannot be read: {type(error).__name__}")
