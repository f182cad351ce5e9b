"""XML: what rows are, that both ways of reading agree, and that no document ends silently or costs too much."""

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.line_blocks import Rows
from actors.formats.xml import read
from actors.formats.xml_rows import rows_in
from actors.formats.xml_text import decoded
from events.batch import Position
from rota.errors import TooLargeError
from rota.options import XmlOptions
from tests.contract.formats.case import Body

START = Position()
BY_EVENTS = Limits(row_bytes=4 * 1024 * 1024)
"""With these limits the pattern is not used."""

MIXED = """<?xml version="1.0"?><o:orders xmlns:o="u1" xmlns:p="u2" n="1"><head/>
<o:order id="1"><o:a>1</o:a><p:a>2</p:a><b x="2">t</b></o:order>
<o:order id="2"><o:a>&lt;1&#65;</o:a><p:a><![CDATA[<>]]></p:a><b/></o:order>
<o:order id="3"><c>x</c></o:order><o:order id="3"><c>x&amp;y</c></o:order><!-- <o:order id="9"/> -->
<o:order id="4">
 <c>x&amp;y\r\nz</c><e/></o:order>
<o:order id="5"><c>1</c><c>2</c><r><q>1</q>mix</r></o:order><o:order/>
<o:order id="6">
 <c>x&amp;y</c><e/></o:order>
<o:order id="7"><e>3</e><c>Zoë</c></o:order>
</o:orders>""".encode()


def values(piece: Rows) -> list[dict[str, Any]]:
    """Return rows without what is null."""
    columns = piece.columns
    if columns is None:
        found: list[Any] = list(piece.values)
    else:
        found = [{name: columns[name][index] for name in columns} for index in range(len(piece.ends))]
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def elements(body: bytes, row: str | None = None, limits: Limits | None = None) -> list[dict[str, Any]]:
    pieces = rows_in("o.xml", decoded("o.xml", [body]), row, limits or Limits())
    return [value for piece in pieces for value in values(piece)]


def rows(
    body: bytes | str, options: XmlOptions | None = None, limits: Limits | None = None
) -> list[dict[str, Any]]:
    body = body.encode() if isinstance(body, str) else body
    blocks = read(Input(Body(body, "o.xml"), limits=limits), options or XmlOptions(), START)
    return [row for block in blocks for row in block.table.to_pylist()]


def test_attributes_text_children_and_repeated_children_are_columns() -> None:
    assert elements(MIXED, "orders/order") == [
        {"@id": "1", "a": "1", "a_2": "2", "b": {"@x": "2", "#text": "t"}},
        {"@id": "2", "a": "<1A", "a_2": "<>", "b": ""},
        {"@id": "3", "c": "x"},
        {"@id": "3", "c": "x&y"},
        {"@id": "4", "c": "x&y\nz", "e": ""},
        {"@id": "5", "c": ["1", "2"], "r": {"q": "1", "#text": "mix"}},
        {"#text": ""},
        {"@id": "6", "c": "x&y", "e": ""},
        {"@id": "7", "e": "3", "c": "Zoë"},
    ]


def test_without_an_option_the_children_of_the_root_are_rows() -> None:
    assert len(elements(MIXED)) == 10
    assert elements(MIXED)[0] == {"#text": ""}


def test_a_row_within_a_row_is_part_of_it() -> None:
    assert elements(b"<a><r><r>1</r></r></a>", "r") == [{"r": "1"}]


def test_an_element_that_is_nil_is_null() -> None:
    body = (
        '<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><r><x xsi:nil="true"/><y/></r><r><x>1</x></r></a>'
    )

    assert rows(body) == [{"x": None, "y": ""}, {"x": "1", "y": None}]


FIELD = st.sampled_from(["", "1", " ", "x&y", "<", "a\nb", "\r", "Zoë", "“q”", ">", '"', "\t"])
FLAT = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "@d", "@e"]), FIELD, max_size=5), max_size=12)


