"""Builds the rows of an XML document out of the events of its parser."""

import re
from typing import Any, NoReturn
from xml.parsers import expat

from actors.formats.block import BadRowError
from actors.formats.limits import Limits
from actors.formats.types import SHOWN_CHARACTERS
from actors.formats.xml_shape import FlatRow
from events.batch import FileFault
from rota.errors import TooLargeError

MAX_ELEMENTS = 500_000
"""Elements of one row."""
MAX_NAMES = 100_000
"""Names of elements and attributes in one document."""
MAX_DOCTYPE_BYTES = 1024 * 1024
NIL = ("http://www.w3.org/2001/XMLSchema-instance\x01nil", {"true", "1"})
TEXT = "#text"
TAKEN = "\x02"
"""Before a name that is given, among the names of an element's fields."""
MAX_FLAT_NAMES = 1000
"""Rows with more names than this are not read by a pattern."""

_REFERENCES = re.compile(rb"&(?!(?:amp|apos|gt|lt|quot);|#)")


class _Element:
    """An element that is not at its end."""

    __slots__ = ("children", "column", "flat", "keys", "name", "nil", "pieces", "record")

    def __init__(self, name: str, column: str, keys: dict[str, str]) -> None:
        self.name = name
        self.column = column
        self.keys = keys
        self.record: dict[str, Any] = {}
        self.pieces: list[str] = []
        self.children = False
        self.flat = True
        self.nil = False

    def value(self) -> Any:
        """Return the text if there is nothing else, else the record."""
        record = self.record
        if self.nil and not self.children:
            return record or None
        text = "".join(self.pieces)
        if not record:
            return text
        if text and (text.strip(" \t\n") or not self.children):
            if TEXT in record:  # no name of XML has this character
                raise AssertionError
            record[TEXT] = text
        return record


