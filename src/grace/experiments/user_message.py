"""Which errors a user can mend, and how they are told in one line."""

from __future__ import annotations

from grace.data.errors import DataError
from grace.prediction.artifact import ArtifactError
from grace.training.checkpoint import CheckpointError
from grace.training.errors import ConfigError
from grace.training.step import NonFiniteLossError

__all__ = ["user_message"]

_KNOWN = (DataError, ArtifactError, ConfigError, CheckpointError, NonFiniteLossError)


def user_message(error: BaseException) -> str | None:
    """What to tell of an error a user can mend; None for a bug, whose traceback is wanted."""
    if isinstance(error, _KNOWN):
        return str(error)
    if isinstance(error, ImportError) and "grace-rul[" in str(error):
        return str(error)  # a missing extra, not a broken installation
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{error.filename}: {error.strerror}. Remedy: name a place you can read and write, "
            "with room on it."
        )
    return None
