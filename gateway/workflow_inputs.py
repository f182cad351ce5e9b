"""The inputs of a workflow's jobs against the params of their specs, as far as they are known by now."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec import UNSET, Struct

from events.references import (
    INDEX,
    ITEM,
    LITERAL,
    PARAMS,
    InvalidReferenceError,
    MissingOutputError,
    Reference,
    is_reference,
    pick,
    show,
)
from gateway.problems import MAX_FAULTS, Faults
from gateway.schemas import MAX_DETAIL, BrokenSchemaError, Schemas
from gateway.workflow_links import Links, place_of
from gateway.workflow_outputs import Shape, clash, follow, items_of, shape_of
from gateway.workflow_values import Filled, known_of_params
from rota.protocol import SpecView
from rota.workflow_protocol import MAX_JOBS, WorkflowJobRequest

MAX_CHARACTERS = 4_000_000
"""Of inputs that are looked at with known items in them, in a whole workflow: each item costs them once more."""

FILES = shape_of({"type": ["array", "string"]})
LIST = shape_of({"type": "array"})
NUMBER = shape_of({"type": "integer"})
OBJECT = shape_of({"type": "object"})


class Part(Struct, frozen=True):
    """A job to be checked, and what is known of it."""

    number: int
    job: WorkflowJobRequest
    links: Links
    spec: SpecView | None
    known: Mapping[Reference, Any]

    def place(self, below: str) -> str:
        """Return the pointer of a place below the job."""
        return place_of(self.number, below)

    def filled(self, name: str, value: Any, known: Mapping[Reference, Any]) -> Filled:
        """Return a field with what is known in it."""
        return Filled(value, f"/{name}", self.links.uses, known)


class InputChecks:
    """Checks the inputs of one workflow's jobs."""

    def __init__(
        self,
        schemas: Schemas,
        params: Mapping[str, Any],
        outputs: Mapping[str, Shape | None],
        faults: Faults,
    ) -> None:
        self._schemas = schemas
        self._params = params
        self._outputs = outputs
        """By the names of jobs."""
        self._faults = faults
        self._characters_left = MAX_CHARACTERS
        self._places: dict[tuple[str, str], Shape | None] = {}
        """What is wanted in places of the inputs, by specs."""

    def check(self, number: int, job: WorkflowJobRequest, links: Links, spec: SpecView | None) -> None:
        """Note what is wrong with the inputs of a job, its list of items and its list of files.

        Which references lead nowhere is noted already; if one is none at all, nothing is looked at here.
        """
        part = Part(number, job, links, spec, known_of_params(links.uses, self._params))
        try:
            items = self._items(part) if job.for_each is not UNSET else None
            if job.files_from is not UNSET:
                self._check_files(part, job.files_from)
            self._check_uses(part, items_known=items is not None)
            if spec and self._check_values(part, spec) and items:
                self._check_items(part, spec, items)
        except BrokenSchemaError as broken:
            self._faults.add(part.place("/batch/spec" if job.batch else "/spec"), str(broken))
        except (InvalidReferenceError, RecursionError):
            return
        except ValueError as too_deep:
            self._faults.add(part.place("/inputs"), f"The inputs cannot be checked: {too_deep}")

    def _items(self, part: Part) -> list[Any] | None:
        """Return the items of a fan-out, None if they are not known yet."""
        filled = part.filled("for_each", part.job.for_each, part.known)
        if not isinstance(filled.value, list):
            if filled.is_known or not is_reference(part.job.for_each):
                self._faults.add(part.place("/for_each"), "It is no list, and no reference to one")
            return None
        if len(filled.value) > MAX_JOBS:
            said = f"It has {len(filled.value)} items; the limit is {MAX_JOBS}"
            self._faults.add_too_large(part.place("/for_each"), said)
        return filled.value if filled.is_known else None

    def _check_files(self, part: Part, given: Any) -> None:
        filled = part.filled("files_from", given, part.known)
        files = [filled.value] if isinstance(filled.value, str) else filled.value
        if not filled.is_known and is_reference(given):
            return
        if not isinstance(files, list) or not files or not all(isinstance(one, str) and one for one in files):
            self._faults.add(part.place("/files_from"), "It leads to no path and no list of paths")

    def _check_uses(self, part: Part, *, items_known: bool) -> None:
        """Note what no output can have, and what is of another type than is wanted."""
        item = self._item(part)
        for use in part.links.uses:
            source = use.reference.source
            if self._faults.enough:
                return
            if source in (LITERAL, PARAMS) or (source == ITEM and items_known):
                continue  # their values are looked at themselves
            try:
                shape = {INDEX: NUMBER, ITEM: item}.get(source) or self._outputs.get(source)
                given = follow(shape, use.reference.path)
            except MissingOutputError as error:
                self._faults.add(part.place(use.place), f"{source}: {error}")
                continue
            if detail := clash(given, self._wanted(part, use.place)):
                self._faults.add(part.place(use.place), detail)

    def _item(self, part: Part) -> Shape | None:
        """Return what is known of each item, where these are the output of another job."""
        whole = next((use.reference for use in part.links.uses if use.place == "/for_each"), None)
        if whole is None:
            return None
        try:
            return items_of(follow(self._outputs.get(whole.source), whole.path))
        except MissingOutputError:
            return None

    def _wanted(self, part: Part, place: str) -> Shape | None:
        """Return what is known of the values that may stand in a place of a job."""
        if not place.startswith("/inputs"):
            return {"/for_each": LIST, "/files_from": FILES}.get(place)
        if part.spec is None:
            return None
        key = (part.spec.name, place)
        if key not in self._places:
            steps = place.split("/")[2:]
            path = tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)
            try:
                self._places[key] = follow(shape_of(part.spec.params_schema), path) if path else OBJECT
            except MissingOutputError:
                self._places[key] = None
        return self._places[key]

    def _check_values(self, part: Part, spec: SpecView) -> bool:
        """Say whether all that is known of the params fits, noting what does not."""
        filled = part.filled("inputs", part.job.inputs, part.known)
        if not isinstance(filled.value, dict):
            self._faults.add(part.place("/inputs"), "It leads to no object: the params of a job are one")
            return False
        errors = filter(filled.stands, self._schemas.errors(spec, "params", filled.value))
        wrong = list(islice(errors, MAX_FAULTS))
        for error in wrong:
            place, reference = filled.place_of(error)
            whence = f"{reference.source} {show(reference.path)}: " if reference else ""
            self._faults.add(part.place(place), whence + error.message[:MAX_DETAIL])
        return not wrong

    def _check_items(self, part: Part, spec: SpecView, items: Sequence[Any]) -> None:
        """Note items that the params of their runs cannot be made of."""
        of_items = {use.reference for use in part.links.uses if use.reference.source in (ITEM, INDEX)}
        size = len(str(part.job.inputs))
        looked_at = items[: self._characters_left // size] if of_items else []
        self._characters_left -= len(looked_at) * size
        for index, item in enumerate(looked_at):
            if self._faults.enough:
                return
            filled = self._filled_with(part, index, item, of_items)
            if detail := filled if isinstance(filled, str) else self._first_fault(part, spec, filled):
                whole = is_reference(part.job.for_each)
                place = part.place("/for_each" if whole else f"/for_each/{index}")
                self._faults.add(place, f"Item {index}: {detail}" if whole else detail)

    def _filled_with(self, part: Part, index: int, item: Any, of_items: Collection[Reference]) -> Filled | str:
        """Return the inputs of a run; or why there are none."""
        known = dict(part.known)
        try:
            for reference in of_items:
                known[reference] = index if reference.source == INDEX else pick(item, reference.path)
        except MissingOutputError as missing:
            return f"{ITEM}: {missing}"
        filled = part.filled("inputs", part.job.inputs, known)
        return filled if isinstance(filled.value, dict) else "It is no object: the params of a job are one"

    def _first_fault(self, part: Part, spec: SpecView, filled: Filled) -> str:
        """Return what is wrong with the inputs of a run, nothing if all is well."""
        for error in self._schemas.errors(spec, "params", filled.value):
            if filled.stands(error):
                return f"In {part.place(filled.place_of(error)[0])}: {error.message[:MAX_DETAIL]}"
        return ""
