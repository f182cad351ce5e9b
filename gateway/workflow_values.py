"""Values of a requested workflow with what is known in the places of references, and what errors say of them."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from jsonschema_rs import ValidationError, ValidationErrorKind

from events.references import LITERAL, PARAMS, MissingOutputError, Reference, pick, resolve
from gateway.workflow_links import Use

STAND_IN = {"from": "…"}
"""Stands where a value is not known; what is said of it says nothing."""

FOR_ALL_VALUES = frozenset(
    {
        "additionalProperties",
        "falseSchema",
        "maxItems",
        "maxProperties",
        "minItems",
        "minProperties",
        "propertyNames",
        "required",
        "type",
    }
)
"""What is wrong by these with an object or a list is so whatever the values in it are."""
CONDITIONAL = frozenset(
    {"contains", "dependentSchemas", "else", "if", "not", "then", "unevaluatedItems", "unevaluatedProperties"}
)
"""What is wrong below these may hang on values in other places."""


class Filled:
    """A value of a job in which what is known has taken the places of references."""

    def __init__(self, value: Any, place: str, uses: Iterable[Use], known: Mapping[Reference, Any]) -> None:
        self.value = resolve(value, lambda reference: known.get(reference, STAND_IN))
        self._place = place
        within = [use for use in uses if use.place.startswith(place)]
        self._known = {
            use.place: use.reference for use in within if use.reference in known or use.reference.source == LITERAL
        }
        self._unknown = frozenset(use.place for use in within) - self._known.keys()
        self._around = frozenset(above for one in self._unknown for above in _above(one))

    @property
    def is_known(self) -> bool:
        """Whether all of it is known."""
        return not self._unknown

    def stands(self, error: ValidationError) -> bool:
        """Say whether an error is one whatever the values are that are not known."""
        if not self._unknown:
            return True
        if not CONDITIONAL.isdisjoint(error.evaluation_path):
            return False
        place = self._place
        if place in self._unknown:
            return False
        for step in error.instance_path:
            place += _step(step)
            if place in self._unknown:
                return False
        if place not in self._around:
            return True
        match error.kind:
            case ValidationErrorKind.AnyOf(context=alternatives):
                return all(any(map(self.stands, errors)) for errors in alternatives)
            case ValidationErrorKind.OneOfNotValid(context=alternatives):
                return all(any(map(self.stands, errors)) for errors in alternatives)
        return error.kind.name in FOR_ALL_VALUES

    def place_of(self, error: ValidationError) -> tuple[str, Reference | None]:
        """Return where in the job the value stands that is wrong, and through which reference it came there."""
        place = self._place
        path = list(error.instance_path)
        for depth in range(len(path) + 1):
            reference = self._known.get(place)
            if reference and reference.source == LITERAL:
                return f"{place}/value{''.join(map(_step, path[depth:]))}", None
            if reference:
                return place, reference
            if depth < len(path):
                place += _step(path[depth])
        return place, None


def known_of_params(uses: Iterable[Use], params: Mapping[str, Any]) -> dict[Reference, Any]:
    """Return the values of references to the params of the workflow, as far as there are such."""
    found: dict[Reference, Any] = {}
    for use in uses:
        if use.reference.source == PARAMS:
            with suppress(MissingOutputError):
                found[use.reference] = pick(params, use.reference.path)
    return found


def _above(place: str) -> Iterable[str]:
    """Yield the places that a place is in."""
    while place:
        place = place.rpartition("/")[0]
        yield place


def _step(step: str | int) -> str:
    return f"/{str(step).replace('~', '~0').replace('/', '~1')}"
