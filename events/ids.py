"""Ids of jobs and batches, and which of them travel together.

An id is `<group>` or `<group>-<number>`. The group alone decides the partition, so that the jobs of one request
are one message to one shard. Groups made here are 26 lower-case Crockford base32 characters, a ULID: they sort
by time of creation. All ids are single tokens of NATS subjects.
"""

import hashlib
import re

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_group(milliseconds: int, entropy: bytes) -> str:
    """Make a group from the time since the epoch and 10 random bytes."""
    number = (milliseconds << 80) | int.from_bytes(entropy[:10])
    return "".join(ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def keyed_group(kind: str, scope: str, key: str) -> str:
    """Make the group that an idempotency key stands for; `k` tells it from one made by time."""
    digest = hashlib.sha256(f"{kind}\0{scope}\0{key}".encode()).digest()
    number = int.from_bytes(digest[:16])
    return "k" + "".join(ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def member(group: str, index: int) -> str:
    """Return the id of a group's member."""
    return f"{group}-{index}"


def group_of(id_: str) -> str:
    """Return what decides the id's partition: all before the first `-`."""
    return id_.partition("-")[0]


def batch_job_id(batch: str, file_index: int, index: int) -> str:
    """Return the id of a batch's job, which is the same each time the file is cut."""
    return f"{batch}_{file_index}-{index}"


def place_in_batch(job: str, batch: str) -> tuple[int, int] | None:
    """Return the file and the index of a batch's job; None if it has no such id, and so is not the batch's."""
    found = re.fullmatch(r"(.+)_(\d{1,9})-(\d{1,15})", job, re.ASCII)
    return (int(found[2]), int(found[3])) if found and found[1] == batch else None
