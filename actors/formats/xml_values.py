"""The values of XML rows in one form a column: single, list or record, wherever the document leaves that open."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from msgspec.structs import replace

from actors.formats.line_blocks import Row
from actors.formats.types import text_of
from actors.formats.xml_builder import TEXT
from events.batch import FileFault
from rota.options import XmlOptions


class Form:
    """Whether a field is a list, and a record with which fields; `record` is None as long as no value was seen."""

    __slots__ = ("fields", "many", "record")

    def __init__(self, type_: pa.DataType | None = None) -> None:
        self.many = False
        self.record: bool | None = None
        self.fields: dict[str, Form] = {}
        item = type_
        if type_ is not None and pa.types.is_list(type_):
            self.many, item = True, type_.value_type
        if item is not None and not pa.types.is_null(item):
            self.record = pa.types.is_struct(item)
            if self.record:
                self.fields = {item.field(i).name: Form(item.field(i).type) for i in range(item.num_fields)}

    def see(self, value: Any) -> None:
        """Take the form in which a value fits, too."""
        if isinstance(value, list):
            self.many = True
            for item in value:
                self.see(item)
        elif isinstance(value, dict):
            self.record = True
            for name, field in value.items():
                self.fields.setdefault(name, Form()).see(field)

    def fit(self, value: Any) -> Any:
        """Return the value in this form; as it is if it does not fit."""
        if value is None:
            return None
        if self.many:
            return [self._fit_one(item) for item in (value if isinstance(value, list) else [value])]
        return self._fit_one(value)

    def force_list(self, path: Sequence[str]) -> None:
        """Make the field at the end of a path of names a list."""
        if path:
            self.fields.setdefault(path[0], Form()).force_list(path[1:])
        else:
            self.many = True

    @property
    def plain(self) -> bool:
        """Whether a text is in this form already."""
        return not self.many and not self.record

    def _fit_one(self, value: Any) -> Any:
        if not self.record:
            return value
        if isinstance(value, str):
            value = {TEXT: value} if value else {}
        if isinstance(value, dict):
            fields = self.fields
            for name, field in value.items():
                if name in fields:
                    value[name] = fields[name].fit(field)
        return value


class XmlValues:
    """Brings the rows of one document into the form of their columns."""

    def __init__(self, path: str, options: XmlOptions) -> None:
        self._path = path
        self._lists = [path.split("/") for path in options.lists]
        self._column_types = options.column_types
        self._blank_is_null = {
            name for name, type_ in options.column_types.items() if type_ not in {"string", "json", "binary"}
        }

    def fit(self, columns: dict[str, list[Any]], rows: Sequence[Row], schema: pa.Schema | None) -> None:
        """Change the columns of a block, which follow those of `schema`; `rows` may hold more than texts.

        Known columns keep their form; a new one gets that which fits all its values here.
        """
        for name in self._blank_is_null & columns.keys():
            if "" in columns[name]:
                columns[name] = [None if value == "" else value for value in columns[name]]
        for name, form in self._forms(rows, schema).items():
            if not form.plain and name in columns and name not in self._column_types:
                columns[name] = [form.fit(value) for value in columns[name]]

    def advise(self, fault: FileFault, columns: dict[str, list[Any]], index: int) -> FileFault:
        """Name the option that helps where an element comes more than once that came once in each row before."""
        column = fault.column or ""
        names = [name for name in columns if column == name or column.startswith(f"{name}.")]
        found = _repeated({name: columns[name][index] for name in names}, column, fault.text)
        if not found or found[0][0] in self._column_types:
            return fault
        path, times = found
        what = "the column" if len(path) == 1 else "/".join(path)
        message = (
            f"{self._path}, line {fault.line}, column {column}: the element comes {times} times, and "
            f"came once in the rows before; the option lists can make {what} a list"
        )
        return replace(fault, message=message)

    def _forms(self, rows: Sequence[Row], schema: pa.Schema | None) -> dict[str, Form]:
        known = {field.name: Form(field.type) for field in schema or () if not pa.types.is_null(field.type)}
        root = Form()
        root.fields = dict(known)
        for path in self._lists:
            root.force_list(path)
        for row in rows:
            for name, value in row.items():
                if name not in known and not isinstance(value, str):
                    root.fields.setdefault(name, Form()).see(value)
        return root.fields


def _repeated(value: Any, column: str, text: str | None) -> tuple[list[str], int] | None:
    """Return the path of names that are a column, and how often its element comes; None if this is not at fault."""
    if isinstance(value, list):
        return next(filter(None, (_repeated(item, column, text) for item in value)), None)
    for name, field in value.items() if isinstance(value, dict) else ():
        if name == column and isinstance(field, list) and text_of(field) == text:
            return [name], len(field)
        if column.startswith(f"{name}.") and (found := _repeated(field, column[len(name) + 1 :], text)):
            return [name, *found[0]], found[1]
    return None
