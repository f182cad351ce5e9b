"""Kinds of connections, and the file systems that they stand for."""

import importlib
from typing import Any

from events.config import Connection

FILE_SYSTEMS: dict[str, str] = {
    "http": "fsspec.implementations.http:HTTPFileSystem",
    "s3": "s3fs:S3FileSystem",
}

TIMEOUT_SECONDS = 30


def file_system(connection: Connection | None) -> Any:
    """Return the file system of a connection, or of plain URLs."""
    kind = connection.kind if connection else "http"
    module, _, name = FILE_SYSTEMS[kind].partition(":")
    cls = getattr(importlib.import_module(module), name)
    return cls(**_arguments(kind, connection))


def full_path(connection: Connection | None, path: str) -> str:
    """Return a file's path as its file system knows it."""
    root = connection.root.rstrip("/") if connection else ""
    return f"{root}/{path.lstrip('/')}" if root else path


def _arguments(kind: str, connection: Connection | None) -> dict[str, Any]:
    # A process has one instance for the same arguments, so only the first batch waits for it to be made.
    arguments: dict[str, Any] = {"use_listings_cache": False}
    if kind == "s3" and connection:
        arguments |= {
            "key": connection.key,
            "secret": connection.secret,
            "anon": connection.key is None,
            "endpoint_url": connection.endpoint,
            "client_kwargs": {"region_name": connection.region or "us-east-1"},
            "config_kwargs": {
                "connect_timeout": TIMEOUT_SECONDS,
                "read_timeout": TIMEOUT_SECONDS,
                # S3-compatible servers answer a range with the checksum of the whole object.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
                "s3": {"addressing_style": "path" if connection.endpoint else "auto"},
            },
        }
    elif kind == "http":
        import aiohttp  # noqa: PLC0415 - as the file systems, only when it is used

        timeout = aiohttp.ClientTimeout(connect=TIMEOUT_SECONDS, sock_read=TIMEOUT_SECONDS)
        arguments["client_kwargs"] = {"timeout": timeout}
    return arguments
