from typing import Any

import msgspec
import pytest

from gateway.bodies import check_plain, decode, decode_jobs
from gateway.encodings import JSON, MSGPACK, encoding_of
from gateway.messages import SpecRequest
from gateway.problems import Faults
from rota.errors import InvalidRequestError, RotaError
from rota.protocol import RegisterSpec


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("application/json; charset=utf-8", JSON),
        ("Application/MsgPack", MSGPACK),
    ],
)
def test_the_media_type_names_the_encoding(content_type: str | None, expected: object) -> None:
    assert encoding_of(content_type) is expected


def test_another_media_type_is_refused() -> None:
    with pytest.raises(
        InvalidRequestError, match="'text/plain'; it may be application/json or application/msgpack"
    ):
        encoding_of("text/plain")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b"\x81\xa2id", "it ends too early"),
        (b"\xc1", "byte 0: invalid opcode '\\xc1'"),
        (b"\x81\xa2id\xa1a\x00", "byte 6: trailing characters"),
        (b"\x81\xa2id\xa1\xff", "a text in it is not encoded as UTF-8"),
        (b"\x81\xadparams_schema\x81\xa1x" + b"\x91" * 5000, "it is nested too deeply"),
    ],
)
def test_what_is_no_messagepack_is_told_with_its_place(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        decode(body, SpecRequest, MSGPACK)
    assert error.value.detail == f"The body is no MessagePack: {reason}"


def test_faults_of_a_list_have_places_in_messagepack_too() -> None:
    body = msgspec.msgpack.encode(
        {"jobs": [{"spec": "add"}, {"spec": 5}, {"spec": "add", "retry": {"backoff": 0}}]}
    )
    with pytest.raises(InvalidRequestError) as error:
        decode_jobs(body, MSGPACK)
    assert [problem.pointer for problem in error.value.problems] == ["#/jobs/1/spec", "#/jobs/2/retry/backoff"]


@pytest.mark.parametrize(
    ("value", "pointer", "detail"),
    [
        ({"a": [1, {"b": b"x"}]}, "#/params/a/1/b", "JSON has no bytes"),
        ({"a/b": {1: 2}}, "#/params/a~1b", "A key must be a text, not 1"),
        ({"a": msgspec.msgpack.Ext(5, b"x")}, "#/params/a", "JSON has no Ext"),
        ({"a": 2**70}, "#/params", "It is nested too deeply, or an integer in it is beyond 64 bits"),
    ],
)
def test_what_json_cannot_hold_is_told_with_its_place(value: Any, pointer: str, detail: str) -> None:
    faults = Faults()
    check_plain(value, MSGPACK, "#/params", faults)
    [problem] = faults.refusal().problems
    assert (problem.pointer, problem.detail) == (pointer, detail)


def test_what_json_can_hold_is_plain() -> None:
    faults = Faults()
    check_plain({"a": [None, True, 1, 1.5, "x", {"b": []}]}, MSGPACK, "#", faults)
    faults.check()


def test_a_value_that_an_encoding_cannot_hold_is_a_fault() -> None:
    with pytest.raises(RotaError, match="cannot be written as JSON"):
        JSON.encode({(1, 2): 3})


@pytest.mark.parametrize("type_", [{}, {"type": "spec.register"}])
def test_a_spec_may_be_registered_with_or_without_the_type_of_the_command(type_: dict[str, str]) -> None:
    request = decode(msgspec.json.encode({"id": "add", "queue": "q"} | type_), SpecRequest)
    assert RegisterSpec(**msgspec.structs.asdict(request)) == RegisterSpec(id="add", queue="q")
