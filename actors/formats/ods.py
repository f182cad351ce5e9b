"""ODS by pyexcel-ods3: the rows of sheets."""

from collections.abc import Iterator
from io import BytesIO

import pyarrow as pa
from lxml import etree

from actors.formats.block import Block
from actors.formats.input import Input
from actors.formats.ods_cells import TABLE
from actors.formats.ods_rows import MEDIA_TYPE, ROW_TAG, rows_of
from actors.formats.sheet import Row, Sheet, blocks
from actors.formats.types import SHOWN_CHARACTERS
from actors.formats.zip_parts import Parts
from events.batch import Position
from rota.options import OdsOptions

CONTENT, MANIFEST, MIMETYPE = "content.xml", "META-INF/manifest.xml", "mimetype"
TABLE_TAG = f"{{{TABLE}}}table"
STYLE_TAG = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}style"
PROPERTIES_TAG = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}table-properties"
NAME = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}name"


def read(file: Input, options: OdsOptions, start: Position, schema: pa.Schema | None = None) -> Iterator[Block]:
    """Yield the rows from a position on; the document is held in memory, and read from its start."""
    parts = Parts(file, what="ODS")
    if MIMETYPE in parts.names and not (media := parts.read(MIMETYPE)).startswith(MEDIA_TYPE.encode()):
        raise parts.fault(f"it is of the type {media[:SHOWN_CHARACTERS].decode('ascii', 'replace')}")
    if MANIFEST in parts.names and b"encryption-data" in parts.read(MANIFEST):
        raise parts.fault("it is protected by a password")
    content = _Content(parts, file.limits.columns)
    yield from blocks(file, options, start, schema, content.sheets())


class _Content:
    """The tables in content.xml, one after the other."""

    def __init__(self, parts: Parts, max_columns: int) -> None:
        self._parts = parts
        self._max_columns = max_columns
        self._events = iter(
            etree.iterparse(
                BytesIO(parts.xml(CONTENT)),
                events=("start", "end"),
                tag=(STYLE_TAG, TABLE_TAG, ROW_TAG),
                resolve_entities=False,
                no_network=True,
                huge_tree=False,
            )
        )
        self._hidden_styles: set[str] = set()
        self._in_table = False

    def sheets(self) -> Iterator[Sheet]:
        """Yield the sheets; the rows of one are passed over if they were not read before the next."""
        number = 0
        while (event := self._next()) is not None:
            kind, element = event
            if element.tag == STYLE_TAG and kind == "end":
                self._look_at_style(element)
            elif element.tag == TABLE_TAG and kind == "start" and _is_sheet(element):
                number += 1
                self._in_table = True
                name = element.get(f"{{{TABLE}}}name", f"{number}")

                def rows(name: str = name) -> Iterator[Row]:
                    return self._rows(name)

                yield Sheet(number, name, rows, element.get(f"{{{TABLE}}}style-name") in self._hidden_styles)
                for _ in self._elements():
                    pass
        if not number:
            raise self._parts.fault("it has no sheet")

    def _rows(self, name: str) -> Iterator[Row]:
        rows = rows_of(self._parts, name, self._elements(), self._max_columns)
        while True:
            with self._parts.xml_faults(CONTENT):
                row = next(rows, None)
            if row is None:
                return
            yield row

    def _elements(self) -> Iterator[etree._Element]:
        """Yield the rows up to the end of the table; what was yielded is emptied after use."""
        depth = 1
        while self._in_table and (event := self._next()) is not None:
            kind, element = event
            if element.tag == TABLE_TAG:
                depth += 1 if kind == "start" else -1
                if depth > 1:
                    raise self._parts.fault("it has a table within a cell")
                self._in_table = depth > 0
            elif element.tag == ROW_TAG and kind == "end":
                yield element
                element.clear()
                parent = element.getparent()
                while parent is not None and element.getprevious() is not None:
                    del parent[0]

    def _next(self) -> tuple[str, etree._Element] | None:
        with self._parts.xml_faults(CONTENT):
            return next(self._events, None)

    def _look_at_style(self, style: etree._Element) -> None:
        properties = style.find(PROPERTIES_TAG)
        if properties is not None and properties.get(f"{{{TABLE}}}display") == "false":
            self._hidden_styles.add(style.get(NAME, ""))


def _is_sheet(table: etree._Element) -> bool:
    parent = table.getparent()
    return parent is not None and str(parent.tag).endswith("}spreadsheet")
