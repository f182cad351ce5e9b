"""The workbook in an XLSX file: its sheets, and each of them as a small workbook of its own.

What is handed on are the parts that were checked, under names of our own: no sheet can be another one.
"""

from posixpath import join, normpath

from lxml import etree
from msgspec import Struct

from actors.formats.sheet_cells import Cells
from actors.formats.types import SHOWN_CHARACTERS
from actors.formats.xlsx_cells import cells_of, empty_texts_of
from actors.formats.zip_parts import Parts, archive

WORKBOOK = "xl/workbook.xml"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
CONTENT_TYPES = (
    b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    b'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    b'<Default Extension="xml" ContentType="application/xml"/></Types>'
)


class BookSheet(Struct):
    """A sheet as the workbook lists it; `kind` is the last part of the type of its relationship."""

    name: str
    hidden: bool
    kind: str
    part: str


class Book:
    """A workbook whose parts are read once, when they are needed."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        if WORKBOOK not in parts.names:
            binary = "xl/workbook.bin" in parts.names
            raise parts.fault(
                "it is XLSB, which is not read: save it as XLSX" if binary else f"it has no {WORKBOOK}"
            )
        relations = self._relations()
        root = self._root(WORKBOOK)
        self._is_1904 = any(one.get("date1904") in {"1", "true"} for one in root.iter("{*}workbookPr"))
        self.sheets = [self._sheet(element, relations) for element in root.iter("{*}sheet")]
        if not self.sheets:
            raise parts.fault("it has no sheet")
        parts_of = dict(relations.values())
        self._styles = parts.xml(parts_of["styles"]) if "styles" in parts_of else None
        self._texts = parts.xml(parts_of["sharedStrings"]) if "sharedStrings" in parts_of else None
        self._empty_texts = empty_texts_of(parts, "sharedStrings", self._texts) if self._texts else frozenset()

    def sheet(self, sheet: BookSheet) -> tuple[bytes, Cells]:
        """Return a workbook that has this sheet alone, and what there is to know of its cells."""
        data = self._parts.xml(sheet.part)
        cells = cells_of(self._parts, sheet.part, sheet.name, data, self._empty_texts)
        relations = [("rId1", "worksheet", "worksheets/sheet1.xml")]
        found = {"xl/worksheets/sheet1.xml": data}
        if self._styles:
            relations.append(("rId2", "styles", "styles.xml"))
            found["xl/styles.xml"] = self._styles
        if self._texts and cells.has_shared:
            relations.append(("rId3", "sharedStrings", "sharedStrings.xml"))
            found["xl/sharedStrings.xml"] = self._texts
        return archive(
            {
                "[Content_Types].xml": CONTENT_TYPES,
                "_rels/.rels": _relations([("rId1", "officeDocument", "xl/workbook.xml")]),
                "xl/_rels/workbook.xml.rels": _relations(relations),
                WORKBOOK: (
                    f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><workbookPr date1904="{int(self._is_1904)}"/>'
                    '<sheets><sheet name="rows" sheetId="1" r:id="rId1"/></sheets></workbook>'
                ).encode(),
                **found,
            }
        ), cells

    def _relations(self) -> dict[str, tuple[str, str]]:
        """Return the kind and the part of each relationship of the workbook, by its id."""
        relations = {}
        for one in self._root("xl/_rels/workbook.xml.rels").iter("{*}Relationship"):
            target = one.get("Target", "")
            part = target.removeprefix("/") if target.startswith("/") else normpath(join("xl", target))
            relations[one.get("Id", "")] = one.get("Type", "").rpartition("/")[2], part
        return relations

    def _sheet(self, element: etree._Element, relations: dict[str, tuple[str, str]]) -> BookSheet:
        name = element.get("name", "")
        ids = [value for key, value in element.attrib.items() if str(key).endswith("}id")]
        if not ids or (relation := relations.get(str(ids[0]))) is None:
            raise self._parts.fault(f"its sheet {name[:SHOWN_CHARACTERS]} has no part")
        kind, part = relation
        return BookSheet(name, element.get("state", "visible") != "visible", kind, part)

    def _root(self, name: str) -> etree._Element:
        with self._parts.xml_faults(name):
            return etree.fromstring(self._parts.xml(name), etree.XMLParser(resolve_entities=False, no_network=True))


def _relations(relations: list[tuple[str, str, str]]) -> bytes:
    inner = "".join(
        f'<Relationship Id="{id_}" Type="{OFFICE}/{kind}" Target="{target}"/>' for id_, kind, target in relations
    )
    return f'<Relationships xmlns="{RELATIONS}">{inner}</Relationships>'.encode()
