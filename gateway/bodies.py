"""Requests read into typed values: bodies, query parameters, idempotency keys."""

import os
import re
import time
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.structs import fields

from events.ids import keyed_group, new_group
from gateway.pointers import split_message
from gateway.problems import Faults
from rota.errors import InvalidRequestError, Problem, TooLargeError
from rota.protocol import JobRequest, ScheduleRequest

T = TypeVar("T")
Query = TypeVar("Query", bound=Struct)

_KEY = re.compile(r'"?([ !#-~]{1,256})"?')


class _Shape(Struct):
    """What tells a list of jobs from one job."""

    jobs: Raw = Raw()


class _Jobs(Struct):
    jobs: list[Raw]


_shape = msgspec.json.Decoder(_Shape)
_jobs = msgspec.json.Decoder(_Jobs)
_job = msgspec.json.Decoder(JobRequest)
_job_list = msgspec.json.Decoder(ScheduleRequest)


async def read_body(request: web.Request) -> bytes:
    """Return the body; TooLargeError if it is over the limit."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        limit = request.client_max_size
        raise TooLargeError(
            f"The body is larger than {limit} bytes; send less at a time, or raise ROTA_MAX_BODY_BYTES"
        ) from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise InvalidRequestError("The body did not arrive whole") from error


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a JSON body; InvalidRequestError says where it is no JSON, or not what is asked for."""
    try:
        return decoder.decode(body)
    except ValidationError as error:
        detail, place = split_message(str(error))
        raise InvalidRequestError(
            "The body is not as it should be", problems=[Problem(detail, f"#{place}")]
        ) from error
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"The body is no JSON: {_where(error, body)}") from error


def decode_jobs(body: bytes) -> tuple[list[JobRequest], bool]:
    """Decode one job or a list of jobs; also return whether it was a list.

    If jobs of a list are not as they should be, the first fault of each is told.
    """
    if not decode(body, _shape).jobs:
        return [decode(body, _job)], False
    try:
        return decode(body, _job_list).jobs, True
    except InvalidRequestError as error:
        faults = Faults()
        for index, one in enumerate(_raw_jobs(body)):
            if faults.enough:
                break
            try:
                _job.decode(one)
            except ValidationError as fault:
                detail, place = split_message(str(fault))
                faults.add(f"#/jobs/{index}{place}", detail)
        faults.check()
        raise error from None


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
            faults.add("#", f"The query parameter {name} is {text!r}: {error}")
    faults.check()
    return type_(**values)


def request_group(request: web.Request, kind: str) -> str:
    """Return the group of the ids that a request makes: the same for the same `Idempotency-Key`, else a new one."""
    key = idempotency_key(request)
    return keyed_group(kind, "", key) if key else new_group(time.time_ns() // 1_000_000, os.urandom(10))


def idempotency_key(request: web.Request) -> str | None:
    """Return the request's `Idempotency-Key`, quoted or bare."""
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return None
    found = _KEY.fullmatch(header)
    if not found:
        raise InvalidRequestError("The header Idempotency-Key takes 1 to 256 characters of ASCII without quotes")
    return found[1]


def _raw_jobs(body: bytes) -> list[Raw]:
    try:
        return _jobs.decode(body).jobs
    except ValidationError:
        return []


def _where(error: Exception, body: bytes) -> str:
    if not body.strip():
        return "it is empty"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not encoded as UTF-8"
    found = re.search(r"(.*) \(byte (\d+)\)", str(error))
    if not found:
        return "it ends too early" if "truncated" in str(error) else str(error)
    before = body[: int(found[2])]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    return f"line {line}, column {column}: {found[1].removeprefix('JSON is malformed: ')}"
