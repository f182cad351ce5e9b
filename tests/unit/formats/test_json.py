"""JSON: elements are found wherever the bytes are cut, and what stands around them is checked, too."""

import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.json_elements import Scanner
from actors.formats.limits import Limits
from actors.formats.registry import read as read_format
from events.batch import FileFault
from rota.errors import TooLargeError
from rota.options import JsonOptions
from tests.contract.formats.case import START, Body, blocks_of, rows_in
from tests.contract.formats.json import CASE
from tests.unit.formats.test_ndjson import tables, without_nulls

DATA = Path(__file__).parents[2] / "data" / "json"
FORMS: list[dict[str, Any]] = [
    {},
    {"separators": (",", ":")},
    {"indent": 2},
    {"indent": "\t", "separators": (" ,\r\n", " : ")},
    {"ensure_ascii": False},
]


def read(body: bytes, path: str | None = None, **how: Any) -> list[Block]:
    return blocks_of(CASE, body, options=JsonOptions(path=path), bad_rows="quarantine", **how)


def fault_of(body: bytes, path: str | None = None, **how: Any) -> FileFault:
    with pytest.raises(BadRowError) as caught:
        read(body, path, **how)
    return caught.value.fault


def simple_elements(text: bytes) -> tuple[list[int], int]:
    """Find the commas and the end one character at a time."""
    commas: list[int] = []
    quoted, depth, at = False, 0, 0
    while at < len(text):
        character = text[at : at + 1]
        if character == b"\\" and text[at + 1 : at + 2] in (b'"', b"\\"):
            at += 1
        elif character == b'"':
            quoted = not quoted
        elif not quoted and character in b"[{":
            depth += 1
        elif not quoted and character in b"]}":
            depth -= 1
            if depth < 0:
                return commas, at
        elif not quoted and character == b"," and depth == 0:
            commas.append(at)
        at += 1
    return commas, -1


@settings(max_examples=60)
@given(st.lists(st.sampled_from(['"', "\\", ",", "{", "[", "{}", "[]", "]", "a", "\n", "é" * 9]), max_size=150))
@example(['"', "\\", "\\", '"', ",", '"', "\\", '"', ",", '"', ","])
def test_elements_are_found_as_one_character_at_a_time_would(parts: list[str]) -> None:
    text = "".join(parts).encode()
    commas, end = simple_elements(text)

    for size in (1, 3, len(text) + 1):
        scanner = Scanner()
        found: list[int] = []
        closed = -1
        for begin in range(0, len(text), size):
            piece = scanner.scan(text[begin : begin + size])
            found += [begin + comma for comma in piece.commas.tolist()]
            if piece.end >= 0:
                closed = begin + piece.end
                break
        assert (found, closed) == (commas, end)


@settings(max_examples=60)
@given(
    tables(),
    st.sampled_from(FORMS),
    st.sampled_from([1, 7, 1 << 20]),
    st.sampled_from([1, 2, 1 << 15]),
    st.sampled_from([None, 'a.b"']),
)
def test_rows_come_back_however_they_are_written(
    rows: list[dict[str, Any]], form: dict[str, Any], grid: int, block_rows: int, path: str | None
) -> None:
    document = {"[": [{}], "a": {'b"': rows, "c": [1]}} if path else rows
    body = json.dumps(document, **form).encode()
    with pytest.MonkeyPatch().context() as patched:
        patched.setattr("actors.formats.json_list.BLOCK_ROWS", block_rows)
        blocks = read(body, path, piece=grid)
        assert not any(block.bad for block in blocks) or block_rows < len(rows)  # a first block may show less
        if not any(block.bad for block in blocks):
            assert without_nulls(rows_in(blocks)) == without_nulls(rows)
        for index, block in enumerate(blocks):
            again = read(body, path, start=block.start, schema=block.table.schema)
            assert [(one.start, *one.bad) for one in again] == [(one.start, *one.bad) for one in blocks[index:]]
            assert [one.table for one in again] == [one.table for one in blocks[index:]]


def test_elements_may_go_over_the_edges_of_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.formats.input.on_grid", lambda chunks, _: iter(chunks))
    rows = [{"id": n, "text": '\\"],[{' * (n % 5)} for n in range(40)]
    body = orjson.dumps(rows)

    for piece in (1, 2, 5, 64):
        blocks = read(body, piece=piece)
        assert rows_in(blocks) == rows
        assert rows_in(read(body, piece=piece, start=blocks[-1].start, schema=blocks[-1].table.schema)) == rows_in(
            blocks[-1:]
        )


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b'{"a": 1}', [{"a": 1}]),
        (b' \xef\xbb\xbf{"a": 1}'[1:], [{"a": 1}]),
        (b"5", [{"value": 5}]),
        (b' "x" ', [{"value": "x"}]),
        (b"[1, 2]", [{"value": 1}, {"value": 2}]),
        (b"[[1], [2]]", [{"value": [1]}, {"value": [2]}]),
        (b"[ ]", []),
        (b"\xef\xbb\xbf[]", []),
    ],
)
def test_a_document_of_any_kind_has_rows(body: bytes, rows: list[dict[str, Any]]) -> None:
    assert rows_in(read(body)) == rows


