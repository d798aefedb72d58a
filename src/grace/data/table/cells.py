"""Cells of any type as numbers: decimal commas, thousands separators, markers of missing values."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

__all__ = ["MISSING_MARKERS", "Numbers", "clean_text", "to_numbers"]

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


def _from_text(text: pl.Series, decimal: str | None, comma_likely: bool) -> Numbers:
    values = text.cast(pl.Float64, strict=False)
    bad = values.is_null() & text.is_not_null()
    style, ambiguous = "plain", False
    if decimal == "," or bad.any():
        style, ambiguous, values = _other_notation(text, values, decimal, comma_likely)
        bad = values.is_null() & text.is_not_null()
    values, infinite = _finite(values)
    return Numbers(values, bad, style, ambiguous, infinite)


def _other_notation(
    text: pl.Series, plain: pl.Series, decimal: str | None, comma_likely: bool
) -> tuple[str, bool, pl.Series]:
    """The notation that reads most cells: plain, decimal comma, thousands separators or truth."""
    known = text.drop_nulls()
    lower = known.str.to_lowercase()
    if lower.is_in([*_TRUE, *_FALSE]).mean() == 1.0:
        truth = text.str.to_lowercase().is_in(list(_TRUE)).cast(pl.Float64)
        return "truth", False, truth.set(text.is_null(), None)
    bare = text.str.replace_all(_GROUP_MARKS, "")
    european = bare.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    european = european.cast(pl.Float64, strict=False).set(~_matches(bare, _EUROPEAN), None)
    comma = bare.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    if decimal == ",":
        return "decimal comma", False, _fill(european, comma)
    anglo = bare.str.replace_all(",", "", literal=True).cast(pl.Float64, strict=False)
    anglo = anglo.set(~_matches(bare, _ANGLO), None)
    if decimal == ".":
        return "thousands", False, _fill(plain, anglo)
    with_comma = bare.filter(bare.str.contains(",", literal=True).fill_null(value=False))
    if with_comma.is_empty():
        spaced = bare.cast(pl.Float64, strict=False)
        better = spaced.null_count() < plain.null_count()
        return ("thousands", False, spaced) if better else ("plain", False, plain)
    thousands = bool(with_comma.str.contains(_COULD_BE_THOUSANDS).all())
    several = bool((with_comma.str.count_matches(",", literal=True) > 1).any())
    ambiguous = thousands and not several and not _matches(bare, r"\.").any()
    n_anglo, n_european = anglo.null_count(), _fill(european, comma).null_count()
    prefer_anglo = n_anglo < n_european or (
        n_anglo == n_european and (several or not (ambiguous and comma_likely))
    )
    if prefer_anglo and not (ambiguous and comma_likely):
        return "thousands", ambiguous, _fill(plain, anglo)
    return "decimal comma", ambiguous, _fill(european, comma)


def _matches(text: pl.Series, pattern: str) -> pl.Series:
    return text.str.contains(pattern).fill_null(value=False)


def _fill(first: pl.Series, second: pl.Series) -> pl.Series:
    return pl.select(pl.coalesce(first, second)).to_series().rename(first.name)
