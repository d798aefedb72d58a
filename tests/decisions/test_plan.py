"""Plans: capacity, optimality against enumeration, reasons, calendar, and the command."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import grace
from grace.cli import app
from grace.decisions import (
    Capacity,
    DecisionInputs,
    PolicyOutcome,
    fit_policy,
    model_trajectories,
    plan_maintenance,
    raise_alarms,
)
from grace.decisions.assignment import slot_costs, watching_costs
from grace.decisions.inputs import slot_length
from grace.report.calendar import calendar_of
from grace.uncertainty import RULDistribution

EDGES = np.arange(0.0, 201.0, 2.0)
INPUTS = DecisionInputs(failure_cost=50.0, planned_cost=8.0, lead_time=4.0, interval=10.0)


def distributions(means: Any, spread: float = 0.3) -> RULDistribution:
    z = (np.log(np.maximum(EDGES, 1e-9))[None] - np.log(np.asarray(means))[:, None]) / spread
    curves = 1.0 / (1.0 + np.exp(1.702 * np.clip(z, -40, 40)))
    curves[:, 0] = 1.0
    return RULDistribution(EDGES, np.minimum.accumulate(curves, axis=1))


def plan(means: Any, count: int | None = 1, n_slots: int = 3, rate: float = 0.1) -> Any:
    capacity = None if count is None else Capacity(count=count, period=10.0)
    units = [f"u{k}" for k in range(len(means))]
    return plan_maintenance(
        units, distributions(means), INPUTS, cost_rate=rate, capacity=capacity, n_slots=n_slots
    )


@settings(max_examples=25, deadline=None)
@given(
    means=st.lists(st.floats(5.0, 150.0), min_size=1, max_size=5),
    count=st.integers(1, 3),
    rate=st.floats(0.0, 1.0),
)
def test_no_other_assignment_costs_less(means: list[float], count: int, rate: float) -> None:
    n_slots = 3
    made = plan(means, count, n_slots, rate)
    used = made.frame["slot"].drop_nulls().value_counts()
    assert (used["count"] <= count).all()
    starts = 4.0 + 10.0 * np.arange(n_slots + 1)
    cost = slot_costs(distributions(means), starts, INPUTS, rate)
    best = min(
        sum(cost[i, k] for i, k in enumerate(choice))
        for choice in itertools.product(range(n_slots + 1), repeat=len(means))
        if all(choice.count(k) <= count for k in range(n_slots))
    )
    assert made.net_cost == pytest.approx(best, abs=1e-6)
    assert made.unlimited_cost <= made.net_cost + 1e-9 <= made.postponed_cost + 2e-9


def test_slot_costs_agree_with_sampling() -> None:
    d = distributions([40.0])
    draws = d.sample(40_000, np.random.default_rng(0)).ravel()
    for s in (14.0, 44.0, 300.0):
        failed = draws <= s
        expected = np.where(failed, 50.0, 8.0).mean() - 0.2 * np.minimum(draws, s).mean()
        assert slot_costs(d, np.array([s]), INPUTS, 0.2)[0, 0] == pytest.approx(expected, abs=0.4)


def outcome(missed: float = 0.04, early: float = 13.0) -> PolicyOutcome:
    return PolicyOutcome(
        name="prognosis", cost=0.1, cost_low=0.0, cost_high=1.0, breaks=0.0, break_share=missed,
        unexploited=early, false_alarms=0.0, length=100.0,
    )  # fmt: skip


def watched(d: RULDistribution, count: int | None, n_slots: int, rate: float = 0.1) -> Any:
    return plan_maintenance(
        list(range(len(d))), d, INPUTS, cost_rate=rate, n_slots=n_slots, monitoring=outcome(),
        capacity=None if count is None else Capacity(count=count, period=10.0),
    )  # fmt: skip


def test_the_cost_of_watching_agrees_with_sampling() -> None:
    d = distributions([40.0])
    t = d.sample(40_000, np.random.default_rng(0)).ravel()
    starts = 4.0 + 10.0 * np.arange(5)  # the second slot starts at 14
    warned = 8.0 * 0.96 + 50.0 * 0.04
    gained = np.maximum(np.minimum(t, 14.0), t - 13.0)
    expected = np.where(t <= 14.0, 50.0, warned).mean() - 0.2 * gained.mean()
    cost, use = watching_costs(d, starts, INPUTS, 0.2, outcome())
    assert cost[0] == pytest.approx(expected, abs=0.4)
    replaced = t[t > 14.0] - 13.0
    shares = np.histogram(replaced, [-np.inf, 24.0, 34.0, 44.0])[0] / len(t)
    assert use[0] == pytest.approx([0.0, *shares], abs=0.01)


def test_uncertain_units_do_not_crowd_into_the_first_slot() -> None:
    d = distributions([125.0] * 20, spread=0.6)
    fixed = plan_maintenance(
        list(range(20)), d, INPUTS, cost_rate=0.1, n_slots=8, capacity=Capacity(count=2, period=10)
    ).frame
    assert (fixed["slot"] == 0).sum() == 2
    made = watched(d, 2, 8).frame
    assert (made["slot"] == 0).sum() == 0
    assert made["slot"].drop_nulls().value_counts()["count"].max() <= 2


def test_units_that_need_a_place_at_the_same_time_are_spread_from_the_first_slot_on() -> None:
    together = watched(distributions([40.0] * 4, spread=0.01), 1, 4).frame
    assert sorted(together["slot"].to_list()) == [0, 1, 2, 3]
    alone = watched(distributions([40.0], spread=0.01), 1, 4).frame
    assert alone["slot"].item() > 0
    urgent = watched(distributions([9.0, 40.0], spread=0.01), 1, 4).frame
    assert dict(zip(urgent["unit"], urgent["slot"], strict=True))[0] == 0


@settings(max_examples=25, deadline=None)
@given(
    means=st.lists(st.floats(5.0, 150.0), min_size=1, max_size=6),
    count=st.integers(1, 3),
    n_slots=st.integers(1, 4),
)
def test_a_plan_with_monitoring_keeps_the_capacity(
    means: list[float], count: int, n_slots: int
) -> None:
    d = distributions(means)
    made = watched(d, count, n_slots).frame
    used = made["slot"].drop_nulls().value_counts()
    assert (used["count"] <= count).all()
    wanted = set(watched(d, None, n_slots).frame.filter(slot=0)["unit"])
    taken = set(made.filter(slot=0)["unit"])
    assert wanted <= taken or len(taken) == count


def test_the_more_urgent_unit_comes_first_and_reasons_give_numbers() -> None:
    made = plan([30.0, 25.0, 150.0], count=1, n_slots=2)
    frame = made.frame
    assert frame["unit"].to_list()[0] == "u1"
    assert frame.filter(unit="u2")["slot"].item() is None
    assert "waiting costs less than any slot" in frame.filter(unit="u2")["reason"].item()
    assert "P(failure before the slot)" in frame["reason"][0]
    crowded = plan([25.0, 25.1, 25.2, 25.3], count=1, n_slots=2).frame
    assert "capacity is taken" in crowded["reason"][-1]


def test_names_and_order_of_the_units_do_not_matter() -> None:
    means = [30.0, 80.0, 22.0, 51.0, 120.0]
    one = plan(means, 1, 4).frame.sort("median")
    order = [3, 0, 4, 2, 1]
    other = plan([means[i] for i in order], 1, 4).frame.sort("median")
    assert one["slot"].to_list() == other["slot"].to_list()


@pytest.mark.parametrize(
    ("text", "unit", "period"),
    [
        ("3/week", "hours", 168.0), ("3/week", "days", 7.0), ("1/20", "cycles", 20.0),
        ("2/2 days", "h", 48.0), ("2/cycle", "cycles", 1.0), ("4/0.5", "flights", 0.5),
    ],
)  # fmt: skip
def test_capacities(text: str, unit: str, period: float) -> None:
    found = Capacity.parse(text, unit)
    assert (found.count, found.period) == (int(text[0]), pytest.approx(period))


@pytest.mark.parametrize("text", ["3/week", "0/20", "x/3", "3", "2/-4", "2/0", "2/fortnight"])
def test_capacities_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(ValueError, match=r"capacity|period"):
        Capacity.parse(text, "cycles")
    with pytest.raises(ValueError, match="period"):
        slot_length("", "cycles")


def test_two_levels_with_persistence() -> None:
    d = distributions([12.0, 12.0, 26.0, 120.0])
    owner = np.array([0, 0, 1, 2])
    one = raise_alarms(d, owner, 0.4, INPUTS)
    assert one.level.tolist() == [2, 1, 0]
    assert one.within[0] == pytest.approx(d.prob_failure_within(14.0)[1])
    twice = INPUTS.model_copy(update={"persistence": (2, 2)})
    assert raise_alarms(d, owner, 0.4, twice).level.tolist() == [2, 0, 0]


def test_calendar() -> None:
    icalendar = pytest.importorskip("icalendar")
    made = plan([30.0, 25.0, 150.0], count=1, n_slots=2)
    start = datetime(2026, 11, 24, 8)
    with pytest.raises(ValueError, match="no calendar has"):
        calendar_of(made, start)
    hours = plan_maintenance(
        ["a", "b"], distributions([30.0, 25.0]), INPUTS, cost_rate=0.1, time_unit="hours"
    )
    events = icalendar.Calendar.from_ical(calendar_of(hours, start)).walk("VEVENT")
    planned = hours.frame.filter(pl.col("slot").is_not_null())
    assert len(events) == planned.height
    began = (events[0]["DTSTART"].dt - start).total_seconds() / 3600
    assert began == planned["start"][0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    data = grace.load_dataset("sim", n_train=16, n_test=6)
    frame = data.train.frame
    schema = data.train.schema
    model = grace.RULModel(candidates=["median_life", "linear"], rows_per_unit=20)
    model.fit(
        frame, unit=schema.unit, time=schema.time, time_unit="hours", fate="end_of_record",
        settings=list(schema.settings),
    )  # fmt: skip
    model.save(folder / "model")
    data.test.frame.write_csv(folder / "today.csv")
    return folder


def command(folder: Path, *args: str) -> Any:
    given = ["--model", str(folder / "model"), "--failure-cost", "50", "--planned-cost", "8"]
    text = ["plan", str(folder / "today.csv"), *given, *args]
    return CliRunner().invoke(app, text, env={"COLUMNS": "80"})


def test_trajectories_survive_saving(trained: Path) -> None:
    t = model_trajectories(grace.RULModel.load(trained / "model"))
    assert len(t) == 16
    assert t.failed.all()
    assert t.time_unit == "hours"


@pytest.mark.usefixtures("undrawn")
def test_the_command_writes_every_format(trained: Path, tmp_path: Path) -> None:
    options = ("--lead-time", "5", "--capacity", "2/day", "--slots", "4")
    shown = command(trained, *options)
    assert shown.exit_code == 0, shown.output
    assert "rognosis" in shown.output
    assert "planned in 4 slots" in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80
    for policy in ("run to failure", "age replacement", "perfect prognosis"):
        assert policy in shown.output
    for name in ("p.csv", "p.json", "p.parquet", "p.html"):
        done = command(trained, *options, "--out", str(tmp_path / name))
        assert done.exit_code == 0, done.output
    frame = pl.read_csv(tmp_path / "p.csv")
    assert frame.height == 6
    assert frame["reason"].null_count() == 0
    assert len(json.loads((tmp_path / "p.json").read_text("utf-8"))) == 6
    html = (tmp_path / "p.html").read_text("utf-8")
    assert "<svg" in html
    assert "age replacement" in html
    assert "http" not in html.split("<body>")[1]


def test_the_command_plans_as_if_units_are_watched(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first slot is firm: the plan uses what the alarm policy gave on held-out units."""
    from grace import decisions

    seen: dict[str, Any] = {}
    made = decisions.plan_maintenance

    def spy(*args: Any, **options: Any) -> Any:
        seen.update(options)
        return made(*args, **options)

    monkeypatch.setattr(decisions, "plan_maintenance", spy)
    assert command(trained, "--lead-time", "5", "--capacity", "2/day").exit_code == 0
    inputs = DecisionInputs(failure_cost=50, planned_cost=8, lead_time=5, interval=24)
    policy = fit_policy(model_trajectories(grace.RULModel.load(trained / "model")), inputs)
    assert seen["monitoring"] == policy.comparison["prognosis"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--capacity", "2/day", "--out", "p.docx"), "the name must end with one of"),
        (("--lead-time", "5"), "give --interval"),
        (("--capacity", "many"), "write COUNT/PERIOD"),
        (("--capacity", "0/day"), "at least one replacement per period"),
        (("--capacity", "2/moon"), "unknown unit 'moon'"),
        (("--interval", "5", "--persistence", "2"), "write k/n"),
        (("--interval", "5", "--failure-cost", "3"), "not more than a planned replacement"),
        (
            ("--interval", "5", "--failure-cost", "-3"),
            "--failure-cost -3.0: must be greater than 0",
        ),
        (("--interval", "5", "--lead-time", "-1"), "--lead-time: period '-1'"),
        (("--interval", "5", "--lead-time", "9 weeks"), "as long as the longest life"),
        (("--interval", "5", "--model", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_line(trained: Path, args: tuple[str, ...], message: str) -> None:
    failed = command(trained, *args)
    assert failed.exit_code == 2, failed.output
    assert message in " ".join(failed.output.split())
    assert failed.output.strip().count("error:") == 1
    assert "Traceback" not in failed.output


def test_persistence_looks_at_earlier_decisions(trained: Path, tmp_path: Path) -> None:
    """With the last row alone two of two decisions could never raise an alarm."""
    today = pl.read_csv(trained / "today.csv").filter(pl.col("unit") <= 3)
    worn = grace.load_dataset("sim", n_train=16, n_test=6).train.frame  # run to failure
    worn = worn.filter(pl.col("unit") == 1).with_columns(unit=pl.lit(99)).select(today.columns)
    pl.concat([today, worn[:-2]], how="vertical_relaxed").write_csv(tmp_path / "now.csv")
    found = {}
    for persistence in ("1/1", "2/2"):
        out = tmp_path / "plan.csv"
        text = ["plan", str(tmp_path / "now.csv"), "--model", str(trained / "model"),
                "--failure-cost", "50", "--planned-cost", "8", "--interval", "2",
                "--persistence", persistence, "--out", str(out)]  # fmt: skip
        done = CliRunner().invoke(app, text, env={"COLUMNS": "80"})
        assert done.exit_code == 0, done.output
        found[persistence] = dict(pl.read_csv(out).select("unit", "alarm").iter_rows())
    assert found["1/1"][99] == found["2/2"][99] == "alarm"


def test_a_calendar_of_cycles_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    data = grace.load_dataset("sim", n_train=4, n_test=1)
    model = grace.RULModel(candidates=["median_life"], rows_per_unit=5)
    model.fit(
        data.train.frame, unit="unit", time="cycle", time_unit="cycles", fate="end_of_record"
    ).save(tmp_path / "model")
    text = ["plan", str(tmp_path / "absent.csv"), "--model", str(tmp_path / "model"), "--interval",
            "5", "--failure-cost", "50", "--planned-cost", "8", "--out", "p.ics"]  # fmt: skip
    failed = CliRunner().invoke(app, text)
    assert failed.exit_code == 2
    assert "which no calendar has" in failed.output


def test_a_table_in_service_needs_no_ignored_column(tmp_path: Path) -> None:
    """What training ignored, such as a second label, is not there in a table of today."""
    data = grace.load_dataset("sim", n_train=6, n_test=2)
    table = data.train.frame.with_columns(note=pl.lit("x"))
    model = grace.RULModel(candidates=["median_life"], rows_per_unit=5)
    model.fit(
        table, unit="unit", time="cycle", time_unit="cycles", fate="end_of_record", ignore=["note"]
    )
    assert model.predict(data.test.frame).height == 2
