"""TOML: where its rows are, that all its types survive, and that its depth and size are bounded."""

from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats.block import BadRowError
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.toml import read
from events.batch import Position
from rota.errors import TooLargeError
from rota.options import TomlOptions
from tests.contract.formats.case import Body

START = Position()


def rows(
    body: bytes | str, options: TomlOptions | None = None, limits: Limits | None = None
) -> list[dict[str, Any]]:
    body = body.encode() if isinstance(body, str) else body
    blocks = read(Input(Body(body, "o.toml"), limits=limits), options or TomlOptions(), START)
    return [row for block in blocks for row in block.table.to_pylist()]


def test_the_only_array_of_tables_is_the_rows() -> None:
    assert rows("title = 'x'\n[[order]]\na = 1\n[[order]]\na = 2\n") == [{"a": 1}, {"a": 2}]


def test_a_path_leads_to_the_rows() -> None:
    body = "[shop]\n[[shop.order]]\na = 1\n[[shop.item]]\nb = 2\n"

    assert rows(body, TomlOptions(path="shop.item")) == [{"b": 2}]
    assert rows("orders = []", TomlOptions(path="orders")) == []
    assert rows(body, TomlOptions(path="shop")) == [{"order": [{"a": 1}], "item": [{"b": 2}]}]


def test_a_document_without_one_array_of_tables_is_one_row() -> None:
    assert rows("a = 1\n[b]\nc = 2\n") == [{"a": 1, "b": {"c": 2}}]
    assert rows("[[a]]\nx = 1\n[[b]]\nx = 2\n") == [{"a": [{"x": 1}], "b": [{"x": 2}]}]
    assert rows("# nothing") == []


@pytest.mark.parametrize("path", ["nowhere", "a", "a.b", ""])
def test_a_path_that_leads_to_no_tables_is_an_error(path: str) -> None:
    with pytest.raises(BadRowError, match="has no array of tables"):
        rows("a = 1\n", TomlOptions(path=path))


def test_types_survive() -> None:
    body = (
        "a = 2026-05-01T09:30:00+02:00\nb = 2026-05-01T09:30:00\nc = 2026-05-01\nd = 09:30:00.000001\ne = -inf\n"
        "f = 18_446_744_073_709_551_615\ng = 'x'\nh = [1, 2]\ni = true\n"
    )

    assert rows(body) == [
        {
            "a": datetime(2026, 5, 1, 7, 30, tzinfo=UTC),
            "b": datetime(2026, 5, 1, 9, 30),  # noqa: DTZ001 - a local one
            "c": date(2026, 5, 1),
            "d": time(9, 30, 0, 1),
            "e": float("-inf"),
            "f": 18446744073709551615,
            "g": "x",
            "h": [1, 2],
            "i": True,
        }
    ]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"a = 1\na = 2\n", "o.toml, line 2: the TOML is broken"),
        (b"a = 1\nb = \xff\n", r"o.toml, line 2: the bytes '\\xff' are no UTF-8"),
        (b"a = 2026-02-30\n", "o.toml.*: the TOML is broken"),
        (b"a = " + b"9" * 5000, "o.toml.*: the TOML is broken"),
    ],
)
def test_a_broken_document_is_an_error_with_its_line(body: bytes, says: str) -> None:
    with pytest.raises(BadRowError, match=says):
        rows(body)


@pytest.mark.parametrize(
    "body",
    ["a = " + "[" * 2000, "a = " + "[" * 90 + "]" * 90, "a = " + "{a = " * 2000, ".".join("a" * 2000) + " = 1"],
)
def test_a_deep_document_is_an_error(body: str) -> None:
    with pytest.raises(TooLargeError, match="limit depth"):
        rows(body)


def test_a_large_document_is_an_error() -> None:
    with pytest.raises(TooLargeError, match="larger than 10 bytes"):
        rows("a = 'long enough'", limits=Limits(whole_bytes=10))
    with pytest.raises(TooLargeError, match="larger than 10 bytes"):
        rows("a = 'long enough'", limits=Limits(toml_bytes=10))


SAMPLE = b"title = 'x'\n[[o]]\na = 1\nb = [1, 2]\nc = {d = 1.5}\ne = 2026-05-01\n[[o]]\na = 2\n"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_other_bytes_are_rows_or_a_clear_error(changes: list[tuple[int, int]]) -> None:
    body = bytearray(SAMPLE)
    for at, byte in changes:
        body[at] = byte
    try:
        rows(bytes(body))
    except (BadRowError, TooLargeError) as error:
        assert "o.toml" in str(error)  # noqa: PT017 - it need not fail


def test_a_document_that_is_cut_anywhere_has_rows_or_an_error() -> None:
    for end in range(len(SAMPLE)):
        try:
            rows(SAMPLE[:end])
        except BadRowError as error:
            assert error.fault.row == 0  # noqa: PT017 - it need not fail


def test_reading_goes_on_at_each_block() -> None:
    body = "".join(f"[[o]]\nn = {n}\n" for n in range(20_000))
    file = Input(Body(body.encode()))
    first, second = read(file, TomlOptions(), START)
    [again] = read(file, TomlOptions(), second.start, first.table.schema)

    assert second.start == Position(row=16_384)
    assert again.table.equals(second.table)
