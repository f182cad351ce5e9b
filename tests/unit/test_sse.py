"""The parser of server-sent events, with the examples of the HTML standard."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota import sse
from rota.errors import TooLargeError
from rota.sse import Parser, ServerEvent


def parsed(text: str | bytes) -> list[ServerEvent]:
    return Parser().feed(text.encode() if isinstance(text, str) else text)


def test_an_event_has_a_type_an_id_and_data() -> None:
    assert parsed("id: 7\nevent: job.queued\ndata: {}\n\n") == [ServerEvent("job.queued", "{}", "7")]


def test_an_event_without_a_type_is_a_message() -> None:
    assert parsed("data: x\n\n") == [ServerEvent("message", "x", "")]


def test_several_lines_of_data_are_one_text() -> None:
    [event] = parsed("data: YHOO\ndata: +2\ndata\ndata:\ndata:  10\n\n")
    assert event.data == "YHOO\n+2\n\n\n 10"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_lines_may_end_in_three_ways(end: str) -> None:
    text = end.join(["id: 1", "data: a", "data: b", "", "data: c", "", ""])
    assert parsed(text) == [ServerEvent("message", "a\nb", "1"), ServerEvent("message", "c", "1")]


def test_a_line_end_that_is_cut_in_two_is_one() -> None:
    parser = Parser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\ndata: b\r") == []
    assert parser.feed(b"") == []
    assert parser.feed(b"\n\r") == [ServerEvent("message", "a\nb", "")]
    assert parser.feed(b"\ndata: c\r\n\r\n") == [ServerEvent("message", "c", "")]


def test_comments_and_unknown_fields_say_nothing() -> None:
    assert parsed(": heartbeat\n\ncolour: red\ndata: a\n:\n\n") == [ServerEvent("message", "a", "")]


def test_an_id_may_move_on_without_an_event() -> None:
    parser = Parser()
    assert parser.feed(b": heartbeat\nid: 12\n\n") == []
    assert parser.last_id == "12"


def test_an_id_holds_for_later_events_until_it_is_empty() -> None:
    events = parsed("id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n")
    assert [event.id for event in events] == ["1", "1", ""]


def test_an_id_with_a_nul_and_a_retry_that_is_no_number_are_ignored() -> None:
    parser = Parser()
    [event] = parser.feed(b"id: 1\nid: 2\0\nretry: 3000\nretry: soon\ndata: a\n\n")
    assert event.id == "1"
    assert parser.retry_seconds == 3.0


def test_a_type_without_data_is_no_event() -> None:
    assert parsed("event: a\n\ndata: b\n\n") == [ServerEvent("message", "b", "")]


def test_what_is_not_complete_at_the_end_is_no_event() -> None:
    parser = Parser()
    assert parser.feed(b"id: 5\ndata: a\n") == []
    assert parser.last_id == ""


def test_a_byte_order_mark_at_the_beginning_is_skipped() -> None:
    assert parsed(b"\xef\xbb\xbfdata: a\n\n") == [ServerEvent("message", "a", "")]


def test_an_event_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    parser = Parser()
    assert parser.feed(b"data: " + b"x" * 80 + b"\n\n")
    parser.feed(b"data: " + b"x" * 80)
    with pytest.raises(TooLargeError):
        parser.feed(b"x" * 80)


@given(st.lists(st.integers(min_value=0, max_value=60)))
def test_the_pieces_in_which_it_comes_do_not_matter(cuts: list[int]) -> None:
    stream = "\ufeffid: 1\r\ndata: ä\rdata: b\r\n\r\nevent: x\ndata:c\n\n\n: y\rid: 9\r\r".encode()
    parser = Parser()
    places = [0, *sorted(cuts), len(stream)]
    events = [event for start, end in pairwise(places) for event in parser.feed(stream[start:end])]
    assert events == [ServerEvent("message", "ä\nb", "1"), ServerEvent("x", "c", "1")]
    assert parser.last_id == "9"