class RowBuilder:
    """The parser of one document: text goes in, rows come out.

    `rows` are whole rows; of each, `lines` has the line on which it begins, and `sizes` its bytes.
    """

    def __init__(self, path: str, row: str | None, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._wanted = [part for part in row.split("/") if part] if row else []
        self._names: dict[str, str] = {}
        self._keys: dict[str, dict[str, str]] = {}
        self._numbers: dict[tuple[int, str], int] = {}
        """By the identity of an element's keys and a name there: the next number for that name."""
        self._containers: list[str] = []
        self._open: list[_Element] = []
        self._fed = 0
        self._row_start = 0
        self._elements = 0
        self._doctype_start: int | None = None
        self._matched = False
        self._others = False
        self.has_doctype = False
        self.namespaces = 0
        """Grows when a prefix gets another meaning outside of rows."""
        self.rows: list[dict[str, Any]] = []
        self.lines: list[int] = []
        self.sizes: list[int] = []
        self.last_tag: str | None = None
        """The tag of the last row, as it is written."""
        self.last_flat: FlatRow | None = None
        """The last row if it is flat."""
        self._parser = parser = expat.ParserCreate("utf-8", "\x01", self._names)
        parser.buffer_text = True
        parser.buffer_size = 64 * 1024
        parser.ordered_attributes = True
        parser.specified_attributes = True
        parser.namespace_prefixes = True
        parser.StartDoctypeDeclHandler = self._on_doctype
        parser.EndDoctypeDeclHandler = self._on_doctype_end
        parser.EntityDeclHandler = self._on_entity
        parser.AttlistDeclHandler = self._on_attribute_list
        parser.SkippedEntityHandler = self._on_skipped_entity
        parser.StartNamespaceDeclHandler = self._on_namespace
        parser.EndNamespaceDeclHandler = self._on_namespace
        self._listen()

    @property
    def between_rows(self) -> bool:
        """Whether what was fed ends outside of rows."""
        return not self._open

    @property
    def line(self) -> int:
        """The line at which parsing is."""
        return self._parser.CurrentLineNumber

    @property
    def waiting_bytes(self) -> int:
        """How much was fed of a piece of markup that is not at its end."""
        return max(0, self._fed - self._parser.CurrentByteIndex)

    def feed(self, text: str) -> None:
        """Build rows out of what comes next."""
        self._parse(text.encode(errors="surrogatepass"))
        if self._open and self._fed - self._row_start > self._limits.row_bytes:
            raise TooLargeError(
                f"{self._path}, line {self.line}: a row is larger than {self._limits.row_bytes} bytes "
                "(limit row_bytes)"
            )
        if self.waiting_bytes > self._limits.row_bytes:
            raise TooLargeError(
                f"{self._path}, line {self.line}: a tag or comment is larger than {self._limits.row_bytes} bytes "
                "(limit row_bytes)"
            )
        if self._doctype_start is not None and self._fed - self._doctype_start > MAX_DOCTYPE_BYTES:
            raise TooLargeError(
                f"{self._path}: its document type declaration is larger than {MAX_DOCTYPE_BYTES} bytes"
            )
        if len(self._names) > MAX_NAMES:
            raise TooLargeError(f"{self._path} has more than {MAX_NAMES} names of elements and attributes")

    def check(self, text: str) -> tuple[int, BadRowError | None]:
        """Parse whole rows without building them; return how many characters are right, and what is wrong then."""
        body, before = text.encode(errors="surrogatepass"), self._fed
        parser = self._parser
        parser.StartElementHandler = parser.EndElementHandler = parser.CharacterDataHandler = None
        try:
            self._parse(body)
        except BadRowError as error:
            return len(body[: max(0, parser.ErrorByteIndex - before)].decode(errors="ignore")), error
        self._listen()
        return len(text), None

    def close(self) -> None:
        """Raise BadRowError if this is not the document's end, or the rows are not where they should be."""
        self._parse(b"", final=True)
        if self._wanted and not self._matched and (self._others or len(self._wanted) > 1):
            raise BadRowError(
                FileFault(f"{self._path} has no element {'/'.join(self._wanted)}; see the option row")
            )

    def _listen(self) -> None:
        self._parser.StartElementHandler = self._on_start
        self._parser.EndElementHandler = self._on_end
        self._parser.CharacterDataHandler = self._on_text

    def _parse(self, body: bytes, *, final: bool = False) -> None:
        self._fed += len(body)
        try:
            self._parser.Parse(body, final)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise BadRowError(
                FileFault(f"{self._path}, line {error.lineno}: the XML is broken: {reason}", line=error.lineno)
            ) from error

    def _on_start(self, name: str, attributes: list[str]) -> None:
        opened = self._open
        if len(opened) + len(self._containers) >= self._limits.depth:
            raise TooLargeError(
                f"{self._path}, line {self.line}: elements are deeper than {self._limits.depth} levels "
                "(limit depth)"
            )
        if opened:
            parent = opened[-1]
            parent.children = True
            keys = parent.keys
            column = keys.get(name) or self._key(keys, name, "")
        elif self._is_row(name):
            self._row_start = self._parser.CurrentByteIndex
            self._elements = 0
            self.lines.append(self._parser.CurrentLineNumber)
            column = ""
        else:
            self._containers.append(_local(name))
            self._others = self._others or len(self._containers) > 1
            if len(self._wanted) == len(self._containers) + 1 > 1 and self._containers == self._wanted[:-1]:
                self._matched = True  # the rows' parent is there, so there may be none
            return
        element = _Element(name, column, self._keys.setdefault(name, {}))
        opened.append(element)
        self._elements += 1
        if attributes:
            self._add_attributes(element, attributes)
        if self._elements > MAX_ELEMENTS:
            raise TooLargeError(f"{self._path}, line {self.line}: a row has more than {MAX_ELEMENTS} elements")

    def _on_end(self, _: str) -> None:
        opened = self._open
        if not opened:
            self._containers.pop()
            return
        element = opened.pop()
        value = element.value()
        if not opened:
            self._add_row(element, value)
            return
        parent = opened[-1]
        record, column = parent.record, element.column
        if type(value) is not str:
            parent.flat = False
        if column not in record:
            record[column] = value
        elif type(found := record[column]) is list:
            found.append(value)
        else:
            parent.flat = False
            record[column] = [found, value]
        if len(record) > self._limits.columns:
            raise TooLargeError(
                f"{self._path}, line {self.line}: an element has more than {self._limits.columns} fields "
                "(limit columns)"
            )

    def _on_text(self, text: str) -> None:
        if self._open:
            self._open[-1].pieces.append(text)

    def _is_row(self, name: str) -> bool:
        wanted = self._wanted
        if not wanted:
            return len(self._containers) == 1
        if _local(name) != wanted[-1] or (len(wanted) > 1 and self._containers != wanted[:-1]):
            return False
        self._matched = True
        return True

    def _add_row(self, element: _Element, value: Any) -> None:
        row = value if isinstance(value, dict) else {TEXT: value}
        self.rows.append(row)
        self.sizes.append(self._parser.CurrentByteIndex - self._row_start)
        self.last_tag = _written(element.name)
        self.last_flat = None
        if element.flat and TEXT not in row and len(element.keys) <= MAX_FLAT_NAMES:
            written = {column: _written(name) for name, column in element.keys.items()}
            attributes = [(written[column], column) for column in row if column[0] == "@"]
            children = [(written[column], column) for column in row if column[0] != "@"]
            if not (attributes and self.has_doctype):
                blank = {column for _, column in children if not row[column]}
                self.last_flat = FlatRow(self.last_tag, attributes, children, blank)

    def _add_attributes(self, element: _Element, attributes: list[str]) -> None:
        if self.has_doctype and _REFERENCES.search((self._parser.GetInputContext() or b"")[1:].partition(b"<")[0]):
            self._refuse("has an entity in an attribute that it does not declare")
        if len(attributes) > 2 * self._limits.columns:
            raise TooLargeError(
                f"{self._path}, line {self.line}: an element has more than {self._limits.columns} attributes "
                "(limit columns)"
            )
        keys = element.keys
        for name, value in zip(attributes[::2], attributes[1::2], strict=True):
            if _identity(name) == NIL[0]:
                element.nil = value.strip() in NIL[1]
                element.flat = False
                if element.nil:
                    continue
            element.record[keys.get("@" + name) or self._key(keys, "@" + name, "@")] = value

    def _key(self, keys: dict[str, str], name: str, mark: str) -> str:
        """Return the name of a field: the local one, with a number if another namespace's has it already."""
        identity = "\x01" + _identity(name[len(mark) :])
        key = keys.get(mark + identity)
        if key is None:
            local = key = mark + _local(name[len(mark) :])
            number = self._numbers.get((id(keys), local), 2)
            while TAKEN + key in keys:
                key, number = f"{local}_{number}", number + 1
            if key != local:
                self._numbers[id(keys), local] = number
            keys[mark + identity] = keys[TAKEN + key] = key
        keys[name] = key
        return key

    def _on_namespace(self, *_: object) -> None:
        if not self._open:
            self.namespaces += 1

    def _on_doctype(self, *_: object) -> None:
        self.has_doctype = True
        self._doctype_start = self._parser.CurrentByteIndex

    def _on_doctype_end(self) -> None:
        self._doctype_start = None

    def _on_entity(self, name: str, *_: object) -> None:
        self._refuse(f"declares the entity {name[:SHOWN_CHARACTERS]}, which is not allowed")

    def _on_attribute_list(self, _: str, attribute: str, __: str, default: str | None, ___: int) -> None:
        if default is not None:
            self._refuse(
                f"declares a default of the attribute {attribute[:SHOWN_CHARACTERS]}, which is not allowed"
            )

    def _on_skipped_entity(self, name: str, _: bool) -> None:  # noqa: FBT001 - expat calls it so
        self._refuse(f"does not declare the entity {name[:SHOWN_CHARACTERS]}")

    def _refuse(self, reason: str) -> NoReturn:
        line = self.line
        raise BadRowError(FileFault(f"{self._path}, line {line}: the document {reason}", line=line))


def _identity(name: str) -> str:
    """Return namespace and local name, without the prefix."""
    return "\x01".join(name.split("\x01")[:2])


def _local(name: str) -> str:
    parts = name.split("\x01")
    return parts[min(1, len(parts) - 1)]


def _written(name: str) -> str:
    """Return a name as it stands in the document, with its prefix."""
    parts = name.lstrip("@").split("\x01")
    return f"{parts[2]}:{parts[1]}" if len(parts) == 3 else parts[-1]  # noqa: PLR2004 - namespace, name, prefix
