"""What the jobs of a workflow return, as far as their specs say it: schemas, and where paths lead in them."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from msgspec import UNSET, Struct

from events.references import MAX_DIGITS, MissingOutputError, Path, show
from rota.protocol import SpecView
from rota.workflow_protocol import WorkflowJobRequest

COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
MAYBE_TEXT = {"type": ["string", "null"]}
BATCH_FIELDS = {
    "batch": TEXT,
    "status": TEXT,
    "files": COUNT,
    "rows": COUNT,
    "bad_rows": COUNT,
    "jobs": {"type": "object", "properties": {"succeeded": COUNT, "failed": COUNT, "total": COUNT}},
}
RESULTS_FIELDS = {
    "collection": TEXT,
    "format": TEXT,
    "connection": MAYBE_TEXT,
    "path": MAYBE_TEXT,
    "rows": COUNT,
    "size": COUNT,
    "sha256": TEXT,
}

MAX_ALTERNATIVES = 100
"""Schemas that are looked at in one place; one that has more, or refers to itself, says nothing."""

MAX_SHOWN = 20
"""Names of fields that a message lists."""

SAYS_NOTHING = frozenset(
    {
        "$anchor",
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "default",
        "deprecated",
        "description",
        "discriminator",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)
"""Keywords that hold for no value."""
APPLIES_OTHERS = frozenset(
    {"$dynamicRef", "$ref", "allOf", "anyOf", "dependentSchemas", "else", "if", "not", "oneOf", "then"}
)
"""Keywords that bring in other schemas for the same value."""
TYPES: Mapping[type, str] = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    list: "array",
    str: "string",
    type(None): "null",
}
ANY = frozenset(TYPES.values())


class Shape(Struct, frozen=True):
    """What is known of a value: it fits one of these schemas, in which `#` is `root`."""

    schemas: tuple[Any, ...]
    root: Any


def shape_of(schema: Any) -> Shape | None:
    """Return what a schema says, None if that is nothing."""
    return Shape((schema,), schema) if isinstance(schema, dict) and schema.keys() - SAYS_NOTHING else None


def output_of(job: WorkflowJobRequest, spec: SpecView | None) -> Shape | None:
    """Return what is known of the output of a job, given its spec."""
    if job.batch:
        return shape_of(batch_output(job))
    result: Any = spec.result_schema if spec else {}
    if job.for_each is UNSET:
        return shape_of(result)
    if job.tolerated_failures is not None or job.tolerated_failures_share is not None:
        items: Any = {"anyOf": [result, {"type": "null"}]}
    else:
        items = result
    return Shape(({"type": "array", "items": items},), result)


def batch_output(job: WorkflowJobRequest) -> dict[str, Any]:
    """Return the schema of the output of a batch; `results` are there if they are asked for."""
    results = {"type": "null"} if job.results is UNSET else {"type": "object", "properties": RESULTS_FIELDS}
    return {"type": "object", "properties": {**BATCH_FIELDS, "results": results}, "additionalProperties": False}


def follow(shape: Shape | None, path: Path) -> Shape | None:
    """Return what is known of what a path leads to; MissingOutputError if there cannot be such a value."""
    for depth, step in enumerate(path):
        if shape is None:
            return None
        found: list[Any] = []
        for schema in _alternatives(shape):
            below = _below(schema, step)
            if below is None:
                return None
            found += below
        if not found:
            raise MissingOutputError(f"{show(path[: depth + 1])} is missing: {_described(shape)}")
        shape = Shape(tuple(found), shape.root)
    return shape


def items_of(shape: Shape | None) -> Shape | None:
    """Return what is known of each item of a list."""
    if shape is None:
        return None
    found = [schema.get("items") for schema in _alternatives(shape) if "array" in _types(schema)]
    if any(not isinstance(items, dict) for items in found):
        return None
    return Shape(tuple(found), shape.root) if found else None


def types_of(shape: Shape | None) -> frozenset[str] | None:
    """Return the types of JSON that a value may have, None if it may have any."""
    if shape is None:
        return None
    found = frozenset[str]().union(*(_types(schema) for schema in _alternatives(shape)))
    return None if found >= ANY else found


def clash(given: Shape | None, wanted: Shape | None) -> str | None:
    """Say that a value cannot be of a type that is wanted; None if it can, for all that is known."""
    are, may_be = types_of(given), types_of(wanted)
    if are is None or may_be is None or _with_numbers(are) & _with_numbers(may_be):
        return None
    return f"It is {_listed(are)}, and {_listed(may_be)} is wanted"


def _with_numbers(types: frozenset[str]) -> frozenset[str]:
    # A number may be an integer, as 3.0 is one.
    return types | {"number"} if "integer" in types else types


def _listed(types: frozenset[str]) -> str:
    return " or ".join(
        ("an " if name[0] in "aio" else "a ") + name if name != "null" else name for name in sorted(types)
    )


def _alternatives(shape: Shape) -> list[dict[str, Any]]:
    """Return schemas of which a value fits one, without others in them; an empty one is for any value."""
    todo = list(shape.schemas)[::-1]
    found: list[dict[str, Any]] = []
    for _ in range(MAX_ALTERNATIVES):
        if not todo:
            return found
        schema = todo.pop()
        if schema is False:
            continue
        if not isinstance(schema, dict):
            found.append({})
            continue
        keywords = schema.keys() - SAYS_NOTHING
        union = schema.get("anyOf", schema.get("oneOf"))
        if keywords == {"$ref"}:
            todo.append(_referred(schema["$ref"], shape.root))
        elif len(keywords) == 1 and isinstance(union, list):
            todo += union[::-1]
        elif keywords & APPLIES_OTHERS:
            # What all of them say together is not worked out, but a type is one whatever the others say.
            found.append({"type": schema["type"]} if "type" in schema else {})
        else:
            found.append(schema)
    return [{}]


def _referred(reference: Any, root: Any) -> Any:
    """Return the schema that a reference within a document leads to; True if it leads nowhere."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return True
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(root, dict) or name not in root:
            return True
        root = root[name]
    return root


