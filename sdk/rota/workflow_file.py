"""Workflows in files of YAML or JSON, and where in them something stands that is refused."""

import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from rota.errors import InvalidRequestError
from rota.workflow_protocol import WorkflowRequest

STDIN = Path("-")
YAML = (".yaml", ".yml")
JSON = ".json"

_STEP = re.compile(r"\.([^.\[\]`]+)|\[(\d+)\]")
_FIELD = re.compile(r"unknown field `([^`]+)`")


class WorkflowFile(Struct, frozen=True):
    """A workflow, and the file that it was read from."""

    name: str
    """What the file is called."""
    request: WorkflowRequest
    lines: dict[tuple[str | int, ...], int] = {}
    """The lines of values by their paths; none for JSON."""

    def located(self, error: InvalidRequestError) -> InvalidRequestError:
        """Return an error that names lines of the file besides places in the request."""
        problems = [
            replace(problem, pointer=_place(self.name, self.lines, _path(problem.pointer)))
            for problem in error.problems
        ]
        return InvalidRequestError(error.detail, problems=problems)


def read_workflow(path: Path) -> WorkflowFile:
    """Return the workflow in a file, of which the name tells YAML from JSON, or else the content; `-` is stdin.

    InvalidRequestError says what is wrong, and in YAML in which line.
    """
    name = "stdin" if path == STDIN else str(path)
    try:
        body = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        text = body.decode("utf-8-sig")
    except OSError as error:
        raise InvalidRequestError(f"{name} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{name} is no UTF-8: {error}") from error
    suffix = path.suffix.lower()
    is_json = suffix == JSON or (suffix not in YAML and text.lstrip().startswith("{"))
    value, lines = (_json(text, name), {}) if is_json else _yaml(text, name)
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{name} has no workflow: that is an object with `jobs`")
    try:
        return WorkflowFile(name, msgspec.convert(value, WorkflowRequest), lines)
    except msgspec.ValidationError as error:
        says, _, where = str(error).partition(" - at `")
        steps = tuple(field or int(number) for field, number in _STEP.findall(where.partition("[...]")[0]))
        if unknown := _FIELD.search(says):
            steps += (unknown[1],)
        raise InvalidRequestError(f"{_place(name, lines, steps)}: {says}") from error


def _yaml(text: str, name: str) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    try:
        from rota.yaml_document import read_yaml  # noqa: PLC0415 - it needs an extra
    except ImportError as error:
        raise InvalidRequestError(
            f"{name}: YAML needs PyYAML, which is not installed: pip install 'rota[yaml]', or give the same as JSON"
        ) from error
    return read_yaml(text, name)


def _json(text: str, name: str) -> Any:
    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(field for number, (field, _) in enumerate(pairs) if field in dict(pairs[:number]))
            raise InvalidRequestError(f"{name}: {twice!r} comes twice in an object")
        return found

    def constant(word: str) -> Any:
        raise InvalidRequestError(f"{name}: {word} is no value of JSON")

    try:
        return json.loads(text, object_pairs_hook=fields, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise InvalidRequestError(f"{name}, line {error.lineno}: the JSON is broken: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{name}: the JSON cannot be read: {error}") from error


def _path(pointer: str) -> tuple[str | int, ...]:
    """Return the steps of a JSON pointer that is a URI fragment."""
    parts = [unquote(part).replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    return tuple(int(part) if part.isascii() and part.isdigit() else part for part in parts)


def _place(name: str, lines: dict[tuple[str | int, ...], int], path: tuple[str | int, ...]) -> str:
    """Return where something stands: the line of the innermost value around it, and the pointer."""
    if not path:
        return name
    pointer = "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
    inner = next((path[:length] for length in range(len(path), 0, -1) if path[:length] in lines), None)
    return f"{name}, line {lines[inner]}, {pointer}" if inner else f"{name}, {pointer}"
