"""OLE compound files, in which XLS stands: one stream out of them, and one stream alone as such a file."""

import struct

MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
HEADER_BYTES = 512
MINI_BYTES = 64
ENTRY_BYTES = 128
STREAM, ROOT = 2, 5
END = 0xFFFFFFFE
FREE = 0xFFFFFFFF
FAT_SECTOR = 0xFFFFFFFD
HEAD_FATS = 109
LARGE_SECTOR_SHIFT = 12


class BrokenError(Exception):
    """The file contradicts itself, or ends too early."""


class OleFile:
    """A compound file in memory."""

    def __init__(self, body: bytes) -> None:
        if len(body) < HEADER_BYTES or not body.startswith(MAGIC):
            raise BrokenError("it is no OLE file, or one that was cut")
        self._body = body
        self._sector = 1 << struct.unpack_from("<H", body, 30)[0]
        if self._sector not in {512, 4096}:
            raise BrokenError("its sectors have a length that there is not")
        directory, cutoff, mini_fat, _, difat = struct.unpack_from("<I4xIIII", body, 48)
        self._cutoff = cutoff
        self._fat = self._allocation(difat)
        used = max((sector for sector, follower in enumerate(self._fat) if follower != FREE), default=0)
        self._at(used)
        entries = self._chain(directory)
        self.streams: dict[str, tuple[int, int]] = {}
        """Start and size of each stream, by name."""
        self._mini = b""
        for at in range(0, len(entries) - ENTRY_BYTES + 1, ENTRY_BYTES):
            name_bytes, kind = struct.unpack_from("<HB", entries, at + 64)
            start, size = struct.unpack_from("<II", entries, at + 116)
            name = entries[at : at + min(max(name_bytes - 2, 0), 62)].decode("utf-16-le", "replace")
            if kind == STREAM:
                self.streams.setdefault(name, (start, size))
            elif kind == ROOT and size:
                self._mini = self._chain(start)[:size]
        self._mini_fat = _numbers(self._chain(mini_fat)) if self._mini else ()

    def read(self, name: str) -> bytes:
        """Return a stream."""
        start, size = self.streams[name]
        data = self._mini_chain(start, size) if size < self._cutoff else self._chain(start)
        if len(data) < size:
            raise BrokenError(f"its stream {name} is cut")
        return data[:size]

    def _allocation(self, difat: int) -> tuple[int, ...]:
        sectors = [sector for sector in struct.unpack_from(f"<{HEAD_FATS}I", self._body, 76) if sector < FAT_SECTOR]
        seen = set()
        while difat < FAT_SECTOR:
            if difat in seen:
                raise BrokenError("its sectors go round in a circle")
            seen.add(difat)
            *more, difat = struct.unpack(f"<{self._sector // 4}I", self._at(difat))
            sectors += [sector for sector in more if sector < FAT_SECTOR]
        if len(sectors) > len(set(sectors)):
            raise BrokenError("its sectors go round in a circle")
        return _numbers(b"".join(map(self._at, sectors)))

    def _chain(self, start: int) -> bytes:
        sectors: dict[int, None] = {}
        while start != END:
            if start in sectors or start >= len(self._fat):
                raise BrokenError("its sectors go round in a circle, or out of the file")
            sectors[start] = None
            start = self._fat[start]
        return b"".join(map(self._at, sectors))

    def _mini_chain(self, start: int, size: int) -> bytes:
        sectors: dict[int, None] = {}
        while start != END and len(sectors) * MINI_BYTES < size:
            if start in sectors or start >= len(self._mini_fat):
                raise BrokenError("its sectors go round in a circle, or out of the file")
            sectors[start] = None
            start = self._mini_fat[start]
        return b"".join(self._mini[one * MINI_BYTES : (one + 1) * MINI_BYTES] for one in sectors)

    def _at(self, sector: int) -> bytes:
        begin = (sector + 1) * self._sector
        data = self._body[begin : begin + self._sector]
        if len(data) < self._sector:
            raise BrokenError("it is cut")
        return data


def ole_file(name: str, data: bytes) -> bytes:
    """Return a compound file that has this stream alone."""
    size = 1 << LARGE_SECTOR_SHIFT
    data += bytes(-len(data) % size) or (bytes(size) if not data else b"")
    data_sectors = len(data) // size
    fat_sectors = 1
    while fat_sectors * (size // 4) < data_sectors + fat_sectors + 1:
        fat_sectors += 1
    if fat_sectors > HEAD_FATS:
        raise BrokenError("it is too large")
    first = fat_sectors + 1  # the FAT, the directory, the stream
    chain = [*range(first + 1, first + data_sectors), END]
    fat = [FAT_SECTOR] * fat_sectors + [END, *chain]
    fat += [FREE] * (fat_sectors * (size // 4) - len(fat))
    header = struct.pack(
        "<8s16xHHHHH6xIIIIIIIII",
        MAGIC, 0x3E, 4, 0xFFFE, LARGE_SECTOR_SHIFT, 6, 1, fat_sectors, fat_sectors, 0, size, END, 0, END, 0,
    )  # fmt: skip
    heads = [*range(fat_sectors), *[FREE] * (HEAD_FATS - fat_sectors)]
    header = header[:76] + struct.pack(f"<{HEAD_FATS}I", *heads)
    directory = _entry("Root Entry", ROOT, 1, first, 0) + _entry(name, STREAM, FREE, first, len(data))
    directory += (bytes(64) + struct.pack("<HBBIII", 0, 0, 0, FREE, FREE, FREE) + bytes(48)) * (
        size // ENTRY_BYTES - 2
    )
    return b"".join((header.ljust(size, b"\0"), struct.pack(f"<{len(fat)}I", *fat), directory, data))


def _numbers(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])


def _entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
    text = name.encode("utf-16-le") + b"\0\0"
    entry = text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, FREE, FREE, child) + bytes(36)
    return entry + struct.pack("<IQ", start, size)
