"""A request to the NATS service, whatever it asks for, and what is known of each that can be asked."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from gateway.bodies import check_plain, decode
from gateway.callers import Asker
from gateway.edge import Edge
from gateway.encodings import Encoding
from gateway.problems import Faults

T = TypeVar("T")
Request = TypeVar("Request", bound=Struct)


class Call(Struct, frozen=True):
    """A request: who asks, and the body with its encoding."""

    edge: Edge
    asker: Asker
    body: bytes
    encoding: Encoding

    def read(self, type_: type[T]) -> T:
        """Return the body as a request of this type; no body at all stands for one without fields."""
        return decode(self.body or self.encoding.encode({}), type_, self.encoding)

    def check(self, place: str, value: Any) -> None:
        """Check that JSON can hold a value that may be anything; InvalidRequestError says where it cannot."""
        faults = Faults()
        check_plain(value, self.encoding, place, faults)
        faults.check()


class Operation(Struct, frozen=True):
    """What can be asked: how it is answered, and the types of the request and of the answer."""

    carry_out: Callable[[Call], Awaitable[Any]]
    request: Any
    answer: Any
    waits: bool = False
    """Whether requests may ask to wait."""
    bounded: bool = True
    """Whether ROTA_MAX_BODY_BYTES bounds the request; else it may have what a message of NATS holds."""


def without_id(request: Request, type_: type[Request]) -> Request:
    """Return what a request has besides the id, which is a part of its path over HTTP."""
    return type_(**{name: getattr(request, name) for name in type_.__struct_fields__})
