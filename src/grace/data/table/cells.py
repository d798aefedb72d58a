"""Cells of any type as numbers: decimal commas, thousands separators, markers of missing values."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import polars as pl

__all__ = [
    "MISSING_MARKERS",
    "CellCounts",
    "Numbers",
    "choose_notation",
    "clean_text",
    "count_cells",
    "count_plain",
    "read_notation",
    "to_numbers",
]

# Compared in lower case after stripping blanks.
MISSING_MARKERS = ("", "na", "n/a", "#n/a", "nan", "null", "none", "-", "--", "?", "missing", "nat")
_TRUE, _FALSE = ("true", "yes", "t", "y"), ("false", "no", "f", "n")
# Blank, no-break, narrow no-break and thin space, apostrophes.
_GROUP_MARKS = r"[ \u00A0\u202F\u2009'’]"
_EXPONENT = r"(?:[eE][+-]?\d+)?"
_EUROPEAN = rf"^[+-]?(?:\d{{1,3}}(?:\.\d{{3}})+|\d+)(?:,\d*)?{_EXPONENT}$"
_ANGLO = rf"^[+-]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d*)?{_EXPONENT}$"
_COULD_BE_THOUSANDS = r"^[+-]?\d{1,3}(?:,\d{3})+$"


@dataclass(frozen=True)
class Numbers:
    """A column as numbers.

    ``values`` is Float64 with null where missing or unreadable, ``bad`` marks cells that hold
    something else than a number, ``style`` is ``"plain"``, ``"decimal comma"``, ``"thousands"`` or
    ``"truth"``; ``ambiguous`` says that commas could be decimal marks as well as thousands
    separators. ``infinite`` counts infinite values, which become null.
    """

    values: pl.Series
    bad: pl.Series
    style: str
    ambiguous: bool
    infinite: int

    @property
    def share(self) -> float:
        """Share of the non-missing cells that are numbers; 1 if all cells are missing."""
        known, bad = self.values.len() - self.values.null_count(), int(self.bad.sum())
        return known / (known + bad) if known + bad else 1.0


def clean_text(column: pl.Series) -> pl.Series:
    """Text without surrounding blanks, markers of missing values as null."""
    text = column.cast(pl.String).str.strip_chars(" \t\r\n\u00a0\ufeff\"'")
    missing = text.str.to_lowercase().is_in(list(MISSING_MARKERS))
    return (
        pl.select(pl.when(~missing.fill_null(value=False)).then(text)).to_series().rename(text.name)
    )


def to_numbers(
    column: pl.Series, *, decimal: str | None = None, decimal_comma_likely: bool = False
) -> Numbers:
    """Read a column of any scalar type as numbers.

    Args:
        column: numbers, truth values or text.
        decimal: decimal mark, if known.
        decimal_comma_likely: whether ``1,234`` without other evidence is taken as 1.234 (files
            with semicolons) rather than as 1234.

    Example:
        >>> to_numbers(pl.Series(["1.234,5", "7", "n/a", "x"])).values.to_list()
        [1234.5, 7.0, None, None]
    """
    no = pl.repeat(value=False, n=column.len(), dtype=pl.Boolean, eager=True)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return _from_text(clean_text(column), decimal, decimal_comma_likely)
    if column.dtype == pl.Boolean:
        return Numbers(column.cast(pl.Float64), no, "truth", ambiguous=False, infinite=0)
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        values, infinite = _finite(column.cast(pl.Float64, strict=False))
        return Numbers(values, no, "plain", ambiguous=False, infinite=infinite)
    nothing = pl.repeat(None, column.len(), dtype=pl.Float64, eager=True)
    return Numbers(nothing, column.is_not_null(), "plain", ambiguous=False, infinite=0)


def _finite(values: pl.Series) -> tuple[pl.Series, int]:
    values = values.fill_nan(None)
    infinite = values.is_infinite().fill_null(value=False)
    return (values.set(infinite, None), int(infinite.sum())) if infinite.any() else (values, 0)


@dataclass(frozen=True)
class CellCounts:
    """How many cells of text each notation reads; counts of the parts of a column add up."""

    known: int = 0
    plain: int = 0
    infinite: int = 0
    truth: int = 0
    spaced: int = 0
    anglo: int = 0
    grouped: int = 0
    european: int = 0
    with_comma: int = 0
    could_be_thousands: int = 0
    several_commas: int = 0
    with_point: int = 0

    def __add__(self, other: CellCounts) -> CellCounts:
        return CellCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def all_plain(self) -> bool:
        """Whether every cell is a plain number."""
        return self.plain == self.known


def count_plain(text: pl.Series) -> CellCounts:
    """Only the cells that are there, the plain numbers and the infinite ones of cleaned text."""
    values = text.cast(pl.Float64, strict=False)
    infinite = int(values.is_infinite().sum())
    return CellCounts(len(text) - text.null_count(), _known(values), infinite)


def count_cells(text: pl.Series) -> CellCounts:
    """All counts of cleaned text."""
    bare = _bare(text)
    commas = bare.filter(bare.str.contains(",", literal=True).fill_null(value=False))
    few, anglo = count_plain(text), _anglo(bare)
    return replace(
        few,
        truth=int(text.str.to_lowercase().is_in([*_TRUE, *_FALSE]).sum()),
        spaced=_known(bare.cast(pl.Float64, strict=False)),
        anglo=_known(anglo),
        grouped=_known(_fill(text.cast(pl.Float64, strict=False), anglo)),
        european=_known(_european(bare)),
        with_comma=len(commas),
        could_be_thousands=int(commas.str.contains(_COULD_BE_THOUSANDS).sum()),
        several_commas=int((commas.str.count_matches(",", literal=True) > 1).sum()),
        with_point=int(_matches(bare, r"\.").sum()),
    )


def choose_notation(
    counts: CellCounts, decimal: str | None, comma_likely: bool
) -> tuple[str, bool]:
    """The notation that reads most cells, and whether its commas could mean something else.

    Returns:
        ``"plain"``, ``"spaced"``, ``"decimal comma"``, ``"thousands"`` or ``"truth"``.
    """
    if decimal != "," and counts.all_plain:
        return "plain", False
    if counts.known and counts.truth == counts.known:
        return "truth", False
    if decimal is not None:
        return ("decimal comma" if decimal == "," else "thousands"), False
    if not counts.with_comma:
        return ("spaced" if counts.spaced > counts.plain else "plain"), False
    thousands = counts.could_be_thousands == counts.with_comma
    several = counts.several_commas > 0
    ambiguous = thousands and not several and not counts.with_point
    as_decimals = ambiguous and comma_likely
    prefer_anglo = counts.anglo > counts.european or (
        counts.anglo == counts.european and (several or not as_decimals)
    )
    return ("thousands" if prefer_anglo and not as_decimals else "decimal comma"), ambiguous


def read_notation(text: pl.Series, notation: str) -> pl.Series:
    """Cleaned text as Float64; null where the notation does not read a cell."""
    values: pl.Series
    if notation == "truth":
        values = text.str.to_lowercase().is_in(list(_TRUE)).cast(pl.Float64)
        values = values.set(text.is_null(), None)
    elif notation == "decimal comma":
        values = _european(_bare(text))
    elif notation == "spaced":
        values = _bare(text).cast(pl.Float64, strict=False)
    else:
        values = text.cast(pl.Float64, strict=False)
        if notation != "plain":
            values = _fill(values, _anglo(_bare(text)))
    return values


def _from_text(text: pl.Series, decimal: str | None, comma_likely: bool) -> Numbers:
    counts = count_plain(text)
    if decimal == "," or not counts.all_plain:
        counts = count_cells(text)
    notation, ambiguous = choose_notation(counts, decimal, comma_likely)
    values = read_notation(text, notation)
    bad = values.is_null() & text.is_not_null()
    values, infinite = _finite(values)
    style = "thousands" if notation == "spaced" else notation
    return Numbers(values, bad, style, ambiguous, infinite)


def _bare(text: pl.Series) -> pl.Series:
    return text.str.replace_all(_GROUP_MARKS, "")


def _european(bare: pl.Series) -> pl.Series:
    strict = bare.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    strict = strict.cast(pl.Float64, strict=False).set(~_matches(bare, _EUROPEAN), None)
    return _fill(strict, bare.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False))


def _anglo(bare: pl.Series) -> pl.Series:
    values = bare.str.replace_all(",", "", literal=True).cast(pl.Float64, strict=False)
    strict: pl.Series = values.set(~_matches(bare, _ANGLO), None)
    return strict


def _known(values: pl.Series) -> int:
    return len(values) - values.null_count()


def _matches(text: pl.Series, pattern: str) -> pl.Series:
    return text.str.contains(pattern).fill_null(value=False)


def _fill(first: pl.Series, second: pl.Series) -> pl.Series:
    return pl.select(pl.coalesce(first, second)).to_series().rename(first.name)
