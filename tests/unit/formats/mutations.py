"""Reads changed copies of a file in a process of its own, which a native library may end.

Called as `python -m tests.unit.formats.mutations <format> <file> <count>`; the last line says how many ended how.
"""

import random
import sys
from collections import Counter
from pathlib import Path

from actors.formats.block import BadRowError
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.registry import read
from events.formats import FORMATS
from rota.errors import TooLargeError
from tests.contract.formats.case import START, Body


def main(name: str, body: bytes, count: int) -> Counter[str]:
    """Change one to three bytes, so many times; anything but rows or the two errors is raised."""
    chance = random.Random(11)
    ends: Counter[str] = Counter()
    for _ in range(count):
        changed = bytearray(body)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(changed))
            changed[at] = chance.choice([0, 255, chance.randrange(256), changed[at] ^ 1 << chance.randrange(8)])
        try:
            blocks = read(name, Input(Body(bytes(changed)), limits=Limits()), FORMATS[name].options(), START)
            ends["rows"] += bool(sum(block.table.num_rows for block in blocks) >= 0)
        except (BadRowError, TooLargeError) as error:
            ends[type(error).__name__] += 1
    return ends


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1], Path(sys.argv[2]).read_bytes(), int(sys.argv[3]))}\n")
