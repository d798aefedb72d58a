"""Numbers, shares and durations as text: one convention for terminal, report and figures.

Shares are written ``95%``, without a space. Negative numbers carry a minus sign (−), and a value
that is not known is a dash (–). Imports nothing of grace, so every package can use it.
"""

from __future__ import annotations

import math
import re

__all__ = [
    "count",
    "duration",
    "interval",
    "number",
    "p_value",
    "percent",
    "plain_name",
    "printable",
    "signed",
    "signed_short",
    "spread",
]

UNKNOWN = "–"
# Control characters except line feed and tab, marks that reverse the direction of text, line and
# paragraph separators, lone surrogates (bytes of a path that are no UTF-8), non-characters.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def printable(text: str) -> str:
    r"""Text from data or paths for terminals, pages and figures: control characters as escapes.

    Example:
        >>> printable("pump \x1b[31m7")
        'pump \\x1b[31m7'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text)


def number(value: float | None) -> str:
    """A number with fewer decimals the larger it is.

    Example:
        >>> number(11.988), number(288.46), number(17008.47), number(5.4e8), number(None)
        ('11.99', '288.5', '17,008', '5.4e+08', '–')
        >>> number(0.00123), number(-3.5), number(float("inf"))
        ('0.0012', '−3.50', '∞')
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    text = f"{value:.2f}"
    if size >= 1e7:
        text = f"{value:.1e}"
    elif round(size, 1) >= 1000:
        text = f"{value:,.0f}"
    elif round(size, 2) >= 100:
        text = f"{value:.1f}"
    elif 0 < size < 0.1:
        text = f"{value:.2g}"
    return text.replace("-", "−") if value < 0 else text


def signed(value: float | None) -> str:
    """As :func:`number`, with a plus sign for positive values.

    Example:
        >>> signed(1.42), signed(-0.07), signed(0.0)
        ('+1.42', '−0.07', '0.00')
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    return ("+" if value > 0 else "") + number(value)


def signed_short(value: float | None) -> str:
    """One decimal with its sign.

    Example:
        >>> signed_short(8.31), signed_short(-0.42), signed_short(0.01)
        ('+8.3', '−0.4', '0.0')
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    return "0.0" if abs(value) < 0.05 else f"{value:+,.1f}".replace("-", "−")


def percent(share: float | None, decimals: int = 0) -> str:
    """A share as a percentage.

    Example:
        >>> percent(0.95), percent(0.9512, 1), percent(None)
        ('95%', '95.1%', '–')
    """
    if share is None or math.isnan(share):
        return UNKNOWN
    return f"{share:.{decimals}%}".replace("-", "−")


def p_value(p: float | None) -> str:
    """A p value with three decimals.

    Example:
        >>> p_value(0.0625), p_value(0.0002), p_value(None)
        ('0.062', '< 0.001', '–')
    """
    if p is None or math.isnan(p):
        return UNKNOWN
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


def interval(low: float | None, high: float | None) -> str:
    """The limits of an interval.

    Example:
        >>> interval(10.184, 14.6), interval(-1.5, 0.25)
        ('10.18 to 14.60', '−1.50 to 0.25')
    """
    return f"{number(low)} to {number(high)}"


def spread(mean: float | None, std: float | None) -> str:
    """A mean and its standard deviation; empty without a mean.

    Example:
        >>> spread(12.5, 0.31), spread(12.5, None), spread(None, None)
        ('12.50 ± 0.31', '12.50', '')
    """
    if mean is None:
        return ""
    return number(mean) + ("" if std is None else f" ± {number(std)}")


def duration(seconds: float | None) -> str:
    """A time in seconds, minutes or hours.

    Example:
        >>> duration(56.2), duration(700), duration(12240)
        ('56 s', '12 min', '3.4 h')
    """
    if seconds is None or math.isnan(seconds):
        return UNKNOWN
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7170 else f"{seconds / 3600:.1f} h"


def count(n: int, noun: str) -> str:
    """A number of things, with the noun in singular or plural.

    Example:
        >>> count(1, "unit"), count(1600, "unit")
        ('1 unit', '1,600 units')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def plain_name(name: str) -> str:
    """A registry name as plain words.

    Example:
        >>> plain_name("gradient_boosting_all_inputs")
        'gradient boosting, all inputs'
    """
    return name.replace("_all_inputs", ", all inputs").replace("_", " ")
