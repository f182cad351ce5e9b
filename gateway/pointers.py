"""JSON pointers (RFC 6901) as URI fragments."""

import re
from collections.abc import Iterable
from urllib.parse import quote

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def pointer(path: Iterable[str | int]) -> str:
    """Return the part of a pointer for steps down; nothing for no steps."""
    return "".join(
        "/" + quote(str(step).replace("~", "~0").replace("/", "~1"), safe="~!$&'()*+,;=:@") for step in path
    )


def split_message(message: str) -> tuple[str, str]:
    """Split what msgspec says into what is wrong and the pointer's part for where.

    Its `$.jobs[3].labels[...]` names the object that a wrong value is in, so that is where the pointer ends.
    """
    detail, _, path = message.rpartition(" - at `")
    if not detail:
        return message, ""
    steps = _STEP.findall(path.rstrip("`").partition("[...]")[0])
    return detail, pointer(name or number for name, number in steps)
