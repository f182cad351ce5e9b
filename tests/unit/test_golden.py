"""Stored events decode for ever: a file of each tag, as it was once written."""

from pathlib import Path

import pytest

from events.catalog import AGGREGATES, EVENTS, KINDS, TAGS, decode_event
from tests.golden.make import EVENTS as WRITTEN
from tests.golden.make import STORED

FILES = sorted((Path(__file__).parents[1] / "golden").glob("*.msgpack"))


def test_every_tag_has_a_stored_event() -> None:
    assert {path.stem for path in FILES} == set(STORED)
    assert {path.stem.partition("+")[0] for path in FILES} == set(EVENTS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_stored_event_reads_as_it_was_meant(path: Path) -> None:
    assert decode_event(path.read_bytes()) == STORED[path.stem]


@pytest.mark.parametrize("kind", list(AGGREGATES))
def test_a_stored_history_can_be_replayed(kind: str) -> None:
    state = None
    for event in WRITTEN:
        if KINDS[type(event)] == kind:
            stored = decode_event(next(path for path in FILES if path.stem == TAGS[type(event)]).read_bytes())
            state = AGGREGATES[KINDS[type(event)]].evolve(state, stored)

    assert state is not None
    assert state.version == max(event.originator_version for event in WRITTEN if KINDS[type(event)] == kind)
