"""One picture that sums a run up, for the first screen of a README."""

from __future__ import annotations

import textwrap
from pathlib import Path

from matplotlib.figure import Figure

from grace.report.figures_errors import draw_zones
from grace.report.figures_units import draw_sorted, draw_trajectory
from grace.report.formatting import figure as number
from grace.report.formatting import interval_text, level_of, predictor_name
from grace.report.run_data import RunData, read_run_data
from grace.report.select_units import SelectedUnit, select_units
from grace.report.style import INK, LATE, MUTED, PAPER, figure_style
from grace.report.tables import rivals

__all__ = ["overview_figure"]


def overview_figure(run_folder: Path, output_png: Path) -> Path:
    """Draw test units by true life, two units over time and the error by zone: 1600 × 900 pixels.

    Args:
        run_folder: folder of a finished run.
        output_png: where the picture goes.

    Raises:
        ArtifactError: the folder holds no finished run.
    """
    run_data = read_run_data(Path(run_folder))
    with figure_style():
        drawn = _draw(run_data)
        Path(output_png).parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(output_png, dpi=100, facecolor=PAPER, metadata={"Software": None})
    return Path(output_png)


def _draw(m: RunData) -> Figure:
    drawn = Figure(figsize=(16, 9), dpi=100)
    grid = drawn.add_gridspec(
        2, 3, left=0.045, right=0.965, top=0.81, bottom=0.145, hspace=0.4, wspace=0.2
    )
    evaluation, protocol = m.evaluation, m.evaluation.protocol
    limits = protocol.health_thresholds
    last = evaluation.model.last_cycle.capped
    interval = last.intervals.get("rmse")
    between = f"  ({level_of(last)} interval {interval_text(interval)})" if interval else ""
    drawn.text(
        0.045, 0.95, f"{protocol.dataset}: RMSE {number(last.rmse)} {m.time_unit}", va="center",
        fontsize=25, fontweight="bold", color=INK,
    )  # fmt: skip
    beside = [
        f"{predictor_name(name)} {number(evaluation.baselines[name].last_cycle.capped.rmse)}"
        for name in rivals(evaluation)
    ]
    line = f"at the last record of {last.n_units} test units{between}"
    line += f"   ·   beside it: {'; '.join(beside)}" if beside else ""
    drawn.text(0.045, 0.895, line, va="center", fontsize=13.5, color=MUTED)
    if m.mark:
        drawn.text(
            0.975, 0.95, m.mark, va="center", ha="right", fontsize=15, fontweight="bold",
            color=PAPER, bbox={"boxstyle": "round,pad=0.5", "facecolor": LATE, "edgecolor": LATE},
        )  # fmt: skip

    top = drawn.add_subplot(grid[0, :])
    draw_sorted(top, m.evaluated, m.cap, limits, m.time_unit)
    zones = drawn.add_subplot(grid[1, 2])
    draw_zones(zones, evaluation.zones, evaluation.rmse, m.time_unit)
    zones.set_title("Error by zone", fontsize=12.5, pad=12)
    for column, chosen in enumerate(_two(m)):
        pair = grid[1, column].subgridspec(2, 1, height_ratios=(8, 1.1), hspace=0.08)
        ax = drawn.add_subplot(pair[0])
        strip = drawn.add_subplot(pair[1], sharex=ax)
        draw_trajectory(ax, strip, chosen.trajectory, m.cap, m.n_states, limits)
        ax.tick_params(labelbottom=False)
        ax.set_ylabel(f"RUL, {m.time_unit}")
        strip.set_xlabel(m.time_unit)
        if chosen.trajectory.states is None:
            ax.set_position(grid[1, column].get_position(drawn))
            ax.tick_params(labelbottom=True)
            strip.set_visible(False)
        ax.set_title(f"Unit {chosen.trajectory.unit}: {chosen.reason}", fontsize=12.5, pad=12)
        if column == 0:
            ax.legend(loc="lower left", fontsize=10)
    sentence = textwrap.fill(protocol.sentence(), 210)
    drawn.text(0.045, 0.036, sentence, va="center", fontsize=10, color=MUTED, linespacing=1.5)
    return drawn


def _two(m: RunData) -> list[SelectedUnit]:
    chosen = select_units(m)
    telling = [c for c in chosen if c.reason in ("nearest to failure", "median error")]
    return (telling or chosen)[:2]
