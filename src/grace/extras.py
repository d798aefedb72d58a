"""The error of a missing optional package. Imports nothing of grace, so all packages can use it."""

from __future__ import annotations

__all__ = ["MissingExtraError", "install_remedy"]


def install_remedy(extra: str) -> str:
    """How to install an extra, for a plain and for an editable installation from the repository.

    Args:
        extra: name of the extra in ``pyproject.toml``; several are separated by commas.

    Example:
        >>> print(install_remedy("mlflow"))
        Remedy: in the clone of grace, pip install '.[mlflow]' (pip install -e if it is editable)
    """
    command = f"pip install '.[{extra}]'"
    return f"Remedy: in the clone of grace, {command} (pip install -e if it is editable)"


class MissingExtraError(ImportError):
    """A package of an extra is not installed; the message states the remedy.

    Args:
        problem: what is missing, as a clause without a full stop.
        extra: name of the extra that installs it.

    Example:
        >>> raise MissingExtraError("h5py is not installed", "ncmapss")
        Traceback (most recent call last):
            ...
        grace.extras.MissingExtraError: h5py is not installed. Remedy: in the clone of grace, \
pip install '.[ncmapss]' (pip install -e if it is editable)
    """

    def __init__(self, problem: str, extra: str) -> None:
        super().__init__(f"{problem}. {install_remedy(extra)}")
        self.extra = extra
