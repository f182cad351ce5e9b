"""The parser of a command's words."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any


class CommandParser(ArgumentParser):
    """A parser that can take options between the words that are no options, though these may be left out."""

    intermixed = False
    """Whether it does; not for a command whose words exclude each other."""

    def parse_known_args(  # type: ignore[override] # its overloads differ in the namespace alone
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Namespace, list[str]]:
        """Parse the words, and return those that mean nothing, too."""
        if not self.intermixed:
            return super().parse_known_args(args, namespace)
        # It calls this function for one kind of words after the other.
        self.intermixed = False
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.intermixed = True
