"""Collects what is noticed while a table is read, so that all of it is reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from grace.data.errors import DataError
from grace.data.issues import DataIssue

__all__ = ["IssueLog"]

_SHOWN = 5  # names listed in one message


class IssueLog:
    """Issues of one reading, and the problems that make the table unusable.

    ``note`` records what the reader handled; ``fatal`` records what it cannot handle; and
    ``raise_if_fatal`` turns all fatal problems into one :class:`DataError`.
    """

    def __init__(self, source: object) -> None:
        self.source = source
        self.issues: list[DataIssue] = []
        self._fatal: list[tuple[str, str]] = []

    def note(
        self,
        kind: str,
        message: str,
        remedy: str,
        *,
        severity: Literal["note", "warning"] = "warning",
        units: Iterable[Any] = (),
        columns: Iterable[str] = (),
        count: int = 0,
    ) -> None:
        """Record something that was handled."""
        self.issues.append(
            DataIssue(kind, severity, message, remedy, tuple(units), tuple(columns), count)
        )

    def fatal(self, problem: str, remedy: str) -> None:
        """Record something that cannot be handled; reading goes on to find the rest."""
        self._fatal.append((problem, remedy))

    def error(self, problem: str, remedy: str) -> DataError:
        """One error of everything recorded so far and this."""
        self._fatal.append((problem, remedy))
        return self._combined()

    def raise_if_fatal(self) -> None:
        """Raise what was recorded.

        Raises:
            DataError: anything was recorded by :meth:`fatal`.
        """
        if self._fatal:
            raise self._combined()

    def _combined(self) -> DataError:
        if len(self._fatal) == 1:
            problem, remedy = self._fatal[0]
        else:
            problem = f"{len(self._fatal)} problems: " + " ".join(
                f"({i}) {text}" for i, (text, _) in enumerate(self._fatal, 1)
            )
            remedy = " ".join(f"({i}) {text}" for i, (_, text) in enumerate(self._fatal, 1))
        return DataError(problem, source=self.source, remedy=remedy)


def listed(names: Sequence[object]) -> str:
    """The first few names and how many more there are.

    Example:
        >>> listed(["a", "b"]), listed(list("abcdefgh"))
        ('a, b', 'a, b, c, d, e and 3 more')
    """
    shown = ", ".join(map(str, names[:_SHOWN]))
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
