"""What the words on the command line mean: types for argparse, which makes usage errors of what they refuse."""

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from rota import moment as moments
from rota.errors import InvalidRequestError
from rota.export import SINKS

ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
EVENT_TYPE = re.compile(r"[a-z]+\.(\*|[a-z_]+)")


def params(text: str) -> dict[str, Any]:
    """Return the params in a JSON object, in a file of one, or in a pair."""
    name, equals, value = text.partition("=")
    if text.startswith(("{", "@")):
        try:
            content = Path(text[1:]).read_bytes() if text.startswith("@") else text
            return msgspec.json.decode(content, type=dict[str, Any])
        except (OSError, msgspec.DecodeError) as error:
            raise argparse.ArgumentTypeError(f"{text}: {error}") from error
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object, no @FILE and no key=value")
    try:
        return {name: msgspec.json.decode(value)}
    except msgspec.DecodeError:
        return {name: value}


def id_(text: str) -> str:
    """Return an id or a name."""
    if not ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no id")
    return text


def event_type(text: str) -> str:
    """Return a type of events, or a pattern of types."""
    if not EVENT_TYPE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no type of events: give one like job.failed, or 'batch.*'")
    return text


def moment(text: str) -> datetime:
    """Return a time, or that of so long ago."""
    try:
        return moments.read_moment(text, datetime.now(UTC))
    except InvalidRequestError as error:
        raise argparse.ArgumentTypeError(error.detail) from error


def point(text: str) -> int | datetime:
    """Return a sequence, or else a moment."""
    try:
        return moments.read_point(text, datetime.now(UTC))
    except InvalidRequestError as error:
        raise argparse.ArgumentTypeError(error.detail) from error


def output(text: str) -> Path:
    """Return the path of a file that can be written, by its ending."""
    if (path := Path(text)).suffix not in SINKS:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {' or '.join(SINKS)}")
    return path


def sequence(text: str) -> int:
    """Return a sequence, or 0."""
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than 0")
    return number


def positive(text: str) -> int:
    """Return a number from 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number
