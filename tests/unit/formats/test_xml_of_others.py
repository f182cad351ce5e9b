"""XML files that were written by other programs."""

from datetime import UTC, datetime

import pytest

from tests.unit.formats.samples import format_by_bytes, table_of


def test_xml_of_pandas_is_read() -> None:
    assert table_of("xml/pandas.xml").to_pylist() == [
        {"id": "1", "name": "Zoë", "price": "1.5", "paid": "True", "at": "2026-03-01 12:30:00.500000"},
        {"id": "2", "name": 'a "b", c', "price": "1e-07", "paid": "False", "at": ""},
        {"id": "3", "name": "", "price": "", "paid": "True", "at": "1969-07-20 20:17:40"},
    ]
    types = {"id": "uint8", "price": "float64", "at": "timestamp"}
    typed = table_of("xml/pandas.xml", column_types=types, columns=list(types))
    assert typed.to_pylist() == [
        {"id": 1, "price": 1.5, "at": datetime.fromisoformat("2026-03-01T12:30:00.500000")},
        {"id": 2, "price": 1e-7, "at": None},
        {"id": 3, "price": None, "at": datetime.fromisoformat("1969-07-20T20:17:40")},
    ]


def test_xml_of_xmltodict_is_read() -> None:
    assert table_of("xml/xmltodict.xml").to_pylist() == [
        {"@id": "1", "name": "Zoë & <Z>", "tag": ["a", "b"]},
        {"@id": "2", "name": "", "tag": ["c"]},
    ]


def test_xml_of_fast_xml_parser_is_read() -> None:
    assert table_of("xml/fast-xml-parser.xml").to_pylist() == [
        {
            "@id": "1",
            "name": 'Zoë & "Z"',
            "item": [{"@sku": "a", "#text": "2"}, {"@sku": "b", "#text": "1"}],
            "note": "\n      <b>5 > 3</b>\n    ",
        },
        {"@id": "2", "name": "", "item": [{"@sku": "c", "#text": "4"}], "note": None},
    ]


def test_entries_of_feeds_are_rows() -> None:
    address = "https://example.org/"
    assert table_of("xml/rss.xml", row="item").to_pylist() == [
        {
            "title": f"Item {n} <new>",
            "link": f"{address}{n}",
            "guid": {"@isPermaLink": "true", "#text": f"{address}{n}"},
            "category": ["a", "b"][:n],
            "pubDate": f"{day} Mar 2026 00:00:00 +0000",
            "description": text,
        }
        for n, day, text in ((1, "Sun, 01", None), (2, "Mon, 02", "<p>Zoë</p>"))
    ]
    types = {"updated": "timestamp[UTC]", "published": "timestamp[Europe/Berlin]"}
    assert table_of("xml/atom.xml", row="feed/entry", column_types=types).to_pylist() == [
        {
            "id": f"{address}{n}",
            "title": f"Item {n} <new>",
            "updated": datetime(2026, 3, n, tzinfo=UTC),
            "link": {"@href": f"{address}{n}"},
            "category": [{"@term": term} for term in "ab"[:n]],
            "published": datetime(2026, 3, n, tzinfo=UTC),
            "content": content,
        }
        for n, content in ((1, None), (2, {"@type": "CDATA", "#text": "<p>Zoë</p>"}))
    ]


def test_orders_in_the_answer_of_a_soap_service_are_rows() -> None:
    table = table_of("xml/soap.xml", row="Order", column_types={"Paid": "bool", "At": "timestamp[UTC]"})

    assert table.to_pylist() == [
        {
            "Id": {"@type": "xsd:int", "#text": "1"},
            "Name": "Zoë",
            "Paid": True,
            "At": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        },
        {
            "Id": {"@type": "xsd:int", "#text": "2"},
            "Name": None,
            "Paid": False,
            "At": datetime(2026, 3, 1, 23, tzinfo=UTC),
        },
    ]


def test_points_of_a_gpx_track_are_rows() -> None:
    types = {"@lat": "decimal(8,5)", "@lon": "float64", "ele": "float32", "time": "timestamp[UTC]"}
    table = table_of("xml/gpx.xml", row="trkpt", column_types=types)

    assert [str(lat) for lat in table["@lat"].to_pylist()] == ["46.94810", "46.94815", "46.95000"]
    assert table["@lon"].to_pylist() == [7.4474, 7.44752, -7.0]
    assert [ele and round(ele, 1) for ele in table["ele"].to_pylist()] == [540.2, 540.4, None]
    assert table["time"].to_pylist() == [
        datetime(2026, 3, 1, 7, tzinfo=UTC),
        datetime(2026, 3, 1, 7, 0, 5, 500000, tzinfo=UTC),
        None,
    ]
    assert table["extensions"].to_pylist() == [{"TrackPointExtension": {"hr": "101"}}, None, None]


def test_a_drawing_with_a_public_document_type_is_read() -> None:
    (row,) = table_of("xml/svg.xml").to_pylist()

    assert row == {
        "@id": "layer1",
        "rect": {"@id": "r1", "@x": "0", "@y": "0", "@width": "40", "@height": "20", "@style": "fill:#fff"},
        "a": {
            "@id": "a1",
            "@href": "#r1",
            "text": {"@x": "2", "@y": "10", "tspan": {"@font-weight": "bold", "#text": "Zoë"}, "#text": "Hi !"},
        },
    }


def test_rows_of_a_sheet_in_the_xml_of_excel_2003_are_read() -> None:
    table = table_of("xml/libreoffice.xml", row="Workbook/Worksheet/Table/Row")

    texts = [[cell["Data"] and cell["Data"]["#text"] for cell in row["Cell"]] for row in table.to_pylist()]
    assert texts == [
        ["id", "name", "price", "paid", "at"],
        ["1", "Zoë", "1.5", "1", "2026-03-01T12:30:00.5000"],
        ["2", 'a "b", c', "0.0000001", "0", None],
        ["3", "1", "1969-07-20T20:17:40.000"],
    ]
    assert [cell["@Index"] for cell in table["Cell"][3].as_py()] == [None, "4", None]


@pytest.mark.parametrize(
    "name", ["atom", "fast-xml-parser", "gpx", "libreoffice", "pandas", "rss", "soap", "svg", "xmltodict"]
)
def test_the_first_bytes_tell_xml(name: str) -> None:
    assert format_by_bytes(f"xml/{name}.xml") == "xml"
