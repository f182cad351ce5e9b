"""Why results cannot be written into a file."""

from rota.errors import RotaError


class ResultsError(RotaError):
    """The results cannot be written as they were asked for; the text says why, and what to do."""
