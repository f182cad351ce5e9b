"""References: what in the inputs of a workflow's job stands for a value that is known when the workflow runs."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from rota.errors import InvalidRequestError

PARAMS, ITEM, INDEX, LITERAL = "$params", "$item", "$index", "$literal"
ELSEWHERE = "References are of use in inputs alone; of another job it is its `output`"
WITHIN = "An object with a field `from` is sent as it is: there are no references in it"


class Reference:
    """A value that is known later; `[...]` refers to a part of it: a field by name, an element by number."""

    __slots__ = ("flow", "path", "source")

    def __init__(self, source: str, path: tuple[str | int, ...] = (), flow: object = None) -> None:
        self.source = source
        """The name of a job, or PARAMS, ITEM or INDEX."""
        self.path = path
        self.flow = flow
        """The workflow that it belongs to; None for items, which any fan-out has."""

    __iter__ = None
    __contains__ = None

    def __getitem__(self, part: str | int) -> "Reference":
        if self.source == INDEX:
            raise InvalidRequestError("The index of an item is a number: it has no parts")
        if isinstance(part, bool) or not isinstance(part, str | int):
            raise InvalidRequestError(f"{self!r} has parts by names and by numbers, not by {part!r}")
        if isinstance(part, int) and part < 0:
            raise InvalidRequestError(f"The elements of {self!r} are numbered from 0: there is no {part}")
        return Reference(self.source, (*self.path, part), self.flow)

    def __repr__(self) -> str:
        return f"<{self.source}{''.join(f'[{part!r}]' for part in self.path)}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} is known when the workflow runs, and is neither true nor false before")

    def __format__(self, spec: str) -> str:
        raise TypeError(f"{self!r} is known when the workflow runs, and cannot be part of a text before")

    def wire(self) -> dict[str, Any]:
        """Return it as a request has it: its path is a text, if that is not ambiguous."""
        if not self.path:
            return {"from": self.source}
        if all(isinstance(part, int) or (part and "." not in part) for part in self.path):
            return {"from": self.source, "output": ".".join(map(str, self.path))}
        return {"from": self.source, "output": list(self.path)}


item = Reference(ITEM)
"""The element of a fan-out's list that a run is for."""
index = Reference(INDEX)
"""The number of that element, from 0."""


def encoded(value: Any, check: Callable[[Reference], None]) -> Any:
    """Return a value as a request has it, its references as objects with `from`, once `check` has let them pass.

    An object that has a field `from` of its own is marked as no reference; InvalidRequestError if there are
    references in it, which nothing would look for there, or values that JSON does not have.
    """
    match value:
        case Reference():
            check(value)
            return value.wire()
        case dict() if "from" in value:
            return {"from": LITERAL, "value": plain(value, WITHIN)}
        case dict():
            return {_name(name): encoded(one, check) for name, one in value.items()}
        case list() | tuple():
            return [encoded(one, check) for one in value]
        case _:
            plain_ = plain(value)
            return encoded(plain_, check) if isinstance(plain_, dict | list) else plain_


def plain(value: Any, hint: str = ELSEWHERE) -> Any:
    """Return a fixed value as JSON has it; InvalidRequestError if it has none for it."""
    try:
        return msgspec.to_builtins(value, str_keys=True)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"A value cannot be sent: {error}. {hint}") from error


def sources(value: Any) -> Iterator[str]:
    """Yield the names of the jobs that the inputs of a request refer to, as often as they do."""
    todo = [value]
    while todo:
        match todo.pop():
            case {"from": source}:
                if isinstance(source, str) and not source.startswith("$"):
                    yield source
            case dict() as fields:
                todo.extend(reversed(fields.values()))
            case list() as values:
                todo.extend(reversed(values))


def _name(name: Any) -> str:
    return name if isinstance(name, str) else str(plain(name))
