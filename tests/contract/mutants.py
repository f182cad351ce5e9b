"""Changed copies of files: what broken disks, cut transfers and hostile senders make of them."""

import io
import struct
import zipfile
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
from msgspec import Struct

from rota.options import Compression, Options

EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1]
TOKENS = [
    *(bytes([byte]) for byte in b"\"'[]{}()<>,;:\t\n\r\\\0-#&*!|=/ \xff\x80\xc1"),
    *(b"\r\n", b"\n\n", b"\n---\n", b"...", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    *(b"1e999", b"9" * 400, b"-0", b"NaN", b"null", b"true", b"0x1F", b"1979-05-27T07:32:00Z", b"9999-99-99"),
    *(b"[" * 1000, b'{"a":' * 500, b"<a>" * 500, b'"' * 999, b"," * 500, b"- " * 300),
    *(b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<?x ?>", b"&amp;", b"&x;", b"&#0;", b"</", b"/>"),
    *(b"<!DOCTYPE a [<!ENTITY x 'y'>]>", b"&a ", b"*a", b"!!python/object:os.system", b"<<: *a", b"? ", b"[[a]]"),
    *(b"PK\x03\x04", b"PK\x05\x06", b"PAR1", b"Obj\x01", b"ARROW1", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"),
]
MOST_CHANGES = 4


class Seed(Struct):
    """A file to be changed, and what is known of it."""

    name: str
    format: str
    options: Options
    body: bytes
    compression: Compression = "none"
    cut_shows: bool = False
    """Whether a cut anywhere before the last two bytes must be an error."""
    ordered: bool = False
    """Whether the rows before a place do not depend on the bytes behind it."""
    is_archive: bool = False
    """Whether it is a zip archive, in which single files can be changed."""


class Mutant(Struct):
    """A changed copy of a seed."""

    seed: Seed
    body: bytes
    how: list[str]

    @property
    def same(self) -> int:
        """How many bytes at the beginning are those of the seed."""
        length = min(len(self.body), len(self.seed.body))
        ours, theirs = (np.frombuffer(body, np.uint8, length) for body in (self.body, self.seed.body))
        different = np.flatnonzero(ours != theirs)
        return int(different[0]) if len(different) else length

    @property
    def is_cut(self) -> bool:
        """Whether it is the beginning of the seed, and more is missing than a line end."""
        return 0 < self.same == len(self.body) < len(self.seed.body) - 2


def mutant(seed: Seed, others: Sequence[Seed], chance: Random) -> Mutant:
    """Change a seed in one to four ways; parts may come from others of its format."""
    other = chance.choice(others).body
    if seed.is_archive and chance.random() < 0.6:
        return _changed_member(seed, chance)
    body, how = seed.body, []
    for _ in range(chance.choice([1, 1, 1, 2, 3, MOST_CHANGES])):
        change = chance.choice(CHANGES)
        body = change(body, other, chance)
        how.append(change.__name__)
    return Mutant(seed, body, how)


def _changed_member(seed: Seed, chance: Random) -> Mutant:
    """Change a file within a zip archive, and write the archive anew."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(seed.body)) as before, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after:
        chosen = chance.choice(before.namelist())
        change = chance.choice(CHANGES)
        for name in before.namelist():
            member = before.read(name)
            after.writestr(name, change(member, member, chance) if name == chosen else member)
    return Mutant(seed, out.getvalue(), [f"{change.__name__} of {chosen}"])


def flip_bits(body: bytes, other: bytes, chance: Random) -> bytes:
    changed = bytearray(body)
    for _ in range(chance.randint(1, 3) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def set_bytes(body: bytes, other: bytes, chance: Random) -> bytes:
    at, length = chance.randrange(len(body) + 1), chance.choice([1, 1, 2, 4, 16, 200])
    run = bytes([chance.choice([0, 255, chance.randrange(256)])]) * length if chance.random() < 0.5 else None
    return body[:at] + (run or chance.randbytes(length)) + body[at + length :]


def insert_token(body: bytes, other: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(body) + 1)
    return body[:at] + chance.choice(TOKENS) + body[at:]


def put_token(body: bytes, other: bytes, chance: Random) -> bytes:
    at, token = chance.randrange(len(body) + 1), chance.choice(TOKENS)
    return body[:at] + token + body[at + len(token) :]


def put_length(body: bytes, other: bytes, chance: Random) -> bytes:
    size, order = chance.choice([("B", 1), ("H", 2), ("I", 4), ("Q", 8)]), chance.choice("<>")
    value = (chance.choice(EXTREMES) + chance.choice([0, 0, 1, -1])) % (1 << 8 * size[1])
    at = chance.randrange(len(body) + 1)
    return body[:at] + struct.pack(order + size[0], value) + body[at + size[1] :]


def put_varint(body: bytes, other: bytes, chance: Random) -> bytes:
    value, digits = chance.choice(EXTREMES), bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    at = chance.randrange(len(body) + 1)
    return body[:at] + bytes([*digits, value]) + body[at + chance.choice([1, len(digits) + 1]) :]


def delete(body: bytes, other: bytes, chance: Random) -> bytes:
    begin, end = _slice(body, chance)
    return body[:begin] + body[end:]


def cut(body: bytes, other: bytes, chance: Random) -> bytes:
    return body[: chance.randrange(len(body) + 1)]


def duplicate(body: bytes, other: bytes, chance: Random) -> bytes:
    begin, end = _slice(body, chance)
    return body[:end] + body[begin:end] * chance.choice([1, 1, 2, 20]) + body[end:]


def swap(body: bytes, other: bytes, chance: Random) -> bytes:
    begin, end = _slice(body, chance)
    behind = min(len(body), end + chance.randint(0, 64))
    return body[:begin] + body[end:behind] + body[begin:end] + body[behind:]


def splice(body: bytes, other: bytes, chance: Random) -> bytes:
    return body[: chance.randrange(len(body) + 1)] + other[chance.randrange(len(other) + 1) :]


def copy_in(body: bytes, other: bytes, chance: Random) -> bytes:
    begin, end = _slice(other, chance)
    at = chance.randrange(len(body) + 1)
    return body[:at] + other[begin:end] + body[at + chance.choice([0, end - begin]) :]


def _slice(body: bytes, chance: Random) -> tuple[int, int]:
    begin = chance.randrange(len(body) + 1)
    return begin, min(len(body), begin + chance.choice([1, 2, 8, 64, chance.randint(1, len(body) + 1)]))


CHANGES: list[Callable[[bytes, bytes, Random], bytes]] = [
    copy_in,
    cut,
    delete,
    duplicate,
    flip_bits,
    insert_token,
    put_length,
    put_token,
    put_varint,
    set_bytes,
    splice,
    swap,
]
