"""What the gateway says of values that do not fit: what would."""

import msgspec
import pytest

from gateway.advice import explained
from rota.batch_protocol import BatchRequest
from rota.options import CsvOptions, Options
from rota.protocol import ScheduleRequest


def said(value: object, type_: type) -> tuple[str, str]:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, type_)
    return explained(str(caught.value), type_)


def test_a_value_that_is_none_of_several_is_told_with_them() -> None:
    request = {"spec": "load", "files": ["a"], "bad_rows": "ignore"}

    assert said(request, BatchRequest) == (
        "Invalid enum value 'ignore'; it may be fail, quarantine, skip",
        "/bad_rows",
    )


@pytest.mark.parametrize(
    ("name", "near"), [("row_per_job", "; did you mean rows_per_job?"), ("recursiv", "; there is spec, ")]
)
def test_an_unknown_name_is_told_with_the_nearest_or_all(name: str, near: str) -> None:
    detail, place = said({"spec": "load", "files": ["a"], name: 3}, BatchRequest)

    assert detail.startswith(f"Object contains unknown field `{name}`{near}")
    assert place == ""


def test_where_there_is_no_name_that_is_said() -> None:
    assert said({"header": True}, Options) == ("Object contains unknown field `header`; there is none", "")


def test_what_is_deep_within_is_told_of_its_own_place() -> None:
    jobs = [{"spec": "add"}, {"spec": "add", "retry": {"max_attempt": 3}}]

    detail, place = said({"jobs": jobs}, ScheduleRequest)

    assert (place, detail.partition("; ")[2]) == ("/jobs/1/retry", "did you mean max_attempts?")


def test_what_is_wrong_in_another_way_is_told_as_it_is() -> None:
    assert said({"header": "no"}, CsvOptions) == ("Expected `bool`, got `str`", "/header")
