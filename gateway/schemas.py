"""Params and results checked against the JSON Schemas of their spec."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from jsonschema_rs import Draft202012Validator, ValidationError

from gateway.pointers import pointer
from gateway.problems import MAX_FAULTS, Faults
from rota.protocol import SpecView

MAX_DETAIL = 300

Part = Literal["params", "result"]
"""What a schema of a spec is of."""


class BrokenSchemaError(ValueError):
    """The schema of a spec is none; the text says why."""


class Schemas:
    """Compiled schemas of specs, each compiled again when the spec has changed."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, Part], tuple[dict[str, Any], Draft202012Validator]] = {}

    def check(self, spec: SpecView, params: dict[str, Any], place: str, faults: Faults) -> None:
        """Note each place below `place` (the pointer of what has spec and params) that breaks the schema."""
        try:
            for error in islice(self.errors(spec, "params", params), MAX_FAULTS):
                faults.add(f"{place}/params{pointer(error.instance_path)}", error.message[:MAX_DETAIL])
        except BrokenSchemaError as broken:
            faults.add(f"{place}/spec", str(broken))
        except ValueError as too_deep:
            faults.add(f"{place}/params", f"The params cannot be checked: {too_deep}")

    def errors(self, spec: SpecView, part: Part, value: Any) -> Iterator[ValidationError]:
        """Yield where a value breaks its schema; BrokenSchemaError, or ValueError if it cannot be checked."""
        validator = self._validator(spec, part)
        if not validator.is_valid(value):
            yield from validator.iter_errors(value)

    def check_schema(self, schema: dict[str, Any], place: str, faults: Faults) -> None:
        """Note that a schema is none."""
        try:
            Draft202012Validator(schema, retriever=_refuse)
        except ValueError as broken:
            faults.add(place, f"It is no JSON Schema: {_reason(broken)}")

    def _validator(self, spec: SpecView, part: Part) -> Draft202012Validator:
        """Return the validator of a schema of a spec."""
        schema = spec.params_schema if part == "params" else spec.result_schema
        known = self._compiled.get((spec.name, part))
        if known and known[0] == schema:
            return known[1]
        try:
            validator = Draft202012Validator(schema, retriever=_refuse)
        except ValueError as broken:
            raise BrokenSchemaError(
                f"The {part} schema of {spec.name} is broken: {_reason(broken)}. Register a right one"
            ) from broken
        self._compiled[(spec.name, part)] = (schema, validator)
        return validator


def _reason(broken: ValueError) -> str:
    return str(broken).partition("\n")[0][:MAX_DETAIL]


def _refuse(uri: str) -> Any:
    # Otherwise a schema could make the gateway read any file or address.
    raise ValueError(f"a schema may refer to itself only, not to {uri}")