def _below(schema: Mapping[str, Any], step: str | int) -> list[Any] | None:
    """Return the schemas of a field or an item: none if there is no such thing, None if nothing is known of it."""
    types = _types(schema)
    found: list[Any] = []
    if "object" in types:
        field = _field(schema, str(step))
        if field is None:
            return None
        found += field
    if "array" in types and (number := _number(step)) is not None:
        item = _item(schema, number)
        if item is None:
            return None
        found += item
    return found


def _field(schema: Mapping[str, Any], name: str) -> list[Any] | None:
    fields = schema.get("properties")
    if isinstance(fields, dict) and name in fields:
        return [fields[name]] if fields[name] is not False else []
    if "patternProperties" in schema or "unevaluatedProperties" in schema:
        return None
    # Who names fields and says nothing of others means these.
    others = schema.get("additionalProperties", not isinstance(fields, dict))
    if isinstance(others, dict):
        return [others]
    return [] if others is False else None


def _item(schema: Mapping[str, Any], number: int) -> list[Any] | None:
    first = schema.get("prefixItems")
    if isinstance(first, list) and 0 <= number < len(first):
        return [first[number]] if first[number] is not False else []
    most, items = schema.get("maxItems"), schema.get("items", True)
    if number < 0 or items is False or (isinstance(most, int) and number >= most):
        return []
    return [items] if isinstance(items, dict) else None


def _number(step: str | int) -> int | None:
    """Return which item of a list a step leads to; None if it is none."""
    if isinstance(step, int):
        return step
    return int(step) if step.isascii() and step.isdigit() and len(step) <= MAX_DIGITS else None


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return the types that a schema without others in it allows."""
    named = schema.get("type")
    found = frozenset(one for one in (named if isinstance(named, list) else [named]) if isinstance(one, str)) & ANY
    if found:
        return found
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list):
        return ANY
    return frozenset(TYPES[type(value)] for value in values if type(value) in TYPES)


def _described(shape: Shape) -> str:
    """Say what there is in place of what is missing."""
    names: dict[str, None] = {}
    for schema in _alternatives(shape):
        names |= dict.fromkeys(schema["properties"] if isinstance(schema.get("properties"), dict) else {})
    if names:
        return f"the object there has {', '.join(list(names)[:MAX_SHOWN])}"
    return f"there is {_listed(types_of(shape) or ANY)}"
