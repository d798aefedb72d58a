import json

import numpy as np
import pytest
from pydantic import ValidationError

from grace.data.labels import health_class
from grace.evaluation import (
    Evaluation,
    HeldOutRows,
    Protocol,
    evaluate,
    health_accuracy,
    mae,
    metric_set,
    nasa_score,
    rmse,
)

PROTOCOL = Protocol(
    dataset="sim", n_train=25, n_validation=5, n_test=20, validation_fraction=0.15, seeds=(42,)
)


@pytest.fixture(scope="module")
def arrays(test_fleet):
    rng = np.random.default_rng(3)
    n = test_fleet.rul.size
    pred = np.clip(np.minimum(test_fleet.rul, 125) + rng.normal(0, 8, n), 0, 125)
    return {
        "unit": test_fleet.unit,
        "time": test_fleet.age,
        "rul": test_fleet.rul,
        "predicted": pred,
        "health_probabilities": rng.dirichlet([1, 1, 1], n),
        "baselines": {"constant": np.full(n, 80.0), "gradient_boosting": pred * 0.95},
    }


@pytest.fixture(scope="module")
def result(arrays):
    return evaluate(PROTOCOL, **arrays, n_resamples=200)


def test_last_cycle_and_all_cycles(arrays, result, test_fleet):
    last = test_fleet.starts + test_fleet.lengths - 1
    raw, pred = arrays["rul"], arrays["predicted"]
    capped = np.minimum(raw, 125)
    assert result.model.last_cycle.capped.rmse == pytest.approx(rmse(capped[last], pred[last]))
    assert result.model.last_cycle.raw.nasa_sum == pytest.approx(nasa_score(raw[last], pred[last]))
    assert result.model.all_cycles.raw.mae == pytest.approx(mae(raw, pred))
    assert (result.model.last_cycle.raw.n, result.model.all_cycles.raw.n) == (20, raw.size)
    assert result.model.all_cycles.raw.n_units == 20
    assert result.rmse == result.model.last_cycle.capped.rmse
    assert result.nasa == result.model.last_cycle.capped.nasa_sum
    assert sum(z.n for z in result.zones) == 20


def test_intervals_hold_the_figures(result):
    for evaluated in (result.model, *result.baselines.values()):
        metrics = evaluated.last_cycle.capped
        assert set(metrics.intervals) == {"rmse", "mae", "nasa_mean", "nasa_sum"}
        for name in ("rmse", "mae"):
            i = metrics.intervals[name]
            assert i.low <= getattr(metrics, name) <= i.high


def test_health_of_model_and_baselines(arrays, result, test_fleet):
    last = test_fleet.starts + test_fleet.lengths - 1
    true = health_class(np.minimum(arrays["rul"], 125))
    called = arrays["health_probabilities"].argmax(1)
    assert result.model.health_all_cycles.accuracy == health_accuracy(true, called)
    assert result.model.health_last_cycle.accuracy == health_accuracy(true[last], called[last])
    assert np.sum(result.model.health_last_cycle.confusion) == 20
    by_rul = health_class(arrays["baselines"]["gradient_boosting"])
    assert result.baselines["gradient_boosting"].health_all_cycles.accuracy == health_accuracy(
        true, by_rul
    )
    silent = {**arrays, "health_probabilities": None}
    assert evaluate(PROTOCOL, **silent, n_resamples=0).model.health_last_cycle is None


def test_json_round_trip(result):
    text = result.model_dump_json()
    json.loads(text)
    assert Evaluation.model_validate_json(text) == result


def test_json_round_trip_of_an_overflow():
    long = evaluate(
        Protocol(dataset="tapes", label_cap=None),
        unit=[1, 1, 2, 2],
        time=[1, 2, 1, 2],
        rul=[1, 0, 1, 0],
        predicted=[1.0, 1e6, 1, 1],
        n_resamples=50,
    )
    metrics = long.model.last_cycle.raw
    assert metrics.nasa_sum == np.inf
    assert set(metrics.intervals) == {"rmse", "mae"}
    json.loads(long.model_dump_json(), parse_constant=lambda name: pytest.fail(name))
    assert Evaluation.model_validate_json(long.model_dump_json()) == long


def test_same_seed_same_result(arrays, result):
    assert evaluate(PROTOCOL, **arrays, n_resamples=200) == result


