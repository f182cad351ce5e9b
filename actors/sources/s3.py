"""S3, and servers that speak it: s3fs, whose reads go on with the version that was opened, or not at all."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import closing
from functools import lru_cache
from typing import Any

from botocore.exceptions import ParamValidationError
from fsspec import AbstractFileSystem
from fsspec.asyn import sync
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
        # Not all servers heed If-Match.
        local_expiry_check=True,
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

    def beginning(self, path: str, size: int) -> tuple[dict[str, Any], bytes]:
        """Return what `info` says of an object, and its first bytes; none if they do not come with that."""
        found: tuple[dict[str, Any], bytes] = sync(self.loop, self._beginning, path, size)
        return found

    async def _beginning(self, path: str, size: int) -> tuple[dict[str, Any], bytes]:
        bucket, key, _ = self.split_path(self._strip_protocol(path))
        try:
            answer = await self._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes=0-{size - 1}")
        except (OSError, ParamValidationError):
            # It is a folder, an empty object, or not to be had: these are told apart there.
            return await self._info(path), b""
        with closing(answer["Body"]) as body:
            range_ = re.fullmatch(r"bytes 0-\d+/(\d+)", answer.get("ContentRange", ""))
            if not range_ or answer["ContentLength"] > size:
                return await self._info(path), b""
            beginning = await body.read()
        names = ("ETag", "LastModified", "ContentType", "VersionId")
        said = {name: answer.get(name) for name in names}
        return {"name": f"{bucket}/{key}", "type": "file", "size": int(range_[1]), **said}, beginning

    async def _iterdir(self, bucket: str, **options: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield what is in a folder; TooLargeError as soon as that is too much."""
        count = 0
        async for info in super()._iterdir(bucket, **options):
            count += 1
            if count > MAX_ENTRIES:
                folder = f"{bucket}/{options.get('prefix', '')}"
                raise TooLargeError(f"{folder} has more than {MAX_ENTRIES} entries: select folders with fewer")
            yield info

    def _open(
        self, path: str, mode: str = "rb", details: dict[str, Any] | None = None, **options: Any
    ) -> "S3Object":
        return S3Object(self, path, mode, details=details, fill_cache=False, **options)


class S3Object(S3File):  # type: ignore[misc] # s3fs has no types
    """An object that is read by ranges of the version that `details` say, or of the one that is there by now."""

    def __init__(
        self, bucket: Bucket, path: str, mode: str, *, details: dict[str, Any] | None, **options: Any
    ) -> None:
        details = details or bucket.info(path)
        # Some servers give none; with an empty one nothing would be read.
        self._details = {name: value for name, value in details.items() if name != "ETag" or value}
        super().__init__(bucket, path, mode, **options)
        if etag := details.get("ETag"):
            self.read_kw: dict[str, Any] = {"IfMatch": etag}

    def _fetch_range(self, start: int, end: int) -> bytes:
        try:
            return super()._fetch_range(start, end)  # type: ignore[no-any-return]
        except FileExpired:
            raise ChangedError(f"{self.path} was changed while it was read") from None
