"""Maps of MessagePack that have the same keys and plain values, decoded whole columns at a time."""

from collections.abc import Container, Sequence
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MIN_ROWS = 64
"""With fewer rows than this columns are no quicker than maps."""
MAX_KEYS = 65_535
MAX_KEY_BYTES = 255
PADDING = bytes(16)
"""After the bytes of a file, so that a header and a number can be looked at anywhere in them."""

NIL, BOOL, INT, FLOAT, TEXT, BINARY, OTHER = range(7)
"""Kinds of values; OTHER are maps, arrays and extensions."""
EXACT_INT = 2**53
"""Whole numbers up to this are exact as float64."""

_HEADERS: dict[int, tuple[int, int, int]] = {
    0xC0: (NIL, 1, 0),
    0xC2: (BOOL, 1, 0),
    0xC3: (BOOL, 1, 0),
    0xC4: (BINARY, 2, 1),
    0xC5: (BINARY, 3, 2),
    0xC6: (BINARY, 5, 4),
    0xCA: (FLOAT, 5, 4),
    0xCB: (FLOAT, 9, 8),
    0xD9: (TEXT, 2, 1),
    0xDA: (TEXT, 3, 2),
    0xDB: (TEXT, 5, 4),
    **dict.fromkeys(range(0x80), (INT, 1, 0)),
    **dict.fromkeys(range(0xE0, 0x100), (INT, 1, 0)),
    **{0xCC + power: (INT, 1 + 2**power, 2**power) for power in range(4)},
    **{0xD0 + power: (INT, 1 + 2**power, 2**power) for power in range(4)},
    **{0xA0 + size: (TEXT, 1, 0) for size in range(0x20)},
}
"""By the first byte: the kind, up to where the header or the number goes, and how many bytes of number follow."""
_NONE = (OTHER, 1, 0)
_KINDS, _HEADS, _NUMBERS = (
    np.array([_HEADERS.get(byte, _NONE)[i] for byte in range(256)], np.int64) for i in range(3)
)
_SHIFTS = np.array([64 - 8 * max(1, _HEADERS.get(byte, _NONE)[2]) for byte in range(256)], np.uint64)

_TYPES = {BOOL: pa.bool_(), INT: pa.int64(), FLOAT: pa.float64(), TEXT: pa.string(), BINARY: pa.binary()}
"""The types that values have by themselves."""

Ints = NDArray[np.int64]
Column = tuple[Any, Any, Any]
"""Where the values begin, the first byte of each, and where they end."""


class Data:
    """Bytes of a file in which maps are looked for."""

    def __init__(self, body: bytes) -> None:
        self.size = len(body)
        padded = body + PADDING
        self.buffer = pa.py_buffer(padded)
        self.bytes = np.frombuffer(padded, np.uint8)
        self._words = np.ndarray((len(padded) - 7,), np.uint64, padded, strides=(1,))
        self._found: tuple[bytes, Ints] = b"", np.empty(0, np.int64)

    def words(self, places: Ints) -> NDArray[np.uint64]:
        """Return the eight bytes from each place on, the first in the lowest bits."""
        return self._words[places]

    def places(self, pattern: bytes) -> Ints:
        """Return all places where the pattern may begin: where its first eight bytes stand."""
        if self._found[0] != pattern:
            places = np.flatnonzero(self.bytes[: self.size] == pattern[0])
            self._found = pattern, places[_stands(self, places, pattern[:8])]
        return self._found[1]

    def is_cut(self, start: int) -> bool:
        """Tell whether there is nothing from a place on, or only the beginning of an object."""
        unpacker = msgpack.Unpacker()
        unpacker.feed(memoryview(self.buffer)[start : self.size])
        try:
            unpacker.skip()
        except msgpack.OutOfData:
            return True
        except (ValueError, msgpack.UnpackException):
            return False
        return False


