"""`grace plan`: which units to replace when, at what cost, and whether prognosis pays."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grace.cli.shared import out, plain_errors, say, stop

if TYPE_CHECKING:
    import polars as pl

    from grace.decisions import Capacity, DecisionInputs, MaintenancePlan, ReplacementPolicy
    from grace.estimator import RULModel
    from grace.uncertainty import RULDistribution

__all__ = ["plan"]

_SUFFIXES = (".csv", ".json", ".parquet", ".ics", ".html")


def plan(
    table: Annotated[
        str, typer.Argument(help="Table of the units in service, in the format of training.")
    ],
    model: Annotated[Path, typer.Option(help="Folder of a model trained with --data.")],
    failure_cost: Annotated[
        float, typer.Option(help="Cost of a failure in service, its replacement included.")
    ],
    planned_cost: Annotated[float, typer.Option(help="Cost of a planned replacement.")],
    lead_time: Annotated[
        str, typer.Option(help="From the decision to the replacement, e.g. 10 or '2 days'.")
    ] = "0",
    interval: Annotated[
        str | None,
        typer.Option(help="Time between two decisions.", show_default="the period of --capacity"),
    ] = None,
    capacity: Annotated[
        str | None,
        typer.Option(
            help="Replacements per period: 3/week, or 3/20 (3 per 20 time units of the model).",
            show_default="unlimited",
        ),
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Number of slots planned.")] = 12,
    persistence: Annotated[
        str, typer.Option(help="An alarm needs k of the last n decisions: k/n.")
    ] = "1/1",
    false_alarm_budget: Annotated[
        float | None,
        typer.Option(
            help="Largest rate of false alarms: number per unit and unit of time.",
            show_default="no limit",
        ),
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(help="Time of the table's last rows; for .ics.", show_default="now"),
    ] = None,
    currency: Annotated[str, typer.Option(help="Printed with costs.")] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File to write: .csv, .json, .parquet, .ics (calendar) or .html (page). May be "
            "left out: the plan is printed.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Plan replacements from costs, lead time and capacity.

    The alarm threshold is the one of least long-run cost on the training
    units, each predicted by models that never saw it. Costs are compared with
    run to failure, replacement at a fixed age, and perfect prognosis; the
    output says where prognosis does not pay.

    \b
    Examples:
      grace plan today.csv --model runs/pumps --failure-cost 50000 \\
            --planned-cost 8000 --lead-time 10 --capacity 3/week
      grace plan today.csv --model runs/pumps --failure-cost 50000 \\
            --planned-cost 8000 --interval 20 --out plan.html
    """
    with plain_errors():
        if output is not None and output.suffix not in _SUFFIXES:
            stop(f"--out {output}: the name must end with one of {', '.join(_SUFFIXES)}")
        from grace.cli.plan_text import age_lines, show_policies, show_units, summary_lines
        from grace.decisions import (
            Capacity,
            fit_policy,
            model_trajectories,
            plan_maintenance,
        )
        from grace.estimator import RULModel

        loaded = RULModel.load(model)
        unit = loaded.fleet_schema_.time_unit
        try:
            places = None if capacity is None else Capacity.parse(capacity, unit)
            inputs = _inputs(
                failure_cost, planned_cost, lead_time, interval, places, persistence,
                false_alarm_budget, unit,
            )  # fmt: skip
            if output is not None and output.suffix == ".ics":
                from grace.report.calendar import calendar_seconds

                calendar_seconds(unit)
            policy = fit_policy(model_trajectories(loaded), inputs)
        except ValueError as error:
            stop(str(error))
        frame, distribution, alarms = _in_service(loaded, table, policy)
        planned = plan_maintenance(
            frame["unit"].to_list(), distribution, inputs,
            cost_rate=policy.comparison.best_cost, capacity=places, n_slots=slots, time_unit=unit,
            monitoring=policy.comparison["prognosis"],
        )  # fmt: skip
        content = planned.frame.join(
            frame.select("unit", "age", "alarm", "probability_within_horizon"),
            on="unit",
            how="left",
            maintain_order="left",
        ).with_columns(until_replacement_age=_until(policy.replacement_age))
        end = inputs.lead_time + len(planned.slots) * (places.period if places else inputs.interval)
        lines = [
            *policy.sentences(currency),
            *age_lines(content, policy, end),
            *summary_lines(planned, places, alarms, end, currency),
        ]
        for line in lines:
            out.print(line, highlight=False)
        out.print()
        show_policies(policy)
        out.print()
        show_units(content, unit)
        if output is not None:
            _write(output, content, planned, policy, lines, unit, start or datetime.now(), currency)
            say(f"plan of {content.height} units: {output}")


