"""The look of figures and pages: one palette, for light and dark, and matplotlib's settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from matplotlib import style as mpl_style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = ["PALETTE", "STATES", "Tone", "figure_style", "new_figure", "state_color", "state_names"]


class Tone(NamedTuple):
    """A colour on white and its counterpart on near-black."""

    light: str
    dark: str


# Figures are drawn in the light colours; in a page each becomes a CSS variable that follows the
# reader's scheme, so no two light colours may be equal. Hues after Okabe & Ito: blue, vermilion
# and bluish green stay apart under every common colour blindness.
PALETTE: dict[str, Tone] = {
    "ink": Tone("#1c2733", "#e6ebf0"),
    "muted": Tone("#5a6876", "#9caab8"),
    "grid": Tone("#dfe4ea", "#2d3742"),
    "paper": Tone("#ffffff", "#151b22"),
    "model": Tone("#0b63a8", "#62b0f0"),
    "late": Tone("#c9500c", "#ff9a5c"),
    "early": Tone("#0a7f6b", "#45cbb0"),
    "reference": Tone("#8d98a4", "#76838f"),
    "second": Tone("#8a4a9e", "#cf9fe0"),
    "state0": Tone("#a9cfe6", "#2f6284"),
    "state1": Tone("#eebb55", "#c08f2c"),
    "state2": Tone("#b3362e", "#ef6f62"),
}

INK, MUTED, GRID, PAPER = (PALETTE[k].light for k in ("ink", "muted", "grid", "paper"))
MODEL, LATE, EARLY = (PALETTE[k].light for k in ("model", "late", "early"))
REFERENCE, SECOND = PALETTE["reference"].light, PALETTE["second"].light
STATES = ("state0", "state1", "state2")

_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.parse_math": False,  # a unit may be called $x$
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.xmargin": 0.02,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "legend.labelcolor": INK,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "figure.facecolor": "none",
    "figure.dpi": 72.0,
    "savefig.facecolor": "auto",
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
    "text.hinting": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "grace",
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Matplotlib with its defaults and the settings of grace inside; unchanged outside.

    Example:
        >>> from grace.plots import error_distribution
        >>> with figure_style():
        ...     ax = error_distribution([-3.0, 1.5, 4.0], time_unit="hours")
        >>> ax.get_xlabel()
        'predicted minus true RUL, hours'
    """
    with mpl_style.context(["default", _SETTINGS]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this many CSS pixels (at one point per pixel), laid out to fit."""
    figure = Figure(figsize=(width / 72.0, height / 72.0), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(w_pad=2 / 72, h_pad=2 / 72)  # type: ignore[call-arg]
    return figure


def state_names(n: int) -> list[str]:
    """Names of n health states, the best first."""
    known = {2: ["healthy", "critical"], 3: ["healthy", "degrading", "critical"]}
    return known.get(n, ["healthy", *(f"worn {k}" for k in range(1, n - 1)), "critical"][:n])


def state_role(state: int, n: int) -> str:
    """The palette entry of a health state: first and last are fixed, what is between shares one."""
    return STATES[0] if state == 0 else STATES[2] if state == n - 1 else STATES[1]


def state_color(state: int, n: int) -> str:
    """The light colour of a health state of n."""
    return PALETTE[state_role(state, n)].light


def log_scale(ax: Axes) -> None:
    """A logarithmic vertical axis with plain numbers at the powers of ten."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    few = high / low < 30.0
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=8))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def legend_above(ax: Axes, columns: int = 4) -> None:
    """The legend in one line above the axes, clear of the data."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        columnspacing=1.4,
        handletextpad=0.5,
    )
