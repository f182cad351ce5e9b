"""Writes objects into S3: what is put shows as a whole, and a server that can is told to replace nothing."""

import errno
import logging
from contextlib import suppress
from typing import Any, BinaryIO

from botocore.exceptions import ClientError

from actors.sources.s3 import file_system
from events.sources import S3Connection

PART_BYTES = 16 * 1024 * 1024
"""An object up to this size is put at once, a larger one in parts."""
MAX_PARTS = 10_000
TAKEN = "PreconditionFailed"
WITHOUT_CONDITIONS = frozenset({"InvalidArgument", "MethodNotAllowed", "NotImplemented"})
"""How servers answer that do not know conditional writes."""

log = logging.getLogger("rota.source")


def store(connection: S3Connection, path: str, _part: str, file: BinaryIO, size: int) -> None:
    """Put an object; one that is there already is a FileExistsError. Nothing of it shows before it is whole."""
    place = _place(connection, path)
    # Not all servers know the condition; between this look and the end another one may put the same key there.
    if _is_there(connection, place):
        raise FileExistsError
    file.seek(0)
    if size <= PART_BYTES:
        _create(connection, "put_object", Body=_read(file, size), **place)
    else:
        _put_in_parts(connection, place, file, size)


def remove(connection: S3Connection, path: str) -> None:
    """Remove an object."""
    file_system(connection).call_s3("delete_object", **_place(connection, path))


def _put_in_parts(connection: S3Connection, place: dict[str, str], file: BinaryIO, size: int) -> None:
    bucket = file_system(connection)
    part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))
    upload = place | {"UploadId": bucket.call_s3("create_multipart_upload", **place)["UploadId"]}
    try:
        parts: list[dict[str, Any]] = []
        for start in range(0, size, part_bytes):
            number = len(parts) + 1
            body = _read(file, min(part_bytes, size - start))
            answer = bucket.call_s3("upload_part", Body=body, PartNumber=number, **upload)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        _create(connection, "complete_multipart_upload", MultipartUpload={"Parts": parts}, **upload)
    except BaseException:
        with suppress(Exception):
            bucket.call_s3("abort_multipart_upload", **upload)
        raise


def _read(file: BinaryIO, size: int) -> bytes:
    body = file.read(size)
    if len(body) != size:
        raise OSError(errno.EIO, "the file on disk is shorter")
    return body


def _create(connection: S3Connection, method: str, **arguments: Any) -> None:
    """Let an object appear if there is none."""
    bucket = file_system(connection)
    try:
        bucket.call_s3(method, IfNoneMatch="*", **arguments)
    except OSError as error:
        code = _code(error)
        if code == TAKEN:
            raise FileExistsError from None
        if code not in WITHOUT_CONDITIONS:
            raise
        log.info("the server knows no conditional writes (%s)", code)
        bucket.call_s3(method, **arguments)


def _is_there(connection: S3Connection, place: dict[str, str]) -> bool:
    try:
        file_system(connection).call_s3("head_object", **place)
    except FileNotFoundError:
        return False
    except PermissionError:
        return False  # who may only write is not told
    return True


def _place(connection: S3Connection, path: str) -> dict[str, str]:
    bucket, key, _ = file_system(connection).split_path(path)
    return {"Bucket": bucket, "Key": key}


def _code(error: OSError) -> str:
    cause = error.__cause__
    return str(cause.response.get("Error", {}).get("Code")) if isinstance(cause, ClientError) else ""
