"""Results of jobs as rows of a table."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.msgpack import Ext

from actors.results.errors import ResultsError
from actors.results.registry import Row
from rota.protocol import Rows

VALUE = "value"
"""The column of a row that is no object."""
ORIGIN = ("rota_job", "rota_file", "rota_first_row")


def decoded(job: str, body: Any) -> Any:
    """Return the value of a result; ResultsError if it is none."""
    try:
        return msgspec.msgpack.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        why = "is nested too deeply" if isinstance(error, RecursionError) else "is no MessagePack that can be read"
        raise ResultsError(f"The result of the job {job} {why}; redrive it, or leave its file out") from None


def rows_of(value: Any) -> Iterator[Row]:
    """Yield the rows that a result stands for: one for each member of a list, else one, and none for None."""
    if isinstance(value, list):
        for member in value:
            yield _row(member)
    elif value is not None:
        yield _row(value)


def with_origin(row: Row, job: str, rows: Rows | None) -> Row:
    """Return a row that says first where it comes from; a column of its own of such a name gets a `_`."""
    origin = (job, rows and rows.file, rows and rows.first_row)
    own = {_free(name, row) if name in ORIGIN else name: value for name, value in row.items()}
    return dict(zip(ORIGIN, origin, strict=True)) | own


def json_text(value: Any) -> str:
    """Return a value as JSON: bytes as base64, times as RFC 3339."""
    return json_bytes(value).decode()


def json_bytes(value: Any) -> bytes:
    """Return a value as JSON, as `json_text` does."""
    try:
        return _json.encode(value)
    except (TypeError, ValueError):
        return _json.encode(_plain(value))


def _row(member: Any) -> Row:
    if not isinstance(member, dict):
        return {VALUE: member}
    if all(type(key) is str for key in member):
        return member
    return {key if isinstance(key, str) else json_text(key): value for key, value in member.items()}


def _free(name: str, row: Row) -> str:
    while name in row or name in ORIGIN:
        name += "_"
    return name


def _plain(value: Any) -> Any:
    """Return a value whose objects have texts as keys, as JSON needs them."""
    match value:
        case dict():
            return {
                key if isinstance(key, str) else json_text(key): _plain(member) for key, member in value.items()
            }
        case list() | tuple():
            return [_plain(member) for member in value]
        case _:
            return value


def _foreign(value: Any) -> Any:
    """Return what stands for a value that JSON does not have: of an extension type of MessagePack its bytes."""
    if isinstance(value, Ext):
        return bytes(value.data)
    raise TypeError(f"JSON has no {type(value).__name__}")


_json = msgspec.json.Encoder(enc_hook=_foreign)
