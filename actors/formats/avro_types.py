"""Avro schemas as Arrow types, and Avro's values as what Arrow takes."""

from collections.abc import Callable, Mapping
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID

import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from actors.formats.block import BadRowError
from actors.formats.limits import Limits
from events.batch import FileFault
from rota.errors import TooLargeError

Convert = Callable[[Any], Any]

PRIMITIVES: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "bytes": pa.binary(),
    "double": pa.float64(),
    "float": pa.float32(),
    "int": pa.int32(),
    "long": pa.int64(),
    "null": pa.null(),
    "string": pa.string(),
}
LOGICAL: dict[tuple[str, str], pa.DataType] = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-nanos"): pa.timestamp("ns"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-nanos"): pa.timestamp("ns", "UTC"),
}
"""Logical types whose numbers are Arrow's."""
MOST_DIGITS_128, MOST_DIGITS = 38, 76
KINDS = {
    "array": list,
    "boolean": bool,
    "bytes": bytes,
    "double": float,
    "enum": str,
    "fixed": bytes,
    "float": float,
    "int": int,
    "long": int,
    "map": dict,
    "record": dict,
    "string": str,
}
"""What fastavro returns for each type when logical types are left out."""
DURATION = pa.struct([("months", pa.uint32()), ("days", pa.uint32()), ("milliseconds", pa.uint32())])


class Column(Struct):
    """An Avro type: as what Arrow takes its values, what they are then, and what is done with one before."""

    raw: pa.DataType
    type: pa.DataType
    convert: Convert | None = None
    empty: bool = False
    """Whether a value may take no byte, so that a count alone can claim any number of them."""
    label: str = ""
    """The name of the branch in a union."""
    base: str = ""
    leaves: int = 1
    """How many columns of values it has, with those of records within it."""
    fields: dict[str, "Column"] = {}
    """Those of a record."""
    many: bool = False
    """Whether it has arrays or maps of records, of which a few bytes become many objects."""


class Types:
    """The types of one file; its named types may be used again by their names."""

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._named: dict[str, Column | None] = {}

    def column(self, schema: Any, depth: int = 0) -> Column:
        """Return the column for a schema that fastavro has parsed."""
        if depth > self._limits.depth:
            raise TooLargeError(
                f"{self._path}: its schema is nested too deeply; {self._limits.depth} levels are read"
            )
        if isinstance(schema, list):
            return self._union(schema, depth)
        if isinstance(schema, str):
            return self._primitive(schema)
        kind = schema["type"]
        if isinstance(kind, list | dict):
            return self.column(kind, depth + 1)
        match kind:
            case "record" | "error":
                return self._record(schema, depth)
            case "enum":
                return self._keep(schema["name"], Column(pa.string(), pa.string(), base="enum"))
            case "fixed":
                return self._keep(schema["name"], self._fixed(schema))
            case "array":
                return self._array(self.column(schema["items"], depth + 1))
            case "map":
                return _map(self.column(schema["values"], depth + 1))
            case _:
                return self._logical(kind, schema)

    def _primitive(self, name: str) -> Column:
        if name in PRIMITIVES:
            type_ = PRIMITIVES[name]
            return Column(type_, type_, empty=name == "null", label=name, base=name)
        if self._named.get(name) is None:
            raise self._error(f"the type {name} holds itself, which a table cannot")
        return self._named[name]  # type: ignore[return-value] # it is not None

    def _logical(self, kind: str, schema: Mapping[str, Any]) -> Column:
        logical = schema.get("logicalType")
        if logical == "decimal" and kind == "bytes":
            return self._decimal(schema, "bytes")
        if type_ := LOGICAL.get((kind, str(logical))):
            return Column(PRIMITIVES[kind], type_, label=str(logical), base=kind)
        return self._primitive(kind)

    def _fixed(self, schema: Mapping[str, Any]) -> Column:
        size, logical = schema["size"], schema.get("logicalType")
        if not 0 <= size <= self._limits.row_bytes:
            raise TooLargeError(f"{self._path}: the type {schema['name']} claims {size} bytes")
        if logical == "decimal":
            return self._decimal(schema, "fixed")
        if logical == "duration" and size == 12:  # noqa: PLR2004 - as Avro says
            return Column(DURATION, DURATION, _duration, base="fixed")
        if logical == "uuid" and size == 16:  # noqa: PLR2004 - as Avro says
            return Column(pa.string(), pa.string(), lambda value: str(UUID(bytes=value)), base="fixed")
        return Column(pa.binary(), pa.binary(), empty=size == 0, base="fixed")

    def _decimal(self, schema: Mapping[str, Any], base: str) -> Column:
        digits, scale = schema.get("precision", 0), schema.get("scale", 0)
        if not isinstance(digits, int) or not isinstance(scale, int) or not 0 < digits <= MOST_DIGITS:
            raise self._error(f"decimals of {digits} digits are not read; at most {MOST_DIGITS}")
        if not 0 <= scale <= digits:
            raise self._error(f"a decimal has {scale} of its {digits} digits behind the point")
        make = pa.decimal128 if digits <= MOST_DIGITS_128 else pa.decimal256
        type_ = make(digits, scale)

        def convert(value: bytes) -> Decimal:
            with localcontext(prec=MOST_DIGITS * 4):
                return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-scale)

        return Column(
            type_, type_, convert, label="decimal", base=base, empty=base == "fixed" and schema["size"] == 0
        )

    def _record(self, schema: Mapping[str, Any], depth: int) -> Column:
        self._named[schema["name"]] = None
        fields = {field["name"]: self.column(field["type"], depth + 1) for field in schema["fields"]}
        leaves = sum(field.leaves for field in fields.values())
        if leaves > self._limits.columns:
            raise TooLargeError(f"{self._path}: its schema has more than {self._limits.columns} columns and fields")
        converts = {name: field.convert for name, field in fields.items() if field.convert}

        def convert(value: dict[str, Any]) -> dict[str, Any]:
            changed = {name: change(value[name]) for name, change in converts.items() if value[name] is not None}
            return {**value, **changed}

        return self._keep(
            schema["name"],
            Column(
                pa.struct([(name, field.raw) for name, field in fields.items()]),
                pa.struct([(name, field.type) for name, field in fields.items()]),
                convert if converts else None,
                all(field.empty for field in fields.values()),
                base="record",
                leaves=1 + leaves,
                fields=fields,
                many=any(field.many for field in fields.values()),
            ),
        )

    def _keep(self, name: str, column: Column) -> Column:
        column.label = name
        self._named[name] = column
        return column

    def _array(self, items: Column) -> Column:
        if items.empty:
            raise self._error("an array of values without bytes could claim any length, so it is not read")
        change = items.convert

        def convert(values: list[Any]) -> list[Any]:
            return [None if value is None or change is None else change(value) for value in values]

        return Column(
            pa.list_(items.raw),
            pa.list_(items.type),
            convert if change else None,
            label="array",
            base="array",
            leaves=1 + items.leaves,
            many=items.many or items.base not in KINDS or KINDS[items.base] in (dict, list),
        )

    def _union(self, schema: list[Any], depth: int) -> Column:
        branches = [self.column(branch, depth + 1) for branch in schema]
        branches = [branch for branch in branches if branch.base != "null"]
        if not branches:
            return Column(pa.null(), pa.null(), base="null", label="null")
        merged = _merged(branches)
        if merged:
            return replace(merged, empty=False)
        return self._one_of(branches)

    def _one_of(self, branches: list[Column]) -> Column:
        """Return a record with a field for each branch, of which one is not null."""
        named = [branch for branch in branches if branch.base in ("record", "enum", "fixed")]
        tagged = len(named) > 1
        labels = [branch.label.rsplit(".", 1)[-1] for branch in branches]
        if len(set(labels)) < len(labels):
            labels = [branch.label for branch in branches]
        by_kind: dict[Any, tuple[str, Convert | None]] = {}
        by_name: dict[str, tuple[str, Convert | None]] = {}
        for label, branch in zip(labels, branches, strict=True):
            if tagged and branch in named:
                by_name[branch.label] = (label, branch.convert)
            elif (kind := KINDS[branch.base]) in by_kind:
                raise self._error(
                    f"{label} and {by_kind[kind][0]} in one union cannot be told apart, so it is not read"
                )
            else:
                by_kind[kind] = (label, branch.convert)

        def convert(value: Any) -> Any:
            if isinstance(value, tuple):
                label, change = by_name[value[0]]
                value = value[1]
            else:
                label, change = by_kind[type(value)]
            return {label: change(value) if change else value}

        return Column(
            pa.struct([(label, branch.raw) for label, branch in zip(labels, branches, strict=True)]),
            pa.struct([(label, branch.type) for label, branch in zip(labels, branches, strict=True)]),
            convert,
            base="record",
            label="union",
            leaves=sum(branch.leaves for branch in branches),
            many=any(branch.many for branch in branches),
        )

    def _error(self, reason: str) -> BadRowError:
        return BadRowError(FileFault(f"{self._path}: {reason}", row=0))


