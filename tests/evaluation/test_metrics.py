import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix as sk_confusion
from sklearn.metrics import f1_score

from grace.evaluation import (
    bias,
    confusion_matrix,
    error_by_zone,
    health_accuracy,
    health_macro_f1,
    late_share,
    mae,
    nasa_mean,
    nasa_score,
    rmse,
)

Y_TRUE = [10, 30, 60, 90, 110, 5, 15, 80]
Y_PRED = [15, 26, 68, 87, 112, -7, 24, 74]
METRICS = [rmse, mae, bias, nasa_score, nasa_mean, late_share]

sizes = st.integers(1, 40)
ruls = sizes.flatmap(lambda n: arrays(float, (2, n), elements=st.floats(0, 400)))


def test_worked_values_of_the_specification():
    assert rmse(Y_TRUE, Y_PRED) ** 2 == pytest.approx(47.375)
    assert mae(Y_TRUE, Y_PRED) == pytest.approx(49 / 8)
    assert bias(Y_TRUE, Y_PRED) == pytest.approx(-1 / 8)
    assert late_share(Y_TRUE, Y_PRED) == 0.5


def test_nasa_score_by_hand():
    late = sum(math.exp(d / 10) - 1 for d in (5, 8, 2, 9))
    early = sum(math.exp(d / 13) - 1 for d in (4, 3, 12, 6))
    assert nasa_score(Y_TRUE, Y_PRED) == pytest.approx(late + early)
    assert nasa_score(Y_TRUE, Y_PRED) == pytest.approx(6.2787, abs=1e-4)
    assert nasa_mean(Y_TRUE, Y_PRED) == pytest.approx((late + early) / 8)
    assert nasa_score([0.0], [10.0]) == pytest.approx(math.e - 1)
    assert nasa_score([13.0], [0.0]) == pytest.approx(math.e - 1)


@pytest.mark.filterwarnings("error")
def test_nasa_score_overflows_to_inf_without_a_warning():
    assert nasa_score([0.0], [1e5]) == math.inf
    assert nasa_score([1e6], [0.0]) == math.inf
    assert math.isfinite(nasa_score([0.0], [7000.0]))


@pytest.mark.parametrize("metric", METRICS)
def test_columns_are_flattened_not_broadcast(metric):
    column = np.array(Y_PRED, float)[:, None]
    assert metric(Y_TRUE, column) == metric(Y_TRUE, Y_PRED)
    assert metric(np.array(Y_TRUE)[:, None], Y_PRED) == metric(Y_TRUE, Y_PRED)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        ([1, 2], [1], "2 entries"),
        ([], [], "empty"),
        ([1, math.nan], [1, 2], r"y_true\[1\]"),
        ([1, 2], [1, math.inf], r"y_pred\[1\]"),
        (np.ones((2, 2)), np.ones(4), "shape"),
        (np.ones((1, 4)), np.ones(4), "shape"),
    ],
)
def test_bad_arguments_are_refused(metric, true, pred, message):
    with pytest.raises(ValueError, match=message):
        metric(true, pred)


@given(st.floats(0.01, 300))
def test_late_costs_more_than_early(d):
    assert nasa_score([300.0], [300.0 + d]) > nasa_score([300.0], [300.0 - d]) > 0


@given(ruls, st.randoms())
def test_order_of_rows_does_not_matter(pair, random):
    true, pred = pair
    order = list(range(true.size))
    random.shuffle(order)
    for metric in METRICS:
        assert metric(true[order], pred[order]) == pytest.approx(metric(true, pred), rel=1e-9)


@given(ruls)
def test_zones_recombine(pair):
    true, pred = pair
    zones = error_by_zone(true, pred)
    n = true.size
    assert sum(z.n for z in zones) == n
    squares = sum(z.n * z.rmse**2 for z in zones if z.n)
    assert math.sqrt(squares / n) == pytest.approx(rmse(true, pred), abs=1e-9)
    for name, metric in (("mae", mae), ("bias", bias), ("late_share", late_share)):
        total = sum(z.n * getattr(z, name) for z in zones if z.n)
        assert total / n == pytest.approx(metric(true, pred), abs=1e-9)


def test_zone_borders():
    true = [0, 20, 20.5, 50, 80, 80.5, 124.9, 125, 300]
    zones = error_by_zone(true, true)
    assert [z.zone for z in zones] == ["[0, 20]", "(20, 50]", "(50, 80]", "(80, 125)", "≥ 125"]
    assert [z.n for z in zones] == [2, 2, 1, 2, 2]
    assert [z.zone for z in error_by_zone([5], [5], (0, 10))] == ["[0, 10)", "≥ 10"]


def test_empty_zone_has_no_values_and_bad_edges_are_refused():
    zone = error_by_zone([1.0], [2.0])[2]
    assert (zone.n, zone.rmse, zone.mae) == (0, None, None)
    with pytest.raises(ValueError, match="ascend"):
        error_by_zone([1.0], [1.0], (0, 0))
    with pytest.raises(ValueError, match="below the first edge"):
        error_by_zone([1.0], [1.0], (5, 10))


classes = sizes.flatmap(lambda n: arrays(np.int64, (2, n), elements=st.integers(0, 2)))


@given(classes)
def test_classification_agrees_with_scikit_learn(pair):
    true, pred = pair
    ours = confusion_matrix(true, pred, 3)
    assert (ours == sk_confusion(true, pred, labels=[0, 1, 2])).all()
    assert health_accuracy(true, pred) == pytest.approx((true == pred).mean())
    assert health_macro_f1(true, pred) == pytest.approx(
        f1_score(true, pred, average="macro", zero_division=0.0)
    )


@pytest.mark.parametrize("bad", [[0.5], [-1], [3]])
def test_classes_must_be_indices(bad):
    with pytest.raises(ValueError, match="class indices"):
        confusion_matrix([0], bad, 3)
    with pytest.raises(ValueError, match="entries"):
        confusion_matrix([0, 1], [0], 3)
