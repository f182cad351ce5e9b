"""References: what in the inputs of a workflow's job stands for a value that is known later.

An object with `from` is a reference: to a job's output, or to `$params`, `$item` or `$index`; `$literal` keeps an
object with `from` from being one. `output` is a path into the value.
"""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

PARAMS, ITEM, INDEX, LITERAL = "$params", "$item", "$index", "$literal"
SOURCES = (PARAMS, ITEM, INDEX, LITERAL)
MAX_SHOWN = 40
MAX_DEPTH = 100
"""Objects and lists in each other, in which references are looked for."""
MAX_DIGITS = 10

Path = tuple[str | int, ...]


class InvalidReferenceError(ValueError):
    """An object with `from` that is no reference; the text says why."""


class MissingOutputError(ValueError):
    """A path that leads nowhere; the text says where it ends."""


class Reference(Struct, frozen=True):
    """Where a value comes from: a job by its name, or one of SOURCES, and the path in what is there."""

    source: str
    path: Path = ()


def is_too_deep(value: Any) -> bool:
    """Say whether objects and lists are nested in a value more than MAX_DEPTH times."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)


def is_reference(value: Any) -> bool:
    """Say whether a value stands for another one, or should."""
    return isinstance(value, dict) and "from" in value


def parse(value: dict[str, Any]) -> Reference:
    """Return what an object with `from` refers to; InvalidReferenceError if that cannot be told."""
    source = value["from"]
    rest = value.keys() - {"from"}
    if not isinstance(source, str):
        raise InvalidReferenceError(f"`from` names a job, {PARAMS}, {ITEM} or {INDEX}")
    if source.startswith("$") and source not in SOURCES:
        raise InvalidReferenceError(f"There is no {source}: only {', '.join(SOURCES)}")
    known = {"value"} if source == LITERAL else {"output"}
    if extra := sorted(rest - known, key=str):
        raise InvalidReferenceError(
            f"An object with `from` is a reference and has no field {extra[0]!r}. "
            f'Write {{"from": "{LITERAL}", "value": ...}} around what is none'
        )
    if source == LITERAL:
        if "value" not in value:
            raise InvalidReferenceError(f"{LITERAL} needs a `value`")
        return Reference(LITERAL)
    return Reference(source, parse_path(value.get("output", "")))


def parse_path(given: Any) -> Path:
    """Return a path, given as a text with dots or a list of names and numbers; else an error as above."""
    if isinstance(given, list) and all(isinstance(one, str | int) and not isinstance(one, bool) for one in given):
        return tuple(given)
    if not isinstance(given, str):
        raise InvalidReferenceError("`output` is a path like 'stats.rows', or a list like ['a.b', 0]")
    if not given:
        return ()
    parts = given.split(".")
    if not all(parts):
        raise InvalidReferenceError(f"The path {given!r} has an empty part: give it as a list")
    return tuple(parts)


def references(value: Any, place: str = "") -> Iterator[tuple[str, Reference | InvalidReferenceError]]:
    """Yield all references in a value, each with its place as a JSON Pointer."""
    if is_reference(value):
        try:
            yield place, parse(value)
        except InvalidReferenceError as error:
            yield place, error
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from references(one, f"{place}/{str(name).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from references(one, f"{place}/{index}")


def resolve(value: Any, look_up: Callable[[Reference], Any]) -> Any:
    """Return a value with each reference replaced by what `look_up` returns for it."""
    if is_reference(value):
        reference = parse(value)
        return value["value"] if reference.source == LITERAL else look_up(reference)
    if isinstance(value, dict):
        return {name: resolve(one, look_up) for name, one in value.items()}
    if isinstance(value, list):
        return [resolve(one, look_up) for one in value]
    return value


def pick(value: Any, path: Path) -> Any:
    """Return what a path leads to; MissingOutputError says where it ends."""
    for depth, part in enumerate(path):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, dict) and str(part) in value:
            value = value[str(part)]
        elif isinstance(value, list) and (number := _number(part)) is not None and number < len(value):
            value = value[number]
        else:
            raise MissingOutputError(f"{show(path[: depth + 1])} is missing: {_described(value)}")
    return value


def show(path: Path) -> str:
    """Return a path as a text."""
    return ".".join(map(str, path))


def _number(part: str | int) -> int | None:
    if isinstance(part, int):
        return part if part >= 0 else None
    return int(part) if part.isascii() and part.isdigit() and len(part) <= MAX_DIGITS else None


def _described(value: Any) -> str:
    if isinstance(value, dict):
        names = ", ".join(str(name)[:MAX_SHOWN] for name in list(value)[:10])
        return f"the object there has {names or 'no fields'}"
    if isinstance(value, list):
        return f"the list there has {len(value)} items"
    return f"there is a {type(value).__name__}"