class Template:
    """The header and the keys of a map, which those after it have too."""

    def __init__(self, names: Sequence[str]) -> None:
        count = len(names)
        header = bytes([0x80 | count]) if count < 16 else b"\xde" + count.to_bytes(2)  # noqa: PLR2004 - a fixmap
        self.names = names
        self._keys = [_text_header(len(key)) + key for key in (name.encode() for name in names)]
        self._keys[0] = header + self._keys[0]

    @staticmethod
    def of(row: dict[Any, Any]) -> "Template | None":
        """Return the template of a row, as writers put it down; None for keys that are no short texts."""
        names = list(row)
        if not 0 < len(names) <= MAX_KEYS or set(map(type, names)) != {str}:
            return None
        try:
            sizes = [len(name.encode()) for name in names]
        except UnicodeEncodeError:
            return None
        return Template(names) if max(sizes) <= MAX_KEY_BYTES else None

    def columns(self, data: Data, start: int, count: int) -> "Columns | None":
        """Return the maps from a place on, up to so many; None unless all objects that are there are such maps."""
        places = data.places(self._keys[0])
        first = int(np.searchsorted(places, start))
        at = begins = places[first : first + count]
        if not len(begins) or len(begins) < min(count, MIN_ROWS) or begins[0] != start:
            return None
        columns: list[Column] = []
        for key in self._keys:
            at = at[: _right(_stands(data, at, key))] + len(key)
            column = _values(data, at)
            if column is None:
                return None
            columns.append(column)
            at = column[2]
        rows = _right(at <= data.size)
        rows = min(rows, _right(at[: rows - 1] == begins[1:rows]) + 1) if rows else 0
        if not rows or (rows < count and not data.is_cut(int(at[rows - 1]))):
            return None
        return Columns(data, self.names, [tuple(part[:rows] for part in column) for column in columns], at[:rows])


class Columns:
    """The values of maps by their keys, and where each map ends."""

    def __init__(self, data: Data, names: Sequence[str], columns: Sequence[Any], ends: Ints) -> None:
        self.ends = ends
        self._data = data
        self._columns = dict(zip(names, columns, strict=True))

    def arrays(self, known: pa.Schema, named: Container[str]) -> dict[str, pa.Array] | None:
        """Return the values of the columns that are known; None if those of one are not plainly of its type.

        Those of the columns that are `named` have the type that the values have by themselves.
        """
        types = dict(zip(known.names, known.types, strict=True))
        found = {}
        for name in self._columns.keys() & types.keys():
            column = self._columns[name]
            array = _array(self._data, column, None if name in named else types[name])
            if array is None:
                return None
            found[name] = array
        return found


def _values(data: Data, begins: Ints) -> Column | None:
    """Return where the values end that begin at places; None if some are no plain ones."""
    inside = _right(begins < data.size)
    begins = begins[:inside]
    first = data.bytes[begins]
    seen = np.bincount(first, minlength=256).nonzero()[0]
    if OTHER in _KINDS[seen]:
        plain = _right(_KINDS[first] != OTHER)
        begins, first = begins[:plain], first[:plain]
    ends = begins + (_HEADS[first] if len(seen) > 1 else _HEADS[seen[0]]) if len(seen) else begins
    if np.isin(_KINDS[seen], (TEXT, BINARY)).any():
        sizes = np.where((first & 0xE0) == 0xA0, first & 0x1F, 0).astype(np.int64)  # noqa: PLR2004 - a fixstr
        if np.isin(_KINDS[seen], (TEXT, BINARY))[_NUMBERS[seen] > 0].any():
            long = (_NUMBERS[first] > 0) & ((_KINDS[first] == TEXT) | (_KINDS[first] == BINARY))
            numbers = _numbers(data, begins, first)
            sizes[long] = numbers[long]
        ends = ends + sizes
    return begins, first, np.minimum(ends, data.size + 1)


