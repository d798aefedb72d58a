"""One figure that summarises a run, for the first screen of a README."""

from __future__ import annotations

import textwrap
from pathlib import Path

from matplotlib.figure import Figure

from grace import plots
from grace.formatting import count, number, plain_name
from grace.plots.style import INK, LATE, MUTED, PAPER, figure_style
from grace.report.intervals import interval_text, level_of
from grace.report.report_figures import trajectory_frame
from grace.report.run_data import RunData, read_run_data
from grace.report.select_units import SelectedUnit, select_units
from grace.report.tables import rivals

__all__ = ["overview_figure"]


def overview_figure(run_folder: Path, output_png: Path) -> Path:
    """Draw test units by true life, two units over time and the error by zone: 1600 × 900 pixels.

    Args:
        run_folder: folder of a finished run.
        output_png: PNG file to write.

    Raises:
        ArtifactError: the folder holds no finished run.

    Example:
        >>> overview_figure(Path("runs/first"), Path("overview.png")).name
        'overview.png'
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
    compared = [
        f"{plain_name(name)} {number(evaluation.baselines[name].last_cycle.capped.rmse)}"
        for name in rivals(evaluation)
    ]
    line = f"at the last record of {count(last.n_units, 'test unit')}{between}"
    line += f"   ·   compared with: {'; '.join(compared)}" if compared else ""
    drawn.text(0.045, 0.895, line, va="center", fontsize=13.5, color=MUTED)
    if m.mark:
        drawn.text(
            0.975, 0.95, m.mark, va="center", ha="right", fontsize=15, fontweight="bold",
            color=PAPER, bbox={"boxstyle": "round,pad=0.5", "facecolor": LATE, "edgecolor": LATE},
        )  # fmt: skip

    top = drawn.add_subplot(grid[0, :])
    last_rows = {
        "rul": [t.predicted[-1] for t in m.evaluated],
        "rul_true": [t.true[-1] for t in m.evaluated],
    }
    if m.evaluated:
        plots.predictions_by_true_rul(
            last_rows, top, time_unit=m.time_unit, cap=m.cap, thresholds=limits
        )
    zones = drawn.add_subplot(grid[1, 2])
    if evaluation.zones:
        plots.error_by_zone(evaluation.zones, zones, time_unit=m.time_unit, overall=evaluation.rmse)
    zones.set_title("Error by zone", fontsize=12.5, pad=12)
    for column, chosen in enumerate(_two(m)):
        strip = chosen.trajectory.states is not None
        part = grid[1, column].subgridspec(2, 1, height_ratios=(8, 1.6 if strip else 0.01))
        ax = drawn.add_subplot(part[0])
        plots.rul_trajectory(
            trajectory_frame(chosen.trajectory),
            ax,
            time_unit=m.time_unit,
            cap=m.cap,
            thresholds=limits,
            legend=False,
        )
        ax.set_title(f"Unit {chosen.trajectory.unit}: {chosen.reason}", fontsize=12.5, pad=12)
        if column == 0:
            ax.legend(loc="lower left", fontsize=10)
    sentence = textwrap.fill(protocol.sentence(), 210)
    drawn.text(0.045, 0.036, sentence, va="center", fontsize=10, color=MUTED, linespacing=1.5)
    return drawn


def _two(m: RunData) -> list[SelectedUnit]:
    chosen = select_units(m)
    typical = [c for c in chosen if c.reason in ("nearest to failure", "median error")]
    return (typical or chosen)[:2]