def test_units_without_truth_are_left_out_and_counted(arrays):
    rul = np.where(arrays["unit"] == 4, np.nan, arrays["rul"])
    result = evaluate(PROTOCOL, **{**arrays, "rul": rul}, n_resamples=0)
    assert (result.n_units_unknown, result.model.last_cycle.raw.n) == (1, 19)
    one_row = rul.copy()  # one unknown row leaves the whole unit out
    one_row[arrays["unit"] == 4] = np.asarray(arrays["rul"])[arrays["unit"] == 4]
    one_row[np.flatnonzero(arrays["unit"] == 4)[0]] = np.nan
    assert evaluate(PROTOCOL, **{**arrays, "rul": one_row}, n_resamples=0) == result
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(PROTOCOL, **{**arrays, "rul": np.full(rul.size, np.nan)})


def test_one_unit_has_no_interval():
    one = evaluate(Protocol(dataset="x"), unit=[1, 1], time=[1, 2], rul=[1, 0], predicted=[1, 0])
    assert one.protocol.n_test == 1
    assert one.model.last_cycle.capped.intervals == {}
    assert one.model.last_cycle.capped.rmse == 0.0


def test_flags_come_with_the_result(arrays):
    worse = {**arrays, "predicted": np.full(arrays["rul"].size, 125.0)}
    found = {f.code for f in evaluate(PROTOCOL, **worse, n_resamples=0).flags}
    assert found == {"worse_than_constant", "loses_to_gradient_boosting"}
    cheat = {**arrays, "predicted": np.minimum(arrays["rul"], 125.0)}
    marked = PROTOCOL.model_copy(update={"dataset": "FD002", "select_on": "test"})
    found = {f.code for f in evaluate(marked, **cheat, n_resamples=0).flags}
    assert found == {"wrong_unit_count", "implausibly_low", "test_selected"}
    unbounded = evaluate(PROTOCOL, **{**arrays, "predicted": arrays["rul"]}, n_resamples=0)
    assert "below_label_floor" in {f.code for f in unbounded.flags}


def in_other_units(arrays, factor):
    """The same fleet and predictions with time counted in another unit."""
    scaled = {k: np.asarray(arrays[k]) * factor for k in ("time", "rul", "predicted")}
    baselines = {k: v * factor for k, v in arrays["baselines"].items()}
    return {**arrays, **scaled, "baselines": baselines}


@pytest.mark.parametrize("factor", [0.01, 24.0, 86400.0])
@pytest.mark.parametrize("optimistic", [False, True])
def test_remarks_and_zones_do_not_depend_on_the_unit_of_time(arrays, factor, optimistic):
    """Also where predictions exceed the cap a little, and where the true RUL is far above it."""
    rul = arrays["rul"] * 1.3
    near = np.minimum(rul, 125.0) + np.where(rul > 125.0, 3.0, 0.0)
    base = {**arrays, "rul": rul, "predicted": near if optimistic else arrays["predicted"]}
    other = PROTOCOL.model_copy(
        update={
            "label_cap": 125.0 * factor,
            "health_thresholds": (80.0 * factor, 30.0 * factor),
            "time_unit": "other",
        }
    )
    one = evaluate(PROTOCOL, **base, n_resamples=0)
    two = evaluate(other, **in_other_units(base, factor), n_resamples=0)
    assert [f.code for f in one.flags] == [f.code for f in two.flags]
    assert [z.n for z in one.zones] == [z.n for z in two.zones]
    for a, b in zip(one.zones, two.zones, strict=True):
        assert b.lower == pytest.approx(factor * a.lower)
        assert (a.rmse is None) == (b.rmse is None)
        assert a.rmse is None or b.rmse == pytest.approx(factor * a.rmse)
    assert two.rmse == pytest.approx(factor * one.rmse)
    assert two.model.health_last_cycle == one.model.health_last_cycle


