"""Params checked against the JSON Schema of their spec."""

from itertools import islice
from typing import Any

from jsonschema_rs import Draft202012Validator

from gateway.pointers import pointer
from gateway.problems import MAX_FAULTS, Faults
from rota.protocol import SpecView

MAX_DETAIL = 300


class Schemas:
    """Compiled schemas, one a spec, each compiled again when the spec has changed."""

    def __init__(self) -> None:
        self._compiled: dict[str, tuple[dict[str, Any], Draft202012Validator]] = {}

    def check(self, spec: SpecView, params: dict[str, Any], place: str, faults: Faults) -> None:
        """Note each place below `place` (the pointer of what has spec and params) that breaks the schema."""
        try:
            validator = self._validator(spec)
        except ValueError as broken:
            faults.add(
                f"{place}/spec",
                f"The params schema of {spec.name} is broken: {_reason(broken)}. Register a right one",
            )
            return
        try:
            if validator.is_valid(params):
                return
            for error in islice(validator.iter_errors(params), MAX_FAULTS):
                faults.add(f"{place}/params{pointer(error.instance_path)}", error.message[:MAX_DETAIL])
        except ValueError as too_deep:
            faults.add(f"{place}/params", f"The params cannot be checked: {too_deep}")

    def check_schema(self, schema: dict[str, Any], place: str, faults: Faults) -> None:
        """Note that a schema is none."""
        try:
            Draft202012Validator(schema, retriever=_refuse)
        except ValueError as broken:
            faults.add(place, f"It is no JSON Schema: {_reason(broken)}")

    def _validator(self, spec: SpecView) -> Draft202012Validator:
        """Return the spec's validator; ValueError if its schema is none."""
        known = self._compiled.get(spec.name)
        if known and known[0] == spec.params_schema:
            return known[1]
        validator = Draft202012Validator(spec.params_schema, retriever=_refuse)
        self._compiled[spec.name] = (spec.params_schema, validator)
        return validator


def _reason(broken: ValueError) -> str:
    return str(broken).partition("\n")[0][:MAX_DETAIL]


def _refuse(uri: str) -> Any:
    # Otherwise a schema could make the gateway read any file or address.
    raise ValueError(f"a schema may refer to itself only, not to {uri}")
