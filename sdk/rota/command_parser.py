"""The parsers of commands and their words."""

import argparse
import inspect
import os
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from rota.http import DEFAULT_URL
from rota.worker import DEFAULT_NATS_URL

Run = Callable[[Namespace], Coroutine[Any, Any, int | None]]


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


class Commands:
    """Makes the parsers of the commands that come next in a command line."""

    def __init__(self, parser: ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(
            title="commands", metavar="COMMAND", required=True, parser_class=CommandParser
        )

    def __call__(self, run: Run, *, over_nats: bool = False) -> CommandParser:
        """Return the parser of a command; its name and help come from the function that carries it out."""
        does, _, examples = (inspect.getdoc(run) or "").partition("\n\n")
        made: CommandParser = self._parsers.add_parser(
            run.__name__.strip("_").replace("_", "-"),
            help=does,
            description=does,
            epilog=f"examples:\n{textwrap.indent(examples, '  ')}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="print JSON, one value a line")
        unused = "; not used by this command" if over_nats else ""
        made.add_argument("--url", help=f"the gateway's address (default: ROTA_URL, or {DEFAULT_URL}){unused}")
        if over_nats:
            says = f"the NATS server's address (default: ROTA_NATS_URL, or {DEFAULT_NATS_URL})"
            made.add_argument("--nats-url", default=os.environ.get("ROTA_NATS_URL") or DEFAULT_NATS_URL, help=says)
        return made

    def group(self, name: str, does: str) -> "Commands":
        """Return what makes the parsers of the commands below a word."""
        epilog = f"`rota {name} COMMAND --help` shows a command's options and examples."
        return Commands(self._parsers.add_parser(name, help=does, description=does, epilog=epilog))
