"""Which events a stream shows, from its query: no server, no NATS."""

import re
from itertools import combinations
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from events.base import Event
from events.jetstream.log import Recorded
from events.job import JobEnded
from events.subjects import event_subject
from gateway.belongings import Belonging
from gateway.ends import JOB_ENDS
from gateway.frames import Shown
from gateway.selection import TYPES, Selection, read_selection
from rota.errors import InvalidRequestError
from tests.golden.make import EVENTS as SAMPLES

DOCS = Path(__file__).parents[2] / "docs"

BELONGINGS = {
    "batch": Belonging("urgent", "load", "b", "w"),
    "job": Belonging("urgent", "load", "b", "w"),
    "log": Belonging(),
    "spec": Belonging(spec="load"),
    "workflow": Belonging(workflow="w"),
}

ids = st.frozensets(st.sampled_from(["b", "b_1-2", "c"]), max_size=2)
selections = st.builds(
    Selection,
    job=ids,
    batch=ids,
    workflow=st.frozensets(st.sampled_from(["v", "w"]), max_size=2),
    queue=st.frozensets(st.sampled_from(["urgent", "slow"]), max_size=1),
    spec=st.frozensets(st.sampled_from(["load", "add"]), max_size=1),
    types=st.frozensets(st.sampled_from(sorted(TYPES)), min_size=1) | st.just(TYPES),
)


def read(query: str, **headers: str) -> tuple[Selection, int | None]:
    return read_selection(make_mocked_request("GET", f"/events?{query}", headers=headers))


def matches(pattern: str, subject: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", r"[^.]+").replace(r"\.>", r"\..+")
    return re.fullmatch(expression, subject) is not None


def fits(selection: Selection, event: Event) -> bool:
    shown = Shown(Recorded(1, event), None)  # type: ignore[arg-type] # Event is wider than the union
    return selection.fits(shown) and selection.fits_belonging(BELONGINGS[shown.of[0]])


@given(selections, st.sampled_from(SAMPLES))
def test_what_fits_is_on_the_subjects_that_are_asked_for(selection: Selection, event: Event) -> None:
    subjects, _ = selection.subjects()
    if fits(selection, event):
        assert any(matches(subject, event_subject(event)) for subject in subjects)


@given(selections, st.sampled_from(SAMPLES))
def test_a_server_that_is_to_find_the_subjects_is_asked_for_no_kind_of_events_as_a_whole(
    selection: Selection, event: Event
) -> None:
    subjects, few = selection.subjects()
    if few:
        named = selection.job | selection.batch | selection.workflow
        assert all(set(subject.split(".")) & named for subject in subjects)


@given(selections)
def test_no_two_subjects_match_the_same_event_since_the_server_refuses_that(selection: Selection) -> None:
    subjects, _ = selection.subjects()
    for event in SAMPLES:
        for one, other in combinations(subjects, 2):
            assert not (matches(one, event_subject(event)) and matches(other, event_subject(event)))


@given(selections)
def test_the_end_of_the_one_thing_that_a_stream_is_about_is_always_asked_for(selection: Selection) -> None:
    subjects, _ = selection.subjects()
    if selection.only == ("job", "b_1-2"):
        ends = [event for event in SAMPLES if isinstance(event, JobEnded)]
        assert all(any(matches(subject, event_subject(end)) for subject in subjects) for end in ends)
    if selection.only == ("batch", "b"):
        for end in ("completed", "failed"):
            assert any(matches(subject, f"rota.event.batch.b.{end}") for subject in subjects)
    if selection.only == ("workflow", "w"):
        for end in ("succeeded", "partly_failed"):
            assert any(matches(subject, f"rota.event.workflow.w.{end}") for subject in subjects)


def test_a_query_without_filters_lets_all_pass() -> None:
    selection, after = read("")
    assert (selection, after) == (Selection(), None)
    assert all(fits(selection, event) for event in SAMPLES)


def test_a_workflow_alone_is_found_by_the_server() -> None:
    assert read("workflow=w&type=workflow.*")[0].subjects() == (["rota.event.workflow.w.>"], True)
    assert read("workflow=w&type=job.failed")[0].subjects()[1] is False


def test_values_of_one_filter_are_alternatives_and_a_pattern_stands_for_types() -> None:
    selection, after = read("job=a&job=b-1&type=job.queued&type=batch.*&after=7")
    assert after == 7
    assert selection.job == {"a", "b-1"}
    assert selection.types == {"job.queued"} | {type_ for type_ in TYPES if type_.startswith("batch.")}


def test_the_ends_of_a_batch_s_jobs_are_found_by_the_server() -> None:
    types = [*JOB_ENDS, "job.redriven"]
    selection, _ = read("batch=b&" + "&".join(f"type={type_}" for type_ in types))
    assert selection.subjects() == (["rota.event.batch.b.>", "rota.event.job.*.*.b"], True)


@pytest.mark.parametrize(
    ("query", "only"),
    [
        ("job=a", ("job", "a")),
        ("batch=b&type=job.*&queue=q", ("batch", "b")),
        ("job=a&job=b", None),
        ("job=a&batch=b", None),
        ("workflow=w&type=job.*", ("workflow", "w")),
        ("job=a&workflow=w", None),
        ("queue=q", None),
    ],
)
def test_a_stream_is_about_one_thing_if_its_filters_name_one_alone(
    query: str, only: tuple[str, str] | None
) -> None:
    assert read(query)[0].only == only


def test_last_event_id_goes_before_after_and_an_empty_one_says_nothing() -> None:
    assert read("after=7", **{"Last-Event-ID": "9"})[1] == 9
    assert read("after=7", **{"Last-Event-ID": ""})[1] == 7


def test_all_that_is_wrong_with_a_query_is_told_at_once() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read("colour=red&job=a.b&type=job.done&after=x")
    details = [problem.detail for problem in caught.value.problems]
    assert [re.findall(r"parameter '?(\w+)", detail)[0] for detail in details] == ["colour", "job", "after", "type"]


QUERIES = sorted(
    {query for page in DOCS.rglob("*.md") for query in re.findall(r"/events\?([^'\"\s`)]+)", page.read_text())}
)


@pytest.mark.parametrize("query", [query for query in QUERIES if "..." not in query])
def test_the_queries_in_the_docs_are_right(query: str) -> None:
    assert read(query)