def _inputs(
    failure_cost: float,
    planned_cost: float,
    lead_time: str,
    interval: str | None,
    places: Capacity | None,
    persistence: str,
    budget: float | None,
    unit: str,
) -> DecisionInputs:
    """The options as inputs; errors name the option."""
    from pydantic import ValidationError

    from grace.decisions import DecisionInputs

    if interval is None and places is None:
        raise ValueError("give --interval, the time between two decisions, or --capacity")
    try:
        return DecisionInputs(
            failure_cost=failure_cost,
            planned_cost=planned_cost,
            lead_time=0.0 if lead_time.strip() == "0" else _time("--lead-time", lead_time, unit),
            interval=places.period
            if interval is None and places is not None
            else _time("--interval", str(interval), unit),
            persistence=_persistence(persistence),
            false_alarm_budget=budget,
        )
    except ValidationError as error:
        found = []
        for e in error.errors():
            given = f"--{str(e['loc'][0]).replace('_', '-')} {e['input']}: " if e["loc"] else ""
            text = str(e["msg"]).removeprefix("Value error, ")
            found.append(given + text.replace("Input should be", "must be"))
        raise ValueError("; ".join(found)) from error


def _time(option: str, text: str, unit: str) -> float:
    from grace.decisions.inputs import slot_length

    try:
        return slot_length(text, unit)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error


def _in_service(
    model: RULModel, table: str, policy: ReplacementPolicy
) -> tuple[pl.DataFrame, RULDistribution, list[str]]:
    """Units at their last row with their alarms, their distributions, and the alarms alone."""
    import numpy as np

    from grace.decisions import raise_alarms
    from grace.decisions.alarms import LEVELS

    several = policy.inputs.persistence[1] > 1  # needs predictions of earlier decisions, too
    frame, distribution = model.predict_distribution(table, every_row=several)
    new = (frame["unit"] != frame["unit"].shift(1)).fill_null(value=True).to_numpy()
    owner = np.cumsum(new) - 1
    age = frame["age"].to_numpy().astype(np.float64)
    alarms = raise_alarms(distribution, owner, policy.threshold, policy.inputs, age=age)
    last = np.append(np.flatnonzero(new)[1:] - 1, len(new) - 1)
    names = [LEVELS[k] for k in alarms.level]
    units = frame[last].with_columns(
        alarm=np.array(names), probability_within_horizon=alarms.within
    )
    return units, distribution[last], names


def _until(replacement_age: float) -> pl.Expr:
    import polars as pl

    if replacement_age == float("inf"):
        return pl.lit(None, pl.Float64)
    return (replacement_age - pl.col("age")).clip(lower_bound=0.0)


def _persistence(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if found is None:
        raise ValueError(f"--persistence {text}: write k/n, e.g. 2/3")
    return int(found[1]), int(found[2])


def _write(
    path: Path,
    content: pl.DataFrame,
    planned: MaintenancePlan,
    policy: ReplacementPolicy,
    lines: list[str],
    unit: str,
    start: datetime,
    currency: str,
) -> None:
    from io import BytesIO

    from grace.files import write_bytes, write_text

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".ics":
        from grace.report.calendar import calendar_of

        write_bytes(path, calendar_of(planned, start))
    elif path.suffix == ".html":
        from grace.report.plan_page import plan_page

        write_text(path, plan_page(content, policy, lines, time_unit=unit, currency=currency))
    elif path.suffix == ".parquet":
        buffer = BytesIO()
        content.write_parquet(buffer)
        write_bytes(path, buffer.getvalue())
    else:
        write_text(path, content.write_csv() if path.suffix == ".csv" else content.write_json())
