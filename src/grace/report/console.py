"""An evaluation as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from grace.evaluation import Evaluation, LabelPair, PredictorMetrics

__all__ = ["render_evaluation"]

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def render_evaluation(
    evaluation: Evaluation, validation_selected: Evaluation | None = None
) -> RenderableType:
    """The whole evaluation: protocol, headline, comparison, zones, health, remarks.

    Args:
        evaluation: of the chosen checkpoint.
        validation_selected: for a test-selected run, the honest evaluation of the same training,
            with its optimism gap.
    """
    return Group(*_parts(evaluation, validation_selected))


def _parts(evaluation: Evaluation, honest: Evaluation | None) -> Iterator[RenderableType]:
    protocol, last = evaluation.protocol, evaluation.model.last_cycle
    mark = f"  [{protocol.mark}]" if protocol.mark else ""
    interval = last.capped.intervals.get("rmse")
    spread = f" (95% interval {interval.low:.2f} to {interval.high:.2f})" if interval else ""
    yield Panel(
        Text.assemble(
            (f"test RMSE {evaluation.rmse:.2f} {protocol.time_unit}", "bold"),
            f"{spread}, NASA score {evaluation.nasa:.0f}",
            (mark, "bold red"),
            f"\n{protocol.sentence()}",
        ),
        title=f"{escape(protocol.dataset)}, last cycle, labels capped at {protocol.label_cap:g}",
    )
    yield _comparison(evaluation)
    yield _zones(evaluation)
    health = evaluation.model.health_last_cycle
    if health is not None:
        yield Text(
            f"health state: accuracy {health.accuracy:.1%}, macro F1 {health.macro_f1:.3f}{mark}"
        )
    gap = (honest or evaluation).optimism_gap
    if gap is not None and honest is not None:
        yield Text(
            f"optimism gap (test-selected minus validation-selected, same training): RMSE "
            f"{gap.rmse_capped:+.2f} capped, {gap.rmse_raw:+.2f} raw; NASA {gap.nasa_capped:+.0f}. "
            f"The honest RMSE is {honest.rmse:.2f}.",
            style="bold",
        )
    for flag in evaluation.flags:
        yield Text(f"{flag.severity}: {flag.message}", style=_STYLES[flag.severity])


def _comparison(evaluation: Evaluation) -> Table:
    """Capped and raw labels side by side, narrow enough for 80 columns."""
    mark = evaluation.protocol.mark
    table = Table(title="Beside the trivial baselines" + (f" ({mark})" if mark else ""))
    table.add_column("predictor")
    for name in ("RMSE capped", "95% interval", "NASA", "bias", "late", "RMSE raw"):
        table.add_column(name, justify="right", no_wrap=True)
    model = evaluation.model
    rows = [("network", model.last_cycle), *((k, v.last_cycle) for k, v in _beside(evaluation))]
    for name, pair in rows:
        table.add_row(name, *_figures(pair), style="bold" if name == "network" else "")
    table.add_section()
    table.add_row("network, all cycles", *_figures(model.all_cycles))
    return table


def _beside(evaluation: Evaluation) -> list[tuple[str, PredictorMetrics]]:
    return [(name.replace("_", " "), evaluated) for name, evaluated in evaluation.baselines.items()]


def _figures(pair: LabelPair) -> tuple[str, ...]:
    capped, interval = pair.capped, pair.capped.intervals.get("rmse")
    return (
        f"{capped.rmse:.2f}",
        f"{interval.low:.2f} – {interval.high:.2f}" if interval else "",
        f"{capped.nasa_sum:,.0f}",
        f"{capped.bias:+.2f}",
        f"{capped.late_share:.0%}",
        f"{pair.raw.rmse:.2f}",
    )


def _zones(evaluation: Evaluation) -> Table:
    unit, mark = evaluation.protocol.time_unit, evaluation.protocol.mark
    table = Table(title="Error by true RUL, last cycle, capped" + (f" ({mark})" if mark else ""))
    for name in (f"RUL [{unit}]", "units", "RMSE", "bias", "MAE", "late"):
        table.add_column(name.replace("[", r"\["), justify="right")
    for zone in evaluation.zones:
        figures = (zone.rmse, zone.bias, zone.mae)
        known = zone.n > 0
        table.add_row(
            escape(zone.zone),
            str(zone.n),
            *(f"{v:.2f}" if known else "" for v in figures),
            f"{zone.late_share:.0%}" if known else "",
        )
    return table
