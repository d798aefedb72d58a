"""Errors that a user can correct, as one line of text."""

from __future__ import annotations

from grace.data.errors import DataError
from grace.experiments.errors import RunSelectionError, WorkerError
from grace.prediction.artifact import ArtifactError
from grace.training.checkpoint import CheckpointError
from grace.training.errors import ConfigError
from grace.training.step import NonFiniteLossError

__all__ = ["user_message"]

_KNOWN = (
    DataError,
    ArtifactError,
    ConfigError,
    CheckpointError,
    NonFiniteLossError,
    WorkerError,
    RunSelectionError,
)


def user_message(error: BaseException) -> str | None:
    """The message of an error that the user can correct; None for a bug.

    It is one line. Characters that a terminal would obey, which come from names in files, are shown
    as escapes.
    """
    text = _message(error)
    if text is None:
        return None
    line = " ".join(line.strip() for line in text.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _message(error: BaseException) -> str | None:
    if isinstance(error, _KNOWN):
        return str(error)
    # A missing extra is told apart from a broken installation by its remedy.
    if isinstance(error, ImportError) and " Remedy: " in str(error):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{error.filename}: {error.strerror}. Remedy: name a place you can read and write, "
            "with room on it."
        )
    return None
