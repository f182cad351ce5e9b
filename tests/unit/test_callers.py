from collections.abc import Mapping

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.callers import Asker, caller_of, http_asker, nats_asker
from rota.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Asker("nats")),
        ({"Rota-Caller": "billing 2"}, Asker("client:billing 2")),
        ({"Rota-Caller": "x" * 128, "Idempotency-Key": "k 1"}, Asker("client:" + "x" * 128, "k 1")),
        ({"Idempotency-Key": '"quoted"'}, Asker("nats", "quoted")),
    ],
)
def test_headers_say_who_asks(headers: Mapping[str, str], expected: Asker) -> None:
    assert nats_asker(headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"Rota-Caller": ""},
        {"Rota-Caller": "x" * 129},
        {"Rota-Caller": "b\u00fcro"},
        {"Rota-Caller": "a\nb"},
        {"Idempotency-Key": ""},
        {"Idempotency-Key": 'a"b'},
        {"Idempotency-Key": "x" * 257},
    ],
)
def test_headers_that_say_nothing_of_use_are_refused(headers: Mapping[str, str]) -> None:
    with pytest.raises(InvalidRequestError):
        nats_asker(headers)


def test_who_asks_over_http_is_known_by_address_unless_it_says_more() -> None:
    request = make_mocked_request("POST", "/schedule")
    assert caller_of(request) == f"http:{request.remote or 'unknown'}"
    named = make_mocked_request("POST", "/schedule", headers={"rota-caller": "billing"})
    assert http_asker(named) == Asker("client:billing")
