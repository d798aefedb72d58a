"""An evaluation as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from grace.evaluation import Evaluation, LabelPair, PredictorMetrics
from grace.formatting import interval as limits
from grace.formatting import number, percent, plain_name, signed

__all__ = ["render_evaluation"]

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def render_evaluation(
    evaluation: Evaluation, validation_selected: Evaluation | None = None
) -> RenderableType:
    """The whole evaluation: protocol, headline, comparison, zones, health, remarks.

    Args:
        evaluation: of the chosen checkpoint.
        validation_selected: for a test-selected run, the evaluation of the checkpoint of
            the same training that the validation units selected, with its optimism gap.
    """
    return Group(*_parts(evaluation, validation_selected))


def _parts(
    evaluation: Evaluation, validation_selected: Evaluation | None
) -> Iterator[RenderableType]:
    protocol, last = evaluation.protocol, evaluation.model.last_cycle
    mark = f"  [{protocol.mark}]" if protocol.mark else ""
    interval = last.capped.intervals.get("rmse")
    spread = f" (95% interval {limits(interval.low, interval.high)})" if interval else ""
    yield Panel(
        Text.assemble(
            (f"test RMSE {number(evaluation.rmse)} {protocol.time_unit}", "bold"),
            f"{spread}, NASA score {number(evaluation.nasa)}",
            (mark, "bold red"),
            f"\n{protocol.sentence()}",
        ),
        title=f"{escape(protocol.dataset)}, last record, labels capped at {protocol.label_cap:g}",
    )
    yield _comparison(evaluation)
    yield _zones(evaluation)
    health = evaluation.model.health_last_cycle
    if health is not None:
        accuracy = percent(health.accuracy, 1)
        yield Text(f"health state: accuracy {accuracy}, macro F1 {health.macro_f1:.3f}{mark}")
    gap = (validation_selected or evaluation).optimism_gap
    if gap is not None and validation_selected is not None:
        yield Text(
            f"optimism gap (test-selected minus validation-selected, same training): RMSE "
            f"{signed(gap.rmse_capped)} capped, {signed(gap.rmse_raw)} raw; NASA "
            f"{signed(gap.nasa_capped)}. The RMSE of the validation-selected checkpoint is "
            f"{number(validation_selected.rmse)}.",
            style="bold",
        )
    for flag in evaluation.flags:
        yield Text(f"{flag.severity}: {flag.message}", style=_STYLES[flag.severity])


def _comparison(evaluation: Evaluation) -> Table:
    """Capped and raw labels side by side, narrow enough for 80 columns."""
    mark = evaluation.protocol.mark
    table = Table(title="Compared with trivial baselines" + (f" ({mark})" if mark else ""))
    table.add_column("predictor")
    for name in ("RMSE capped", "95% interval", "NASA", "bias", "late", "RMSE raw"):
        table.add_column(name, justify="right", no_wrap=True)
    model = evaluation.model
    own = "stack" if evaluation.protocol.selection_rows == "out_of_fold" else "network"
    rows = [(own, model.last_cycle), *((k, v.last_cycle) for k, v in _baselines(evaluation))]
    for name, pair in rows:
        table.add_row(name, *_figures(pair), style="bold" if name == own else "")
    table.add_section()
    table.add_row(f"{own}, all records", *_figures(model.all_cycles))
    return table


def _baselines(evaluation: Evaluation) -> list[tuple[str, PredictorMetrics]]:
    return [(plain_name(name), evaluated) for name, evaluated in evaluation.baselines.items()]


def _figures(pair: LabelPair) -> tuple[str, ...]:
    capped, interval = pair.capped, pair.capped.intervals.get("rmse")
    return (
        number(capped.rmse),
        limits(interval.low, interval.high) if interval else "",
        number(capped.nasa_sum),
        signed(capped.bias),
        percent(capped.late_share),
        number(pair.raw.rmse),
    )


def _zones(evaluation: Evaluation) -> Table:
    unit, mark = evaluation.protocol.time_unit, evaluation.protocol.mark
    table = Table(title="Error by true RUL, last record, capped" + (f" ({mark})" if mark else ""))
    for name in (f"RUL [{unit}]", "units", "RMSE", "bias", "MAE", "late"):
        table.add_column(name.replace("[", r"\["), justify="right")
    for zone in evaluation.zones:
        figures = (number(zone.rmse), signed(zone.bias), number(zone.mae))
        known = zone.n > 0
        table.add_row(
            escape(zone.zone),
            str(zone.n),
            *(figures if known else ("", "", "")),
            percent(zone.late_share) if known else "",
        )
    return table
