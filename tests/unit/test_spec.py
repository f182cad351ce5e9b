"""The job spec's decider: given events, when a command comes, then events."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from events.catalog import decode_event, encode
from events.spec import Definition, SpecChanged, SpecEvent, SpecRegistered, SpecState, decide, evolve
from rota.protocol import RegisterSpec, RetryPolicy

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
RESULT = {"type": "integer"}
RETRY = RetryPolicy(max_attempts=5)
REGISTER = RegisterSpec(
    id="add",
    description="Adds.",
    params_schema=SCHEMA,
    rows="arrow",
    queue="sums",
    retry=RETRY,
    timeout_seconds=3,
    result_schema=RESULT,
)
DEFINITION = Definition("Adds.", SCHEMA, "arrow", "sums", RETRY, 3, RESULT)
REGISTERED = SpecRegistered(originator_id="add", originator_version=1, at=NOW, definition=DEFINITION)


def state_after(*events: Any) -> SpecState | None:
    state = None
    for event in events:
        state = evolve(state, event)
    return state


def test_a_spec_that_is_new_is_registered_with_all_that_it_says() -> None:
    assert decide(None, REGISTER, NOW) == [REGISTERED]


def test_a_spec_that_is_known_changes_nothing() -> None:
    assert decide(state_after(REGISTERED), REGISTER, NOW) == []


def test_another_definition_changes_the_spec() -> None:
    changed = SpecChanged(originator_id="add", originator_version=2, at=NOW, definition=Definition("Sums."))
    command = RegisterSpec(id="add", description="Sums.")

    assert decide(state_after(REGISTERED), command, NOW) == [changed]
    assert state_after(REGISTERED, changed) == SpecState(2, Definition("Sums."))


@given(st.lists(st.sampled_from(["one", "two", "three"]), max_size=20))
def test_a_spec_says_what_was_said_last_and_repeats_add_nothing(said: list[str]) -> None:
    state: SpecState | None = None
    history: list[SpecEvent] = []
    for description in said:
        command = RegisterSpec(id="add", description=description)
        for event in decide(state, command, NOW):
            decoded = decode_event(encode(event))
            assert isinstance(decoded, SpecRegistered | SpecChanged)
            history.append(decoded)
            state = evolve(state, decoded)
        assert state
        assert state.definition.description == description
        assert decide(state, command, NOW) == []

    assert [event.originator_version for event in history] == list(range(1, len(history) + 1))
    assert state_after(*history) == state
