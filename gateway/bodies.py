"""Requests read into typed values: bodies and query parameters."""

import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import orjson
from aiohttp import web
from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.structs import fields

from gateway.advice import explained
from gateway.encodings import JSON, MSGPACK, Encoding
from gateway.pointers import pointer
from gateway.problems import Faults
from rota.errors import InvalidRequestError, Problem, TooLargeError
from rota.protocol import JobRequest, ScheduleRequest

T = TypeVar("T")
Query = TypeVar("Query", bound=Struct)

UNREADABLE = (DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises; a ValidationError is a DecodeError."""


class _Shape(Struct):
    """What tells a list of jobs from one job."""

    jobs: Raw = Raw()


class _Jobs(Struct):
    jobs: list[Raw]


async def read_body(request: web.Request) -> bytes:
    """Return the body; TooLargeError if it is over the limit."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(request.client_max_size) from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise InvalidRequestError("The body did not arrive whole") from error


async def read_optional(request: web.Request, type_: type[T]) -> T:
    """Return the body as a request of a type, all of whose fields may be left out, and so may the body."""
    body = await read_body(request)
    return decode(body, type_) if body else type_()


def check_size(body: bytes, limit: int) -> None:
    """Raise TooLargeError if a body is over the limit."""
    if len(body) > limit:
        raise _too_large(limit)


def decode(body: bytes, type_: type[T], encoding: Encoding = JSON) -> T:
    """Decode a body; InvalidRequestError says where it is not in its encoding, or not what is asked for."""
    try:
        return encoding.decode(body, type_)
    except ValidationError as error:
        detail, place = explained(str(error), type_)
        raise InvalidRequestError(
            "The body is not as it should be", problems=[Problem(detail, f"#{place}")]
        ) from error
    except UNREADABLE as error:
        raise InvalidRequestError(f"The body is no {encoding.name}: {_where(error, body, encoding)}") from error


def decode_jobs(body: bytes, encoding: Encoding = JSON) -> tuple[list[JobRequest], bool]:
    """Decode one job or a list of jobs; also return whether it was a list.

    If jobs of a list are not as they should be, the first fault of each is told.
    """
    if not decode(body, _Shape, encoding).jobs:
        return [decode(body, JobRequest, encoding)], False
    return decode_list(body, ScheduleRequest, JobRequest, encoding).jobs, True


def decode_list(body: bytes, type_: type[T], one: Any, encoding: Encoding = JSON) -> T:
    """Decode a body that has a list of `jobs`, each of the type `one`.

    If jobs of it are not as they should be, the first fault of each is told.
    """
    try:
        return decode(body, type_, encoding)
    except InvalidRequestError as error:
        faults = Faults()
        for index, job in enumerate(_raw_jobs(body, encoding)):
            if faults.enough:
                break
            try:
                encoding.decode(job, one)
            except ValidationError as fault:
                detail, place = explained(str(fault), one)
                faults.add(f"#/jobs/{index}{place}", detail)
            except UNREADABLE:
                break
        faults.check()
        raise error from None


def check_plain(value: Any, encoding: Encoding, place: str, faults: Faults) -> None:
    """Note what JSON cannot hold: all that Rota keeps can be shown over HTTP."""
    if encoding is not MSGPACK:
        return
    try:
        orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError:
        # It does not say where, and a search in Python takes long where there is nothing to find.
        for path, detail in _foreign(value):
            faults.add(f"{place}{pointer(path)}", detail)
            return
        faults.add(place, "It is nested too deeply, or an integer in it is beyond 64 bits")


def read_query(request: web.Request, type_: type[Query]) -> Query:
    """Read the query parameters; InvalidRequestError names each that is unknown or wrong."""
    types = {field.encode_name: field.type for field in fields(type_)}
    values: dict[str, Any] = {}
    faults = Faults()
    for name, text in request.query.items():
        if name not in types:
            faults.add("#", f"There is no query parameter {name!r}; there is {', '.join(types)}")
            continue
        try:
            values[name] = msgspec.convert(text, types[name], strict=False)
        except ValidationError as error:
            detail, _ = explained(str(error), types[name])
            faults.add("#", f"The query parameter {name} is {text!r}: {detail}")
    faults.check()
    return type_(**values)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"The body is larger than {limit} bytes; send less at a time, or raise ROTA_MAX_BODY_BYTES"
    )


def _foreign(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find the values that JSON does not have."""
    match value:
        case dict():
            for key, member in value.items():
                if isinstance(key, str):
                    yield from _foreign(member, (*path, key))
                else:
                    yield path, f"A key must be a text, not {key!r:.50}"
        case list():
            for index, member in enumerate(value):
                yield from _foreign(member, (*path, index))
        case None | bool() | int() | float() | str():
            pass
        case _:
            yield path, f"JSON has no {type(value).__name__}"


def _raw_jobs(body: bytes, encoding: Encoding) -> list[Raw]:
    try:
        return encoding.decode(body, _Jobs).jobs
    except UNREADABLE:
        return []


def _where(error: Exception, body: bytes, encoding: Encoding) -> str:
    if not body.strip():
        return "it is empty"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not encoded as UTF-8" if encoding is JSON else "a text in it is not encoded as UTF-8"
    found = re.search(r"(.*) \(byte (\d+)\)", str(error))
    if not found:
        return "it ends too early" if "truncated" in str(error) else str(error)
    reason = found[1].partition(" is malformed: ")[2] or found[1]
    if encoding is not JSON:
        return f"byte {found[2]}: {reason}"
    before = body[: int(found[2])]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    return f"line {line}, column {column}: {reason}"
