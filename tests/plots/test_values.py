"""What figures show, in worked values."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from scipy import stats

import grace.plots as gp
from grace.plots.style import EARLY, LATE


def labelled(ax: object, text: str) -> np.ndarray:
    [line] = [x for x in ax.lines if text in str(x.get_label())]  # type: ignore[attr-defined]
    return np.asarray(line.get_ydata(), np.float64)


def test_kaplan_meier_by_hand() -> None:
    # Failures at 10 (of 4 at risk) and 30 (of 2): S = 3/4, then 3/4 · 1/2.
    ax = gp.kaplan_meier({"life": [10, 20, 30, 40], "failed": [True, False, True, False]})
    line = labelled(ax, "surviving")
    assert line.tolist() == pytest.approx([1.0, 0.75, 0.75, 0.375, 0.375])
    running = labelled(ax, "still running (2)")
    assert running.tolist() == pytest.approx([0.75, 0.375])


def test_kaplan_meier_without_any_failure() -> None:
    ax = gp.kaplan_meier({"life": [10, 20], "failed": [False, False]})
    assert labelled(ax, "surviving").tolist() == [1.0, 1.0, 1.0]


def test_late_and_early_are_told_apart() -> None:
    ax = gp.predictions_by_true_rul({"rul": [20.0, 5.0, 9.0], "rul_true": [10.0, 10.0, np.nan]})
    names = [c.get_label() for c in ax.collections]
    assert names == ["predicted, late (1)", "predicted, early (1)"]
    ax = gp.bias_by_zone({"zone": ["a", "b"], "n": [1, 1], "bias": [2.0, -1.0]})
    assert [to_rgb(p.get_facecolor()[:3]) for p in ax.patches] == [to_rgb(LATE), to_rgb(EARLY)]


def test_error_histogram_counts_every_error_once() -> None:
    errors = np.array([-3.0, -0.5, 0.5, 2.0, 3.0, np.nan])
    ax = gp.error_distribution(errors, bins=6)
    heights = [p.get_height() for p in ax.patches]
    assert heights == [1, 0, 1, 1, 0, 2]
    assert {t.get_text() for t in ax.texts} >= {"40% early", "60% late", "mean +0.4"}


def test_the_cone_is_alpha_around_the_truth() -> None:
    rows = {"time": [0, 10, 20], "rul": [24.5, 20, 10.0], "rul_true": [30, 20, 10]}
    ax = gp.alpha_lambda_cone(rows, alpha=0.2)
    assert labelled(ax, "inside").tolist() == [24.5, 20, 10]
    rows["rul"] = [23.0, 20, 12.5]
    ax = gp.alpha_lambda_cone(rows, alpha=0.2)
    assert labelled(ax, "outside").tolist() == [23.0, 12.5]


def test_coverage_with_a_wilson_interval() -> None:
    rows = {"zone": ["0–30", "empty"], "n": [20, 0], "covered": [17, 0]}
    ax = gp.coverage_by_zone(rows, level=0.95)
    share = labelled(ax, "observed")
    assert share[0] == pytest.approx(0.85)
    assert np.isnan(share[1])
    [low, high] = ax.collections[0].get_segments()[0][:, 1]
    expected = stats.binomtest(17, 20).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_reliability_groups_have_equal_sizes() -> None:
    p = np.linspace(0.01, 0.99, 100)
    ax = gp.reliability_curve({"probability": p, "failed": (p > 0.5).astype(float)}, bins=4)
    assert labelled(ax, "observed").tolist() == [0.0, 0.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="no row has both"):
        gp.reliability_curve({"probability": [0.1], "failed": [None]})


def test_pit_refuses_values_that_are_no_probability() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        gp.pit_histogram([0.2, 1.2])


def test_the_cheapest_threshold_is_marked() -> None:
    ax = gp.cost_curve({"threshold": [0.9, 0.1, 0.3], "cost": [60.0, 41.0, 35.0]})
    assert [t.get_text() for t in ax.texts] == ["p* = 30%: 35.00"]


def test_the_front_holds_what_nobody_beats() -> None:
    rows = {"name": list("abcd"), "rmse": [1.0, 2.0, 3.0, 2.5], "nasa": [9.0, 5.0, 5.0, 4.0]}
    ax = gp.pareto_front(rows)
    assert labelled(ax, "on the front").tolist() == [9.0, 5.0, 4.0]
    assert labelled(ax, "worse in both means").tolist() == [5.0]


def test_names_of_close_points_do_not_overlap() -> None:
    n = 9
    rows = {"name": [f"method {k}" for k in range(n)], "rmse": [10 + 0.01 * k for k in range(n)],
            "nasa": [200.0 + 0.1 * (k % 3) for k in range(n)] }  # fmt: skip
    rows["nasa"][0] = 300.0
    ax = gp.pareto_front(rows)
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(t) for t in ax.texts]  # without the lines
    assert len(boxes) == n
    for i, a in enumerate(boxes):
        assert not any(a.overlaps(b) for b in boxes[i + 1 :])
        assert a.x0 > ax.get_window_extent().x1  # clear of points and bars
        assert figure.bbox.y0 <= a.y0
        assert a.y1 <= figure.bbox.y1


def test_each_run_has_its_path_and_its_selected_epoch() -> None:
    rows = {
        "name": ["gaba"] * 4 + ["grace"] * 2, "run": [1, 1, 2, 2, 1, 1],
        "epoch": [1, 2, 1, 2, 1, 2], "weight": [0.5, 0.2, 0.4, 0.1, 0.3, 0.05],
        "selected": [2, 2, None, None, 1, 1],
    }  # fmt: skip
    ax = gp.weight_paths(rows, floor=0.05)
    drawn = [list(line.get_ydata()) for line in ax.lines if line.get_marker() == "None"]
    assert drawn == [[0.05, 0.05], [0.5, 0.2], [0.4, 0.1], [0.3, 0.05]]
    marked = [list(line.get_ydata()) for line in ax.lines if line.get_marker() == "o"]
    assert [m for m in marked if m] == [[0.2], [0.3]]
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == ["floor, 0.05", "gaba", "grace", "selected epoch"]


def test_groups_of_the_critical_difference_diagram_are_maximal() -> None:
    ranks = {"name": list("abcd"), "rank": [1.0, 1.8, 2.6, 4.0]}
    ax = gp.critical_difference(ranks, critical_difference=1.0)
    bars = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    assert [(round(x[0], 2), round(x[1], 2)) for x in bars] == [(0.98, 1.82), (1.78, 2.62)]
    given = gp.critical_difference(ranks, critical_difference=1.0, groups=[["a", "b", "c"]])
    bars = [line.get_xdata() for line in given.lines if len(line.get_xdata()) == 2]
    assert [(round(x[0], 2), round(x[1], 2)) for x in bars] == [(0.98, 2.62)]


def test_missing_values_are_shares_per_unit_and_channel() -> None:
    rows = {"unit": ["a", "a", "b"], "s": [1.0, None, 3.0], "t": [1.0, float("nan"), float("nan")]}
    ax = gp.missing_values(rows)
    cells = np.asarray(ax.collections[0].get_array()).reshape(2, 2)
    assert cells.tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_a_plan_is_in_order_of_its_slots_and_says_what_it_leaves_out() -> None:
    ax = gp.maintenance_plan({"unit": ["c", "a", "b"], "start": [14, 0, 7]}, most=2)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_ylabel() == "unit (the first 2 of 3)"


def test_health_states_are_drawn_below_the_trajectory() -> None:
    rows = {"time": [1, 2, 3], "rul": [90.0, 50, 20], "rul_true": [85.0, 84, 83],
            "health": [0, 1, 2]}  # fmt: skip
    ax = gp.rul_trajectory(rows, thresholds=(80.0, 30.0))
    [strip] = ax.child_axes
    assert [t.get_text() for t in strip.get_yticklabels()] == ["predicted", "true"]
    assert len(strip.collections) == 4  # three predicted stretches, one true