def _array(data: Data, column: Column, type_: pa.DataType | None) -> pa.Array | None:
    """Return the values of a column; None if they are not all of the type, or of one type."""
    _, first, _ = column
    kinds = set(_KINDS[np.bincount(first, minlength=256).nonzero()[0]].tolist())
    nil = (first == 0xC0) if NIL in kinds else None  # noqa: PLR2004 - nil
    kinds -= {NIL}
    if not kinds:
        return pa.nulls(len(first), type_ or pa.null())
    if type_ is None:
        type_ = _TYPES[kinds.pop()] if len(kinds) == 1 else None
        kinds = {kind for kind, each in _TYPES.items() if each == type_}
    if kinds == {BOOL} and type_ == pa.bool_():
        return pa.array(first == 0xC3, mask=nil)  # noqa: PLR2004 - true
    if kinds == {INT} and type_ in {pa.int64(), pa.uint64()}:
        return _ints(data, column, type_, nil)
    if kinds and kinds <= {INT, FLOAT} and type_ == pa.float64():
        return _floats(data, column, nil)
    if (kinds == {TEXT} and type_ == pa.string()) or (kinds == {BINARY} and type_ == pa.binary()):
        return _texts(data, column, type_, nil)
    return None


def _ints(data: Data, column: Column, type_: pa.DataType, nil: Any) -> pa.Array | None:
    begins, first, _ = column
    numbers = _numbers(data, begins, first)
    huge = _is_huge(first, numbers)
    if type_ == pa.int64():
        return None if huge.any() else pa.array(numbers, mask=nil)
    below = (numbers < 0) & ~huge
    return None if below.any() else pa.array(numbers.view(np.uint64), mask=nil)


def _floats(data: Data, column: Column, nil: Any) -> pa.Array | None:
    begins, first, _ = column
    words = data.words(begins + 1).byteswap()
    numbers = words.view(np.float64)
    if (short := first == 0xCA).any():  # noqa: PLR2004 - float32
        with np.errstate(invalid="ignore"):  # a NaN of another kind
            numbers[short] = (words[short] >> np.uint64(32)).astype(np.uint32).view(np.float32)
    if (whole := _KINDS[first] == INT).any():
        ints = _numbers(data, begins[whole], first[whole])
        if ((ints > EXACT_INT) | (ints < -EXACT_INT) | _is_huge(first[whole], ints)).any():
            return None
        numbers[whole] = ints
    return pa.array(numbers, mask=nil)


def _texts(data: Data, column: Column, type_: pa.DataType, nil: Any) -> pa.Array | None:
    begins, first, ends = column
    offsets = np.empty(2 * len(begins), np.int32)
    offsets[::2] = begins + _HEADS[first]
    offsets[1::2] = ends
    pieces = pa.Array.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), data.buffer]
    )  # every second one is what stands between two texts
    array = pieces.take(pa.array(np.arange(0, len(offsets), 2, dtype=np.int32), mask=nil))
    try:
        return array.cast(type_)
    except pa.ArrowInvalid:  # no UTF-8
        return None


def _numbers(data: Data, begins: Ints, first: Any) -> Ints:
    """Return whole numbers; an uint64 beyond int64 is negative."""
    words = data.words(begins + 1).byteswap()
    shifts = _SHIFTS[first]
    signed = words.view(np.int64) >> shifts.view(np.int64)
    unsigned = (words >> shifts).view(np.int64)
    numbers = np.where((first & 0xFC) == 0xD0, signed, unsigned)  # noqa: PLR2004 - int8 to int64
    found: Ints = np.where(_HEADS[first] == 1, first.view(np.int8), numbers)
    return found


def _is_huge(first: Any, numbers: Ints) -> Any:
    """Return which numbers are uint64 beyond int64."""
    return (first == 0xCF) & (numbers < 0)  # noqa: PLR2004 - uint64


def _stands(data: Data, places: Ints, pattern: bytes) -> Any:
    """Return at which places the pattern stands."""
    stands = np.ones(len(places), bool)
    for at in range(0, len(pattern), 8):
        part = pattern[at : at + 8]
        words = data.words(np.minimum(places + at, data.size))
        mask = np.uint64((1 << (8 * len(part))) - 1)
        stands &= (words & mask) == np.uint64(int.from_bytes(part, "little"))
    return stands


def _right(are: Any) -> int:
    """Return how many are true before the first that is not."""
    return len(are) if are.all() else int(are.argmin())


def _text_header(size: int) -> bytes:
    return bytes([0xA0 | size]) if size < 0x20 else bytes([0xD9, size])  # noqa: PLR2004 - a fixstr