def _map(values: Column) -> Column:
    change = values.convert

    def convert(value: dict[str, Any]) -> list[tuple[str, Any]]:
        return [(key, item if item is None or change is None else change(item)) for key, item in value.items()]

    return Column(
        pa.map_(pa.string(), values.raw),
        pa.map_(pa.string(), values.type),
        convert if change else lambda value: list(value.items()),
        label="map",
        base="map",
        leaves=2 + values.leaves,
        many=True,
    )


def _merged(branches: list[Column]) -> Column | None:
    """Return the one type that holds all branches, if there is."""
    if len(branches) == 1:
        return branches[0]
    plain = {branch.base for branch in branches}
    if any(branch.raw != branch.type or branch.convert for branch in branches):
        return None
    for bases, base in (
        ({"int", "long"}, "long"),
        ({"int", "float", "double"}, "double"),
        ({"string", "enum"}, "string"),
    ):
        if plain <= bases and not (base == "string" and [b.base for b in branches].count("enum") > 1):
            return Column(PRIMITIVES[base], PRIMITIVES[base], label=base, base=base)
    return None


def _duration(value: bytes) -> dict[str, int]:
    months, days, milliseconds = (int.from_bytes(value[at : at + 4], "little") for at in (0, 4, 8))
    return {"months": months, "days": days, "milliseconds": milliseconds}


def lean(schema: Any, *, logical: bool) -> Any:
    """Return a schema without what is not needed to decode, and without logical types if these are not wanted."""
    left_out = {"default", "aliases", "doc", "order"} | (set() if logical else {"logicalType"})
    if isinstance(schema, list):
        return [lean(branch, logical=logical) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: value for key, value in schema.items() if key not in left_out}
    for key in ("type", "items", "values"):
        if key in result:
            result[key] = lean(result[key], logical=logical)
    if "fields" in result:
        result["fields"] = [
            {"name": field["name"], "type": lean(field["type"], logical=logical)} for field in result["fields"]
        ]
    return result
