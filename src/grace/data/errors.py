"""One kind of error for bad data: it names the place, what is wrong there, and the remedy."""

from __future__ import annotations

__all__ = ["DataError"]


class DataError(ValueError):
    """Input data that cannot be used as it is.

    Args:
        problem: what is wrong, naming column, unit and value where they are known.
        source: the file, folder, archive or frame it was found in.
        line: 1-based line number in ``source``, if the source is a text file.
        remedy: what the user can do about it, as an imperative sentence.

    Example:
        >>> str(DataError("no column 'hour'.", source="pumps.csv", remedy="name the time column."))
        "pumps.csv: no column 'hour'. Remedy: name the time column."
    """

    def __init__(
        self, problem: str, *, source: object = None, line: int | None = None, remedy: str = ""
    ) -> None:
        self.problem, self.source, self.line, self.remedy = problem, source, line, remedy
        where = "" if source is None else f"{source}{'' if line is None else f', line {line}'}: "
        super().__init__(f"{where}{problem}" + (f" Remedy: {remedy}" if remedy else ""))
