"""MessagePack: the same rows in both of its forms, and no end that is not one."""

from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats.block import Block
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.messagepack import read
from events.batch import Position
from rota.errors import RotaError, TooLargeError
from rota.options import MessagePackOptions
from tests.contract.formats.case import START, Body, rows_in, rows_of

DATA = Path("tests/data/messagepack")


def blocks(body: bytes, start: Position = START, limits: Limits | None = None, **options: Any) -> list[Block]:
    return list(read(Input(Body(body), limits=limits), MessagePackOptions(**options), start, None))


def rows(body: bytes, **options: Any) -> list[dict[str, Any]]:
    return rows_in(blocks(body, **options))


def faults(body: bytes) -> list[str]:
    return [fault.message for block in blocks(body) for fault in block.bad]


def one_after_the_other(values: list[Any]) -> bytes:
    return b"".join(map(msgspec.msgpack.encode, values))


SCALARS = st.none() | st.text(max_size=5)
RECORDS = st.lists(
    st.fixed_dictionaries({"a": SCALARS, "b": st.none() | st.integers(-(2**63), 2**63 - 1)}), min_size=1
)


@settings(max_examples=40, deadline=None)
@given(RECORDS)
def test_both_forms_give_the_rows_that_were_written(records: list[dict[str, Any]]) -> None:
    assert rows(msgspec.msgpack.encode(records)) == records
    assert rows(one_after_the_other(records)) == records


def test_a_value_that_is_no_map_is_in_a_column_of_its_own() -> None:
    assert rows(msgspec.msgpack.encode([1, 2])) == [{"value": 1}, {"value": 2}]


@pytest.mark.parametrize("is_array", [True, False])
def test_a_cut_or_changed_file_never_gives_an_end_or_an_error_of_another_kind(is_array: bool) -> None:  # noqa: FBT001
    written = rows_of(12)
    body = msgspec.msgpack.encode(written) if is_array else one_after_the_other(written)
    quiet = 0
    for cut in range(1, len(body)):
        got: list[dict[str, Any]] = []
        try:
            for block in read(Input(Body(body[:cut])), MessagePackOptions(), START, None):
                got += block.table.to_pylist()
            quiet += 1
        except RotaError:
            pass
        assert got == written[: len(got)]
        for byte in (0x00, 0xC1, 0xC9, 0xDD, 0xDF, 0xFF):
            try:
                blocks(body[:cut] + bytes([byte]) + body[cut + 1 :])
            except RotaError:
                continue
    assert quiet == (0 if is_array else len(written) - 1)


@pytest.mark.parametrize("is_array", [True, False])
def test_reading_goes_on_from_any_block(is_array: bool) -> None:  # noqa: FBT001
    written = rows_of(25_000)
    body = msgspec.msgpack.encode(written) if is_array else one_after_the_other(written)
    whole = blocks(body)
    assert len(whole) > 2
    for index, block in enumerate(whole):
        again = blocks(body, block.start)
        assert [each.start for each in again] == [each.start for each in whole[index:]]
        assert rows_in(again) == rows_in(whole[index:])


def test_a_timestamp_is_a_moment_and_nanoseconds_are_not_cut_off() -> None:
    body = msgpack.packb([{"at": msgpack.Timestamp(5, 7000)}, {"at": msgpack.Timestamp(5, 7)}])
    assert [row["at"].isoformat() for row in rows(body)] == ["1970-01-01T00:00:05.000007+00:00"]
    assert "nanoseconds=7" in faults(body)[0]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            msgpack.packb([msgpack.ExtType(5, b"xx")]),
            "byte 1, column value: Extension(code=5, data=b'xx') is no value",
        ),
        (b"\x91\x82\xa1a\x01\xa1a\x02", "byte 1, column value: BadMap"),
        (b"\x81\x80\x01", "byte 0, column value: BadMap"),
        (b"\x81\x91\x01\x01", "byte 0: (1,): it cannot be a name"),
        (b"\x81\xa1a\xa1\xff", "byte 0, column a: '\\udcff' is no string"),
    ],
)
def test_what_no_column_holds_is_a_bad_row(body: bytes, says: str) -> None:
    (fault,) = faults(body)
    assert says in fault


def test_a_key_that_is_no_text_becomes_one_that_is_free() -> None:
    assert rows(msgpack.packb([{1: "a", "1": "b", None: "c"}])) == [{"1_2": "a", "1": "b", "null": "c"}]


def test_an_object_beyond_the_limit_is_an_error() -> None:
    with pytest.raises(TooLargeError, match="longer than 100 bytes"):
        blocks(
            msgspec.msgpack.encode(list(range(5)))[:1] + msgspec.msgpack.encode(["x" * 60] * 5),
            limits=Limits(row_bytes=100),
        )


@pytest.mark.parametrize("name", ["ormsgpack.mpk", "umsgpack.msgpack"])
def test_files_of_other_programs_are_read(name: str) -> None:
    assert [(row["id"], row["name"], row["data"]) for row in rows((DATA / name).read_bytes())] == [
        (1, "Zoë", b"\x00\xff"),
        (2, "", None),
    ]
