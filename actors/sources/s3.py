"""S3, and servers that speak it: s3fs, whose reads go on with the version that was opened, or not at all."""

import logging
import re
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any

from fsspec import AbstractFileSystem
from s3fs import S3FileSystem
from s3fs.core import S3File
from s3fs.utils import FileExpired

from actors.sources.errors import ChangedError, SourceError
from events.sources import S3Connection
from rota.errors import TooLargeError

TIMEOUT_SECONDS = 30
"""For connecting, and for silence."""
CONNECTIONS = 64
"""File systems that are kept open."""
MAX_ENTRIES = 200_000
"""Objects and folders of one folder; what is known of all of them is in memory."""
RETRIES = 2
"""Of one request; who reads a file tries again by itself."""

# At DEBUG they show headers, with session tokens among them.
for _name in ("aiobotocore", "botocore", "s3fs"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@lru_cache(CONNECTIONS)
def file_system(connection: S3Connection) -> AbstractFileSystem:
    """Return the file system of a connection; a process has one for the same settings."""
    if (connection.key is None) != (connection.secret is None):
        raise SourceError("The S3 connection needs both key and secret, or neither for public files")
    return Bucket(
        skip_instance_cache=True,
        use_listings_cache=False,
        key=connection.key,
        secret=connection.secret,
        token=connection.session_token,
        anon=connection.key is None,
        endpoint_url=connection.endpoint,
        client_kwargs={"region_name": connection.region or "us-east-1"},
        config_kwargs={
            "connect_timeout": TIMEOUT_SECONDS,
            "read_timeout": TIMEOUT_SECONDS,
            "retries": {"max_attempts": RETRIES},
            # S3-compatible servers answer a range with the checksum of the whole object.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": {"addressing_style": "path" if connection.endpoint else "auto"},
        },
    )


class Bucket(S3FileSystem):  # type: ignore[misc] # s3fs has no types
    """Objects of one server: what a key says is no option, and a folder has in it what its name begins."""

    cachable = False
    retries = RETRIES

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        # Keys may begin with any letters; a root may be written as a URL.
        return re.sub(r"^s3a?://", "", path).rstrip("/")

    def split_path(self, path: str) -> tuple[str, str, None]:
        """Return bucket and key; `?` is a letter of a key."""
        bucket, _, key = re.sub(r"^s3a?://", "", path).lstrip("/").partition("/")
        return bucket, key, None

    async def _iterdir(self, bucket: str, **options: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield what is in a folder; TooLargeError as soon as that is too much."""
        count = 0
        async for info in super()._iterdir(bucket, **options):
            count += 1
            if count > MAX_ENTRIES:
                folder = f"{bucket}/{options.get('prefix', '')}"
                raise TooLargeError(f"{folder} has more than {MAX_ENTRIES} entries: select folders with fewer")
            yield info

    def _open(self, path: str, mode: str = "rb", **options: Any) -> "S3Object":
        return S3Object(self, path, mode, fill_cache=False, **options)


class S3Object(S3File):  # type: ignore[misc] # s3fs has no types
    """An object that is read by ranges of the version that was opened."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        try:
            return super()._fetch_range(start, end)  # type: ignore[no-any-return]
        except FileExpired:
            raise ChangedError(f"{self.path} was changed while it was read") from None
