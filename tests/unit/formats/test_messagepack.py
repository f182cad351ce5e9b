"""MessagePack: the same rows in both of its forms, and no end that is not one."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats import messagepack, messagepack_columns
from actors.formats.block import Block
from actors.formats.input import Input, on_grid
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
    written = rows_of(45_000)
    body = msgspec.msgpack.encode(written) if is_array else one_after_the_other(written)
    whole = blocks(body)
    assert len(whole) > 2
    for index, block in enumerate(whole):
        again = blocks(body, block.start)
        assert [each.start for each in again] == [each.start for each in whole[index:]]
        assert rows_in(again) == rows_in(whole[index:])


NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.sampled_from(
    [0, 127, 128, 255, 256, 2**53, 2**53 + 1, -32, -33, -128]
)
COLUMNS = [
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1),
    st.floats(width=32),
    st.floats(width=32, allow_nan=False) | st.integers(-300, 300),
    st.text(max_size=40),
    st.binary(max_size=40),
    st.none(),
]
ODD = (
    NUMBERS
    | st.floats(width=32)
    | st.text(max_size=300)
    | st.lists(NUMBERS, max_size=2)
    | st.just(msgpack.Timestamp(5, 0))
)


@st.composite
def alike(draw: st.DrawFn) -> list[Any]:
    """Return records that are alike, most often."""
    names = draw(st.lists(st.sampled_from(["id", "é", "a" * 40, "", "b\0", "\0"]), min_size=1, unique=True))
    if draw(st.booleans()):
        names += [f"c{index}" for index in range(15)]
    columns = {name: draw(st.sampled_from(COLUMNS)) for name in names}
    nullable = draw(st.booleans())
    rows: list[Any] = [
        {name: draw(st.none() | column if nullable else column) for name, column in columns.items()}
        for _ in range(9)
    ]
    for _ in range(draw(st.integers(0, 2))):
        rows.insert(draw(st.integers(3, 9)), draw(st.just({}) | ODD | st.builds(dict, st.just([("id", 5)]))))
    for _ in range(draw(st.integers(0, 2))):
        row = draw(st.sampled_from(rows))
        if isinstance(row, dict):
            row[draw(st.sampled_from(names))] = draw(ODD)
    return rows


class Pieces(Input):
    """A file whose pieces are far smaller than others' are."""

    grid = 64

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        yield from on_grid(super().chunks(offset), offset, self.grid)


def outcome(
    body: bytes, start: Position = START, schema: pa.Schema | None = None, **options: Any
) -> tuple[list[Any], str]:
    found: list[Any] = []
    try:
        for block in read(Pieces(Body(body)), MessagePackOptions(**options), start, schema):
            types = {field.name: field.type for field in block.table.schema}
            found.append((block.start, repr(block.table.to_pylist()), list(block.bad), types))
    except RotaError as error:
        return found, str(error)
    return found, ""


@settings(max_examples=30, deadline=None)
@given(
    alike(),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=2),
    st.sampled_from(
        [{}, {"column_types": {"id": "string"}}, {"columns": ["id"]}, {"column_types": {"id": "json"}}]
    ),
    st.integers(1, 9),
    st.sampled_from([16, 50, 200, 10**6]),
)
def test_whole_columns_are_what_one_row_after_the_other_is(  # noqa: PLR0917 - of hypothesis
    values: list[Any],
    is_array: bool,  # noqa: FBT001
    single: bool,  # noqa: FBT001
    bytes_: list[tuple[int, int]],
    options: dict[str, Any],
    size: int,
    grid: int,
) -> None:
    pieces = [msgpack.packb(value, use_single_float=single) for value in values]
    body = bytearray(b"".join(pieces))
    for place, byte in bytes_:
        body[place % len(body)] = byte
    if is_array:
        body.insert(0, 0x90 | len(pieces))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messagepack, "FIRST_ROWS", 3)
        patch.setattr(messagepack, "BLOCK_ROWS", size)
        patch.setattr(messagepack_columns, "MIN_ROWS", 1)
        patch.setattr(Pieces, "grid", grid)
        quick, error = outcome(bytes(body), **options)
        if len(quick) > 1:
            rest = quick[size % (len(quick) - 1) + 1 :]
            again, error_again = outcome(bytes(body), rest[0][0], pa.schema(list(quick[-1][3].items())), **options)
            assert [(each[0], len(each[2])) for each in again] == [(each[0], len(each[2])) for each in rest]
            assert error_again == error
        patch.setattr(messagepack_columns, "MIN_ROWS", 10**9)
        patch.setattr(messagepack_columns.Template, "of", lambda _: None)
        assert outcome(bytes(body), **options) == (quick, error)


@pytest.mark.parametrize("number", [2**64 - 2**53, 2**64 - 1, 2**53 + 1, -(2**53) - 1])
def test_a_whole_number_among_others_that_float64_does_not_hold_is_a_bad_row(number: int) -> None:
    values: list[Any] = [{"n": 0.5}] * (messagepack.FIRST_ROWS + 100)
    values[-50] = {"n": number}
    body = one_after_the_other(values)

    assert len(rows(body)) == len(values) - 1
    [fault] = faults(body)
    assert f"column n: {number} is no float64" in fault


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
