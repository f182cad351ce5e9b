"""XML in the suite: written by lxml."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from lxml import etree

from rota.options import XmlOptions
from tests.contract.formats.case import BadSample, Case, rows_of


def text_of(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def write(rows: Sequence[dict[str, Any]]) -> bytes:
    root = etree.Element("orders")
    for row in rows:
        order = etree.SubElement(root, "order")
        for name, value in row.items():
            etree.SubElement(order, name).text = text_of(value)
    return etree.tostring(root, encoding="utf-8", xml_declaration=True)


def values(*texts: str) -> bytes:
    return f"<orders>{''.join(f'<order>{text}</order>' for text in texts)}</orders>".encode()


GOOD = write(rows_of(3))
CASE = Case(
    format="xml",
    options=XmlOptions(column_types={"id": "int64", "price": "float64", "paid": "bool"}),
    write=write,
    typed={
        "text": (values("<x>007</x>", "<x>1e3</x>"), pa.string(), ["007", "1e3"]),
        "null against empty": (
            values("<x>a</x>", "<x/>", "<x></x>", "", "<y>1</y>"),
            pa.string(),
            ["a", "", "", None, None],
        ),
        "lists": (values("<x>1</x><x>2</x>", "<x>3</x>"), pa.list_(pa.string()), [["1", "2"], ["3"]]),
        "records": (
            values('<x a="1"><b>2</b></x>'),
            pa.struct([("@a", pa.string()), ("b", pa.string())]),
            [{"@a": "1", "b": "2"}],
        ),
    },
    bad=[
        BadSample(
            body=values("<id>1</id>", "<id>x</id>", "<id>3</id>"),
            rows=[{"id": 1}, {"id": 3}],
            before=1,
            says=["line 1", "id", "'x'", "column_types"],
            options=XmlOptions(column_types={"id": "int64"}),
        )
    ],
    broken={
        "cut": GOOD[:-4],
        "two roots": GOOD + b"<orders/>",
        "text behind the root": GOOD + b"x",
        "tags that cross": GOOD.replace(b"</order></orders>", b"</orders></order>"),
        "an entity that is not declared": GOOD.replace(b"</order></orders>", b"<z>&nope;</z></order></orders>"),
        "bytes that are no UTF-8": GOOD.replace(b"</order></orders>", b"<z>\xff</z></order></orders>"),
    },
    empty=b"<orders/>",
    too_deep=b"<orders>" + b"<a>" * 1000 + b"</a>" * 1000 + b"</orders>",
)