def test_rows_are_found_by_their_path() -> None:
    body = b'{"rows": [0], "a": {"x": {"rows": [1]}, "rows": [{"id": 2}]}, "z": {"a": {"rows": [3]}}}'

    assert rows_in(read(body, "a.rows")) == [{"id": 2}]
    assert rows_in(read(body, "a")) == [{"x": {"rows": [1]}, "rows": [{"id": 2}]}]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("b", "there is nothing at the path b; the root has a, n"),
        ("a.z", "there is nothing at the path a.z; a has rows, y"),
        ("a.rows.id", "there is nothing at the path a.rows.id, since a.rows is no record"),
        ("n", "n is no list and no record"),
    ],
)
def test_a_path_that_is_not_there_is_an_error_that_says_what_is(path: str, says: str) -> None:
    assert says in fault_of(b'{"a": {"rows": [], "y": 1}, "n": 1}', path).message


def test_a_path_that_comes_twice_is_an_error_after_the_rows() -> None:
    assert fault_of(b'{"a": [{"id": 1}],\n "a": []}', "a").message == "rows.file, line 2: a comes twice"


@pytest.mark.parametrize(
    ("body", "rows", "says"),
    [
        (b'[{"a":1},\n{"a":2}', 1, "line 2: the file ends before its list of rows, in element 2"),
        (b'[{"a":1}\n,\n{"a":', 1, "line 3: the file ends before its list"),
        (b'[{"a":1},', 1, "the file ends before its list of rows, in element 2"),
        (b'[{"a":1},]', 1, "element 2: an element is missing"),
        (b'[{"a":1},,{"a":2}]', 1, "element 2: an element is missing"),
        (b'[{"a":1},{"a":2} {"a":3},{"a":4}]', 1, "element 2: a comma is missing"),
        (b'[{"a":1}}', 1, "line 1: the document is no JSON"),
        (b'[{"a":1}]\n]', 1, "line 2: the document is no JSON: trailing garbage"),
        (b'[{"a":1}]\n{"a":2}', 1, "line 2: the document is no JSON: trailing garbage"),
        (b'{"a":1', 0, "the file ends in the middle of a record"),
        (b'{"a":1}\n{"a":2}', 1, "line 2: the document is no JSON: trailing garbage"),
        (b"", 0, "the document is no JSON: premature EOF"),
        (b" \n", 0, "the document is no JSON: premature EOF"),
        (b"nul", 0, "the document is no JSON"),
        (b"1 2", 0, "the document is no JSON"),
        (b"\x00[]", 0, "UTF-16"),
    ],
)
def test_what_is_wrong_is_named_after_the_rows_before(body: bytes, rows: int, says: str) -> None:
    fault = fault_of(body)

    assert says in fault.message
    assert fault.row == rows


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"x": 1, "a": [{"id": 1}]', "line 1: the document is no JSON: premature EOF"),
        (b'{"a": [{"id": 1}], \n"b": tru}', "line 2: the document is no JSON: invalid string"),
        (b'{"b": [1 2], "a": [{"id": 1}]}', "the document is no JSON"),
        (b'{"b": %s, "a": [{"id": 1}]}' % (b"9" * 5000), "a number is too long"),
        (b'{"b": %s' % (b"[" * 100), "nested more than 64 deep"),
    ],
)
def test_what_stands_around_the_rows_is_checked(body: bytes, says: str) -> None:
    assert says in fault_of(body, "a").message


def test_a_text_around_the_rows_that_is_too_long_is_an_error() -> None:
    with pytest.raises(TooLargeError, match="longer than 100000 bytes"):
        read(b'{"b": "' + b"x" * 5_000_000, "a", limits=Limits(row_bytes=100_000))


def test_an_element_that_is_too_long_is_an_error() -> None:
    with pytest.raises(TooLargeError, match=r"line 2, element 2: it is longer than 100 bytes"):
        read(b'[{"a":1},\n{"a":"' + b"x" * 100 + b'"}]', limits=Limits(row_bytes=100))


def test_a_document_that_is_too_long_for_a_row_is_an_error_that_names_the_option() -> None:
    with pytest.raises(TooLargeError, match="the option path"):
        read(b'{"a": "' + b"x" * 100 + b'"}', limits=Limits(row_bytes=100))


def test_any_cut_gives_rows_of_the_file_and_an_error() -> None:
    rows = [{"a": 1, "b": ["x", "\\"]}, {"a": 2, "b": []}, {"a": 3, "b": ["é"]}]
    body = json.dumps({"x": {"rows": rows}, "y": "z"}, ensure_ascii=False).encode()
    options = JsonOptions(path="x.rows")
    for end in range(len(body)):
        blocks: list[Block] = []
        with pytest.raises(BadRowError) as caught:
            blocks.extend(read_format("json", Input(Body(body[:end])), options, START, bad_rows="skip"))
        assert rows_in(blocks) == rows[: caught.value.fault.row]


def test_a_hostile_document_ends_within_seconds() -> None:
    started = time.monotonic()
    deep = 300_000
    for body in (b"[" * deep, b"[" + b"[" * deep + b"]" * deep + b"]", b'{"a":' * deep, b'[{"b":' + b"[" * deep):
        for path in (None, "a"):
            with pytest.raises(BadRowError):
                blocks_of(CASE, body, options=JsonOptions(path=path))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("name", ["pandas", "duckdb"])
def test_files_of_other_programs_are_read(name: str) -> None:
    body = (DATA / f"{name}.json").read_bytes()

    assert rows_in(read(body)) == json.loads(body)
