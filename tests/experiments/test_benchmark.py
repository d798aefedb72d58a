"""What is computed from a store of results for the benchmark page, in worked values."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from grace.data import Dataset
from grace.experiments import ResultsStore, run
from grace.experiments.benchmark import Gap, cells, optimism, published_rows
from grace.experiments.benchmark_tests import (
    detectable,
    factorial_effects,
    pair_tests,
    win_tie_loss,
)
from grace.experiments.controls import (
    baseline_spreads,
    scale_invariant,
    surgery_rows,
    sweep_ranges,
    weight_sweep,
)
from grace.experiments.weight_floor import (
    WeightPath,
    floor_rows,
    largest_difference,
    selected_epoch,
    weight_paths,
)
from grace.prediction import ArtifactError
from grace.training.config import RunConfig
from grace.training.jsonl_logger import read_jsonl

Made = Callable[..., ResultsStore]
T4 = 2.7764451  # 97.5% point of the t distribution with 4 degrees of freedom


def spread(mean: float) -> list[float]:
    return [mean + d for d in (-0.2, 0.1, 0.0, 0.15, -0.05)]


def two_by_two(noise: float) -> dict[str, list[float]]:
    scores = {"baseline": spread(10), "amnl": spread(11), "gaba": spread(9), "grace": spread(9.5)}
    scores["grace"][0] += noise  # a difference that is not equal over the seeds
    return scores


def test_effects_of_the_two_by_two(made: Made) -> None:
    """Worked values: A 10, B 11, C 9, D 9.5, so balancing −1.25, loss +0.75, interaction −0.5."""
    effects = factorial_effects(made({"FD001": two_by_two(0.1)}), metrics=["rmse_capped"])
    by = {e.name: e for e in effects}
    assert by["balancing"].mean == pytest.approx(-1.25 + 0.01)
    assert by["failure-biased loss"].mean == pytest.approx(0.75 + 0.01)
    assert by["interaction"].mean == pytest.approx(-0.5 + 0.02)
    e = by["balancing"]
    # Per seed −1.25, one of them +0.05: standard error 0.05/5.
    assert e.low == pytest.approx(e.mean - T4 * 0.05 / 5, abs=1e-6)
    assert e.high == pytest.approx(e.mean + T4 * 0.05 / 5, abs=1e-6)
    assert e.p == pytest.approx(2 * stats.t.sf(1.24 / 0.01, 4))


def test_the_effects_of_all_metrics_and_datasets_are_one_family(made: Made) -> None:
    store = made({"FD001": two_by_two(2.0), "FD002": two_by_two(4.0)})
    effects = factorial_effects(store)
    assert {e.metric for e in effects} == {"rmse_capped", "nasa_capped", "rmse_raw"}
    assert {e.family for e in effects} == {2 * 3 * 3}
    p = np.array([e.p for e in effects], float)
    order = np.argsort(p, kind="stable")
    # Holm by hand: the k-th smallest of m p values times m − k + 1, never falling, at most 1.
    steps = np.minimum(np.maximum.accumulate(p[order] * (18 - np.arange(18))), 1.0)
    assert [effects[i].p_holm for i in order] == pytest.approx(steps.tolist())
    nasa = next(e for e in effects if e.metric == "nasa_capped")
    rmse = next(e for e in effects if e.metric == "rmse_capped")
    assert nasa.mean == pytest.approx(20 * rmse.mean)


def test_pairs_state_what_they_could_have_found(made: Made) -> None:
    d = np.array([0.3, -0.1, 0.2, 0.4, 0.2])
    scores = {"a": [10.0] * 5, "b": (10 - d).tolist(), "c": [10.0] * 5}
    pairs = {(p.a, p.b): p for p in pair_tests(made({"FD001": scores}))}
    assert {p.family for p in pairs.values()} == {3}
    p = pairs["a", "b"]
    error = d.std(ddof=1) / np.sqrt(5)
    assert (p.seeds, p.mean) == (5, pytest.approx(0.2))
    assert p.half_width == pytest.approx(T4 * error)
    assert p.needed == pytest.approx(stats.t.ppf(1 - 0.025 / 3, 4) * error)
    # With that difference and no clearer pair the corrected p value would be 5%.
    assert 3 * 2 * stats.t.sf(p.needed / error, 4) == pytest.approx(0.05)
    assert pairs["a", "c"].p_holm == 1.0  # equal everywhere: not decided
    half, needed = detectable(list(pairs.values()))
    assert (half, needed) == pytest.approx((p.half_width, p.needed))  # medians of x, 0, x


def test_wins_ties_and_losses_are_counted_over_data_sets(made: Made) -> None:
    noise = [0.01, -0.02, 0.015, 0.0, -0.01]
    better = [8 + d for d in noise]
    scores = {"good": better, "bad": [10 + d for d in noise[::-1]], "same": [10 - d for d in noise]}
    store = made({"FD001": scores, "FD002": scores})
    for metric in ("rmse_capped", "nasa_capped"):
        records = {r.method: r for r in win_tie_loss(store, metric=metric)}
        assert tuple(records["good"][1:]) == (4, 0, 0)
        assert tuple(records["bad"][1:]) == (0, 2, 2)
        assert tuple(records["same"][1:]) == (0, 2, 2)
    # The pairs of a dataset are a family, those of another dataset are not in it.
    assert {p.family for p in pair_tests(store)} == {3}
    few = made({"FD001": {"good": better[:4], "bad": [10.0] * 4}})
    assert pair_tests(few) == []


def test_cells_give_mean_interval_and_gap(made: Made) -> None:
    (cell,) = cells(made({"FD001": {"a": [10.0, 12.0]}}))
    assert (cell.seeds, cell.rmse, cell.rmse_std) == (2, 11.0, pytest.approx(np.sqrt(2)))
    assert cell.test_rmse == 10.5
    assert (cell.gap, cell.gap_std) == (-0.5, 0.0)
    # All errors of a seed are equal: the pooled RMSE is √((10² + 12²)/2) for every unit drawn.
    assert cell.interval is not None
    assert cell.interval.low == pytest.approx(np.sqrt(122), rel=1e-6)


def test_the_optimism_gap_is_over_methods_with_enough_seeds(made: Made) -> None:
    assert optimism(made({"FD001": {"a": [10.0, 12.0]}})) == []
    store = made({"FD001": {"a": spread(10), "b": spread(11), "single": [9.0]}})
    for method, protocol, shift in (("a", "test", -1.0), ("single", "test", -50.0)):
        row = store.scores(protocol=protocol, method=[method]).row(0, named=True)
        row["rmse_capped"] += shift
        keys = (row["run"], protocol, "FD001", method, row["seed"], json.dumps(row))
        store._insert("scores", [keys])
    # Gap of seed 1: mean of −1.5 and −0.5; of the others −0.5.
    d = np.array([-1.0, -0.5, -0.5, -0.5, -0.5])
    half = T4 * d.std(ddof=1) / np.sqrt(5)
    expected = Gap("FD001", 2, 5, -0.6, float(d.std(ddof=1)), -0.6 - half, -0.6 + half)
    (gap,) = optimism(store)
    assert gap[:3] == expected[:3]
    assert gap[3:] == pytest.approx(expected[3:])


def test_no_share_of_a_published_lead_that_is_within_noise(made: Made) -> None:
    """Published: baseline 7.37, amnl 6.74, gaba 7.53, grace 7.72 on FD002."""
    scores = {
        "baseline": [10.0, 10.0],
        "amnl": [6.44, 7.44],  # mean 6.94, standard error 0.5: the lead of 0.2 is within two
        "gaba": [7.0, 7.0],  # the published figure is worse
        "grace": [9.0],  # no standard error with one seed
    }
    rows = {r.method: r for r in published_rows(cells(made({"FD002": scores})))}
    assert rows["baseline"].share == pytest.approx(0.5 / (10.0 - 7.37))
    assert rows["amnl"].lead == pytest.approx(0.2)
    assert rows["amnl"].error == pytest.approx(0.5)
    assert rows["gaba"].lead == pytest.approx(-0.53)
    assert [rows[m].share for m in ("amnl", "gaba", "grace")] == [None] * 3


def test_runs_of_different_settings_are_not_pooled(made: Made) -> None:
    store = made({"FD001": {"a": [10.0]}})
    row = store.scores(protocol="validation").row(0, named=True) | {"run": "other"}
    store._insert("scores", [("other", "validation", "FD001", "a", 1, json.dumps(row))])
    with pytest.raises(ArtifactError, match=r"FD001: a has several runs with seed 1"):
        cells(store)


def with_controls() -> dict[str, dict[str, list[float]]]:
    methods = {m: spread(10 + k) for k, m in enumerate(("baseline", "amnl", "gaba", "grace"))}
    single = {
        "fixed:0.01": [9.0], "fixed:1.0": [12.0], "mse+fixed:0.0477": spread(9.5), "pcgrad": [11.0],
        "pcgrad (normalise=initial_loss)": [9.0], "nash_mtl": [9.25],
        "nash_mtl (normalise=initial_loss)": [9.25], "weighted_mse+fixed:0.25": [10.0],
    }  # fmt: skip
    return {"FD001": methods | single, "FD002": methods | single}


def test_the_sweep_compares_common_seeds_and_keeps_the_others(made: Made) -> None:
    points = {p.weight: p for p in weight_sweep(made(with_controls())) if p.dataset == "FD001"}
    assert points.keys() == {0.01, 0.0477, 0.5, 1.0, None}
    assert {p.seeds for p in points.values()} == {(1,)}
    assert points[0.5].rmse == spread(10)[0]
    assert points[None].rmse == spread(12)[0]
    assert points[0.5].all_seeds == 5
    assert points[0.5].all_rmse == pytest.approx(10.0)
    assert points[0.5].all_std == pytest.approx(np.std(spread(10), ddof=1))
    assert (points[1.0].all_seeds, points[1.0].all_rmse, points[1.0].all_std) == (1, 12.0, None)
    assert weight_sweep(made({"FD001": {"baseline": [1.0], "fixed:0.1": [1.0]}})) == []


def test_the_range_of_a_sweep_is_compared_with_that_of_chance(made: Made) -> None:
    (first, _) = sweep_ranges(weight_sweep(made(with_controls())))
    assert (first.weights, first.seeds, first.range) == (4, (1,), 3.0)
    # Two fixed weights with five seeds and equal spread: 8 degrees of freedom.
    std = np.std(spread(10), ddof=1)
    assert first.std == pytest.approx(std)
    assert first.chance == pytest.approx(std * stats.studentized_range.ppf(0.95, 4, 8))
    single = {"baseline": [10.0], "fixed:0.1": [9.0], "fixed:0.9": [9.5]}
    (alone,) = sweep_ranges(weight_sweep(made({"FD001": single})))
    assert (alone.std, alone.chance) == (None, None)


def test_gradient_surgery_is_compared_with_the_baseline(made: Made) -> None:
    store = made(with_controls())
    rows = [r for r in surgery_rows(store) if r.dataset == "FD002" and r.method == "pcgrad"]
    assert [(r.normalise, r.common) for r in rows] == [("none", 1), ("initial_loss", 1)]
    assert [r.difference for r in rows] == pytest.approx([11.0 - 9.8, 9.0 - 9.8])
    assert [r.from_mean for r in rows] == pytest.approx([11.0 - 10.0, 9.0 - 10.0])
    (base,) = baseline_spreads(store, rows)
    assert (base.seeds, base.common, base.at_common, base.rank) == (5, (1,), 9.8, 1)
    assert base.mean == pytest.approx(10.0)


def test_methods_with_equal_figures_under_every_normalisation_are_found(made: Made) -> None:
    scores = with_controls()
    assert scale_invariant(surgery_rows(made(scores))) == {"nash_mtl": ["FD001", "FD002"]}
    scores["FD002"]["nash_mtl"] = [9.25 + 1e-9]
    assert scale_invariant(surgery_rows(made(scores))) == {"nash_mtl": ["FD001"]}
    del scores["FD001"]["nash_mtl"]  # nothing to compare with
    assert scale_invariant(surgery_rows(made(scores))) == {}


def test_epochs_on_the_floor_by_hand() -> None:
    a = WeightPath("FD001", "gaba", 1, (1, 2, 3, 4), (0.5, 0.05, 0.0499, 0.048), selected=2)
    b = WeightPath("FD001", "gaba", 2, (1, 2), (0.5, 0.2), selected=2)  # never on it
    c = WeightPath("FD001", "gaba", 3, (1, 2), (0.5, 0.049), selected=2)
    d = WeightPath("FD001", "gaba", 4, (1, 2), (0.5, 0.049), selected=None)
    assert a.on_floor == (False, False, True, True)  # 0.05 itself is not raised
    (row,) = floor_rows([a, b, c, d])
    assert (row.runs, row.share) == (4, pytest.approx(4 / 10))
    assert (row.first, row.selected) == (2.0, 2.0)  # medians of 3, 2, 2 and of 2, 2, 2
    assert (row.before, row.known) == (2, 3)  # a and b
    elsewhere = a._replace(dataset="FD002", weights=(0.9, 0.9, 0.9, 0.9))
    assert largest_difference([a, b, c, d, elsewhere]) == pytest.approx(0.2 - 0.049)  # epoch 2
    assert largest_difference([a]) == 0.0


def test_the_selected_epoch_follows_from_early_stopping(
    tiny: Callable[..., RunConfig], data: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Checked against the log of a training that stopped early."""
    config = tiny(training={"epochs": 40, "early_stopping_patience": 2, "lr": 0.05})
    folder = tmp_path_factory.mktemp("stopped") / "a"
    run(config, folder, dataset=data)
    rmse = [r["rmse"]["validation"] for r in read_jsonl(folder / "history.jsonl")]
    assert 2 < len(rmse) < 40
    assert selected_epoch(len(rmse), limit=40, patience=2) == int(np.argmin(rmse)) + 1
    assert selected_epoch(40, limit=40, patience=2) is None
    assert selected_epoch(12, limit=40, patience=None) is None


def test_paths_are_those_of_the_adaptive_methods(made: Made) -> None:
    store = made({"FD001": {"gaba": [10.0], "grace": [9.0], "baseline": [9.0]}})
    for method in ("gaba", "grace", "baseline"):
        store._insert(
            "weights", [(f"FD001-{method}-1", e, 10 * e, f"[{0.5 - 0.1 * e}, 0.5]") for e in (1, 0)]
        )
    paths = weight_paths(store)
    assert [p.method for p in paths] == ["gaba", "grace"]
    assert paths[0].epochs == (1, 2)
    assert paths[0].weights == pytest.approx((0.5, 0.4))
