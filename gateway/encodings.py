"""The two encodings of bodies, told apart by their media type."""

from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

from rota import protocol
from rota.errors import InvalidRequestError, RotaError

T = TypeVar("T")


class Encoding(Struct, frozen=True):
    """How bodies are read and written; `name` is for people."""

    name: str
    media_type: str
    decoder: Callable[[Any], Any]
    """Makes what decodes a type."""
    encoder: Callable[[Any], bytes]

    def decode(self, body: bytes, type_: type[T]) -> T:
        """Decode a body; MsgspecError, UnicodeDecodeError or RecursionError if it is not as asked."""
        decoded: T = _decoder(self, cast("Hashable", type_)).decode(body)
        return decoded

    def encode(self, value: Any) -> bytes:
        """Encode a value; RotaError if it holds what the encoding cannot, which only a job's result can."""
        try:
            return self.encoder(value)
        except (TypeError, RecursionError, OverflowError) as error:
            raise RotaError(f"The answer cannot be written as {self.name}: {error}") from error


JSON = Encoding("JSON", protocol.JSON, msgspec.json.Decoder, msgspec.json.Encoder().encode)
MSGPACK = Encoding("MessagePack", protocol.MSGPACK, msgspec.msgpack.Decoder, msgspec.msgpack.Encoder().encode)

BY_MEDIA_TYPE: Mapping[str, Encoding] = {encoding.media_type: encoding for encoding in (JSON, MSGPACK)}


def encoding_of(content_type: str | None) -> Encoding:
    """Return what a `Content-Type` names, JSON if there is none; InvalidRequestError if it is something else."""
    if not content_type:
        return JSON
    encoding = BY_MEDIA_TYPE.get(content_type.partition(";")[0].strip().lower())
    if encoding is None:
        raise InvalidRequestError(
            f"The header Content-Type is {content_type[:100]!r}; it may be {' or '.join(BY_MEDIA_TYPE)}"
        )
    return encoding


@cache
def _decoder(encoding: Encoding, type_: Any) -> Any:
    return encoding.decoder(type_)