def test_prognostics_are_of_units_observed_to_their_failure(arrays, result, train):
    assert result.prognostics.n_to_failure == 0  # the test units are truncated
    assert result.prognostics.metrics["horizon"].n == 0
    pred = np.minimum(train.rul, 125.0)
    rows = HeldOutRows(
        train.unit, train.age, train.rul, pred, {"constant": np.full(pred.size, 80.0)}, "training"
    )
    found = evaluate(PROTOCOL, **arrays, held_out=rows, n_resamples=0)
    assert found.prognostics.n_to_failure == 30
    assert found.prognostics.units == "training"
    assert found.prognostics.metrics["horizon"].median == 125.0
    trivial = found.baseline_prognostics["constant"]
    assert trivial.metrics["horizon"].mean == 0.0
    assert trivial.metrics["alpha_lambda_0.5"].mean == 0.0
    assert Evaluation.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": lambda a: -a}, "0 or more"),
        ({"predicted": lambda a: a[1:]}, "one per row"),
        ({"predicted": lambda a: a * np.nan}, "finite"),
        ({"rul": lambda a: -1 - a}, "rul must be"),
        ({"rul": lambda a: a[1:]}, "entries"),
        ({"time": lambda a: a[::-1]}, "sort by unit"),
        ({"unit": lambda a: np.arange(a.size) % 2}, "sort by unit"),
        ({"health_probabilities": lambda a: a[:, :2]}, "health_probabilities"),
        ({"health_probabilities": lambda a: 3 * a}, "softmax"),
    ],
)
def test_bad_arrays_are_refused(arrays, change, message):
    changed = {**arrays, **{k: f(np.asarray(arrays[k])) for k, f in change.items()}}
    with pytest.raises(ValueError, match=message):
        evaluate(PROTOCOL, **changed, n_resamples=0)


def test_protocol_must_name_the_right_number_of_units(arrays):
    with pytest.raises(ValueError, match="n_test"):
        evaluate(PROTOCOL.model_copy(update={"n_test": 7}), **arrays)


def test_protocol_in_words():
    assert PROTOCOL.mark == ""
    text = PROTOCOL.sentence()
    for part in (
        "sim",
        "20 units",
        "(17% of it)",
        "read once",
        "capped at 125 cycles",
        "seed 42",
    ):
        assert part in text
    tested = PROTOCOL.model_copy(update={"select_on": "test", "seeds": (1, 2)})
    assert tested.mark == "test-selected, optimistic"
    assert tested.mark in tested.sentence()
    assert "seeds 1, 2" in tested.sentence()
    bare = Protocol(dataset="pumps", label_cap=None, time_unit="hours").sentence()
    assert "labels not capped" in bare
    assert "seed not stated" in bare


@pytest.mark.parametrize(
    "bad",
    [
        {"health_thresholds": (30.0, 80.0)},
        {"label_cap": 0.0},
        {"n_validation": 0},
        {"select_on": "train"},
        {"colour": "red"},
    ],
)
def test_bad_protocols_are_refused(bad):
    with pytest.raises(ValidationError):
        Protocol(dataset="x", **bad)
    with pytest.raises(ValidationError):
        PROTOCOL.dataset = "y"


def test_table_is_plain_and_marked(arrays, result):
    header, *rows = result.to_table()
    assert len(rows) == 4 + 2 * 2
    assert all(len(r) == len(header) and all(isinstance(c, str) for c in r) for r in rows)
    assert rows[0][:4] == ("model", "last", "capped", "20")
    tested = PROTOCOL.model_copy(update={"select_on": "test"})
    marked = evaluate(tested, **arrays, n_resamples=0).to_table()
    assert all("optimistic" in r[0] for r in marked[1:5])


def test_optimism_gap(arrays, result):
    better = {**arrays, "predicted": 0.5 * (arrays["predicted"] + np.minimum(arrays["rul"], 125))}
    tested = PROTOCOL.model_copy(update={"select_on": "test"})
    other = evaluate(tested, **better, n_resamples=0)
    gap = result.with_optimism_gap(other).optimism_gap
    assert gap.rmse_capped == pytest.approx(other.rmse - result.rmse)
    assert gap.rmse_capped < 0
    assert gap.nasa_capped < 0
    with pytest.raises(ValueError, match="between"):
        other.with_optimism_gap(result)
    elsewhere = other.model_copy(
        update={"protocol": tested.model_copy(update={"dataset": "other"})}
    )
    with pytest.raises(ValueError, match="different"):
        result.with_optimism_gap(elsewhere)


def test_metric_set_without_units_takes_every_row_as_one():
    metrics = metric_set([1.0, 2.0, 3.0], [1.0, 3.0, 3.0], n_resamples=50)
    assert (metrics.n, metrics.n_units) == (3, 3)
    assert metrics.late_share == pytest.approx(1 / 3)