def written_flat(rows: list[dict[str, str]], *, pretty: bool = False) -> bytes:
    root = etree.Element("rows")
    for row in rows:
        element = etree.SubElement(root, "row")
        for name, value in row.items():
            if name.startswith("@"):
                element.set(name[1:], value)
            else:
                etree.SubElement(element, name).text = value
    return etree.tostring(root, encoding="utf-8", pretty_print=pretty)


def written_pretty(rows: list[dict[str, str]]) -> bytes:
    return written_flat(rows, pretty=True)


@settings(max_examples=60, deadline=None)
@given(FLAT, st.sampled_from([written_flat, written_pretty]))
def test_rows_that_lxml_writes_come_back_the_same_by_events_and_by_pattern(
    values: list[dict[str, str]], write: Callable[[list[dict[str, str]]], bytes]
) -> None:
    body = write(values)
    found = elements(body)

    assert found == elements(body, limits=BY_EVENTS)
    assert found == [row or {"#text": ""} for row in values]


def test_both_ways_of_reading_agree_where_rows_differ() -> None:
    assert elements(MIXED, "order") == elements(MIXED, "order", BY_EVENTS)


@pytest.mark.parametrize("limits", [Limits(), BY_EVENTS], ids=["pattern", "events"])
def test_a_document_that_is_cut_anywhere_gives_the_rows_before_and_an_error(limits: Limits) -> None:
    all_ = elements(MIXED, "order", limits)
    for end in range(len(MIXED)):
        found: list[dict[str, Any]] = []
        with pytest.raises(BadRowError):  # noqa: PT012 - the rows before count
            for piece in rows_in("o.xml", decoded("o.xml", [MIXED[:end]]), "order", limits):
                found += values(piece)
        assert found == all_[: len(found)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(MIXED) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_document_with_other_bytes_is_read_as_lxml_reads_it_or_is_an_error(
    changes: list[tuple[int, int]],
) -> None:
    body = bytearray(MIXED)
    for at, byte in changes:
        body[at] = byte
    try:
        found = elements(bytes(body))
    except (BadRowError, TooLargeError):
        return
    assert found == elements(bytes(body), limits=BY_EVENTS)
    assert len(found) == sum(1 for _ in etree.fromstring(bytes(body)).iterchildren("*"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252", "shift_jis"])
def test_the_declared_encoding_is_used(encoding: str) -> None:
    text = "ソ" if encoding == "shift_jis" else "é"
    body = f'<?xml version="1.0" encoding="{encoding}"?>\n<a><r><x>{text}</x></r></a>'.encode(encoding)

    assert rows(body) == [{"x": text}]


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape", "idna", "base64", "no-such"])
def test_an_encoding_that_no_document_can_be_in_is_an_error(encoding: str) -> None:
    with pytest.raises(BadRowError, match=f"encoding {encoding}"):
        rows(f'<?xml version="1.0" encoding="{encoding}"?><a><r/></a>')


def test_bytes_that_are_no_text_end_the_document_after_the_rows_before() -> None:
    blocks: list[Block] = []
    with pytest.raises(BadRowError, match="no utf-8") as caught:
        blocks.extend(read(Input(Body(b"<a><r><x>1</x></r><r><x>\xff</x></r></a>")), XmlOptions(), START))

    assert [row for block in blocks for row in block.table.to_pylist()] == [{"x": "1"}]
    assert caught.value.fault.row == 1


LAUGHS = "".join(f'<!ENTITY l{n} "&l{n - 1};&l{n - 1};&l{n - 1};">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a><r>&l9;</r></a>', "declares the entity l0"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><r>&x;</r></a>', "declares the entity x"),
        ('<!DOCTYPE a [<!ENTITY % p SYSTEM "http://x/y">%p;]><a/>', "declares the entity p"),
        ('<!DOCTYPE a SYSTEM "http://x/y.dtd"><a><r>&x;</r></a>', "does not declare the entity x"),
        ('<!DOCTYPE a SYSTEM "http://x/y.dtd"><a><r y="&x;"/></a>', "an entity in an attribute"),
        (f'<!DOCTYPE a [<!ATTLIST r y CDATA "{"z" * 1000}">]><a><r/></a>', "a default of the attribute y"),
        ("<a><r>&x;</r></a>", "undefined entity"),
        ("<a><x:r/></a>", "unbound prefix"),
        ('<a><r x="1" x="2"/></a>', "duplicate attribute"),
    ],
)
def test_what_stands_outside_of_the_document_is_never_read_and_nothing_expands(body: str, says: str) -> None:
    with pytest.raises(BadRowError, match=says):
        rows(body)


def test_a_document_type_without_entities_is_no_error() -> None:
    body = '<!DOCTYPE a PUBLIC "-//x//y" "http://x/y.dtd" [<!ELEMENT r ANY>]><a><r y="&lt;&#65;">&amp;</r></a>'

    assert rows(body) == [{"@y": "<A", "#text": "&"}]


HUGE = 1024 * 1024
LOW = Limits(row_bytes=256 * 1024, columns=100)


@pytest.mark.parametrize(
    "body",
    [
        b"<a><r>" + b"x" * HUGE,
        b"<a><r>" + b"<x/>" * (HUGE // 4),
        b'<a><r x="' + b"/>" * (HUGE // 2),
        b"<a><!-- " + b"/>" * (HUGE // 2),
        b"<a><" + b"x" * HUGE,
        b"<" + b"x" * HUGE,
        b"<!DOCTYPE a [" + b"<!ELEMENT x ANY>" * (HUGE // 16),
        b"<a><r " + b" ".join(b'x%d=""' % n for n in range(200)) + b"/></a>",
        b"<a><r>" + b"".join(b"<x%d/>" % n for n in range(200)) + b"</r></a>",
        b"<a>" + b"".join(b"<x%d/>" % n for n in range(110_000)) + b"</a>",
        b"<a>" * 100,
    ],
    ids=[
        "text", "elements", "attribute", "comment", "name", "root", "document type", "attributes", "fields",
        "names", "depth",
    ],
)  # fmt: skip
def test_a_hostile_document_is_an_error_within_seconds(body: bytes) -> None:
    begin = time.monotonic()
    with pytest.raises(TooLargeError):
        list(read(Input(Body(body), limits=LOW), XmlOptions(row="r"), START))

    assert time.monotonic() - begin < 5


def test_a_tag_that_is_nowhere_is_an_error_and_no_rows_are_none() -> None:
    with pytest.raises(BadRowError, match="has no element oder; see the option row"):
        rows("<orders><order>1</order><x><y/></x></orders>", XmlOptions(row="oder"))
    with pytest.raises(BadRowError, match="has no element order/orders"):
        rows("<orders/>", XmlOptions(row="order/orders"))
    assert rows("<orders><head/></orders>", XmlOptions(row="orders/order")) == []
    assert rows("<orders/>", XmlOptions(row="order")) == []


def test_a_field_of_a_record_that_was_single_and_comes_twice_later_names_the_option_with_its_path() -> None:
    row = "<r><x><a.b>1</a.b><c/></x></r>\n"
    body = f"<a>{row * 16_384}<r><x><a.b>1</a.b><a.b>2</a.b><c/></x></r></a>".encode()

    *_, block = read(Input(Body(body, "o.xml")), XmlOptions(), START)

    (fault,) = block.bad
    assert fault.message == (
        "o.xml, line 16385, column x.a.b: the element comes 2 times, and came once in the rows before; "
        "the option lists can make x/a.b a list"
    )
    blocks = list(read(Input(Body(body, "o.xml")), XmlOptions(lists=["x/a.b"]), START))
    assert blocks[1].table["x"].to_pylist() == [{"a.b": ["1", "2"], "c": ""}]


def test_an_item_that_does_not_fit_a_list_does_not_say_that_it_came_once() -> None:
    row = "<r><x>1</x><x>2</x></r>\n"
    body = f"<a>{row * 16_384}<r><x>1</x><x><y>2</y></x></r></a>".encode()

    *_, block = read(Input(Body(body, "o.xml")), XmlOptions(), START)

    (fault,) = block.bad
    assert "is no" in fault.message
    assert "came once" not in fault.message


def test_names_of_many_namespaces_are_numbered_in_time_that_grows_with_them() -> None:
    count = 9000
    fields = "".join(f'<x xmlns="n{index}">{index}</x>' for index in range(count))
    begin = time.monotonic()

    (row,) = rows(f"<a><r>{fields}</r></a>", XmlOptions(row="r"))

    assert (row["x"], row["x_2"], row[f"x_{count}"]) == ("0", "1", str(count - 1))
    assert time.monotonic() - begin < 5


def test_a_column_that_was_single_and_comes_twice_later_is_a_bad_row_that_names_the_option() -> None:
    row = "<r><x>1</x></r>\n"
    body = f"<a>{row * 16_384}<r><x>1</x><x>2</x></r>{row}</a>".encode()

    *_, block = read(Input(Body(body, "o.xml")), XmlOptions(), START)

    assert [fault.message for fault in block.bad] == [
        (
            "o.xml, line 16385, column x: the element comes 2 times, and came once in the rows before; "
            "the option lists can make the column a list"
        )
    ]
    assert block.table.to_pylist() == [{"x": "1"}]
    blocks = list(read(Input(Body(body, "o.xml")), XmlOptions(lists=["x"]), START))
    assert [block.table["x"].type for block in blocks] == [pa.list_(pa.string())] * 2
    assert blocks[1].table["x"].to_pylist() == [["1", "2"], ["1"]]


def test_a_list_within_a_record_is_named_by_its_path() -> None:
    options = XmlOptions(lists=["items/item"])

    assert rows("<a><r><items><item>1</item></items></r></a>", options) == [{"items": {"item": ["1"]}}]


def test_values_of_a_column_that_are_texts_and_records_become_records() -> None:
    body = '<a><r><x>1</x></r><r><x u="e">2</x></r></a>'

    assert rows(body) == [{"x": {"#text": "1", "@u": None}}, {"x": {"#text": "2", "@u": "e"}}]


def test_a_choice_of_columns_keeps_the_number_of_rows() -> None:
    body = b"<a><r><x>1</x><y>1</y></r>" + b"<r><x>1</x></r>" * 20_000 + b"</a>"
    blocks = list(read(Input(Body(body)), XmlOptions(columns=["y"]), START))

    assert [block.table.column_names for block in blocks] == [["y"], ["y"]]
    assert sum(block.table.num_rows for block in blocks) == 20_001


def test_many_names_in_few_rows_each_are_an_error() -> None:
    body = "".join(f"<r><x{n % 9000}/></r>" for n in range(16_000))
    with pytest.raises(TooLargeError, match="the option columns"):
        rows(f"<a>{body}</a>")


def test_types_are_those_of_the_option_and_an_empty_element_is_null_then() -> None:
    body = "<a><r><n>7</n><on>2026-05-01</on></r><r><n/><on></on></r></a>"
    [block] = read(Input(Body(body.encode())), XmlOptions(column_types={"n": "uint64", "on": "date"}), START)

    assert block.table.schema.types == [pa.uint64(), pa.date32()]
    assert block.table["n"].to_pylist() == [7, None]


def test_reading_goes_on_at_each_block_and_gives_the_same_blocks() -> None:
    odd = {n: f'<x y="{n}"/>' for n in range(7, 50_000, 5000)}
    rows_ = "".join(f"<r><n>{n}</n>{odd.get(n, '')}</r>\n" for n in range(50_000))
    file = Input(Body(f"<a>\n{rows_}</a>".encode()))
    blocks = list(read(file, XmlOptions(), START))

    assert len(blocks) == 4
    assert [block.start.line for block in blocks] == [2, 16_386, 32_770, 49_154]
    for index, block in enumerate(blocks):
        again = list(read(file, XmlOptions(), block.start, block.table.schema))
        assert [found.start for found in again] == [found.start for found in blocks[index:]]
        assert all(a.table.to_pylist() == b.table.to_pylist() for a, b in zip(again, blocks[index:], strict=True))
