"""Predictions out of fold, and the weights made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from grace.candidates import CANDIDATES, Stack, evaluation_rows, out_of_fold
from grace.candidates import out_of_fold as function
from grace.candidates.life import Constant
from grace.data import DataError, Fleet
from grace.data.labels import LabelConfig, capped_rul
from grace.data.readers import load_dataset
from grace.data.splits import kfold_units
from grace.prediction.state_files import read_state, write_state

SIMPLE = ["constant", "median_life", "linear"]
LABELS = LabelConfig()


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return load_dataset("sim", seed=1, n_train=12, n_test=1, censored_fraction=0.3).train


@pytest.fixture(scope="module")
def oof(fleet: Fleet) -> pl.DataFrame:
    return out_of_fold(fleet, LABELS, kfold_units(fleet, 4, seed=0), candidates=SIMPLE, per_unit=6)


def test_every_unit_is_evaluated_at_several_truncations(fleet: Fleet, oof: pl.DataFrame) -> None:
    assert oof["unit"].n_unique() == fleet.n_units
    per_unit = oof.group_by("unit").agg(pl.len(), pl.col("weight").sum())
    assert per_unit["len"].max() <= 6
    np.testing.assert_allclose(per_unit["weight"].to_numpy(), 1.0)
    rows = evaluation_rows(fleet, per_unit=6)
    np.testing.assert_array_equal(oof["time"].to_numpy(), fleet.times()[rows])
    truth = capped_rul(fleet, LABELS)[rows]
    np.testing.assert_array_equal(oof["rul_capped"].fill_null(np.nan).to_numpy(), truth)


def test_a_unit_is_predicted_by_a_model_that_never_saw_it(fleet: Fleet, oof: pl.DataFrame) -> None:
    folds = kfold_units(fleet, 4, seed=0)
    for k, split in enumerate(folds):
        part = oof.filter(pl.col("fold") == k)
        assert set(part["unit"].to_list()) == set(split.validation)
        alone = CANDIDATES["constant"]().fit(fleet.select(split.train), LABELS, seed=0)
        np.testing.assert_array_equal(part["constant"].to_numpy(), alone.predict(fleet)[0])


def test_an_interrupted_call_goes_on(
    fleet: Fleet, oof: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds, calls = kfold_units(fleet, 4, seed=0), []

    def stop(name: str, fold: int) -> None:
        calls.append((name, fold))
        if len(calls) == 5:
            raise KeyboardInterrupt

    options = {"candidates": SIMPLE, "per_unit": 6, "store": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        out_of_fold(fleet, LABELS, folds, progress=stop, **options)
    done, calls = set(calls[:4]), []
    damaged = sorted(tmp_path.glob("*-constant-0.parquet"))[0]
    damaged.write_bytes(b"no table")
    again = out_of_fold(fleet, LABELS, folds, progress=lambda n, k: calls.append((n, k)), **options)
    assert not (set(calls) - {("constant", 0)}) & done  # only what was missing or damaged
    assert ("constant", 0) in calls
    assert again.equals(oof)


def test_what_another_revision_of_a_candidate_left_is_not_used(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = kfold_units(fleet, 4, seed=0)

    def fitted() -> set[tuple[str, int]]:
        calls: set[tuple[str, int]] = set()
        names = ["constant", "median_life"]
        out_of_fold(fleet, LABELS, folds, candidates=names, store=tmp_path,
                    progress=lambda name, k: calls.add((name, k)))  # fmt: skip
        return calls

    assert len(fitted()) == 8
    assert fitted() == set()
    monkeypatch.setattr(Constant, "revision", 2)
    assert fitted() == {("constant", k) for k in range(4)}


class _Far(Constant):
    """A candidate that is far off, or refuses the data."""

    name = "far"
    fits: ClassVar[list[int]] = []
    refuses: ClassVar[bool] = False

    def _fit(self, fleet: Fleet, *args: Any) -> None:
        self.fits.append(fleet.n_units)
        if self.refuses:
            raise DataError("too little of everything.", remedy="add units.")
        super()._fit(fleet, *args)
        self.value_ = 0.0


@pytest.mark.parametrize("refuses", [False, True])
def test_the_first_fold_decides_about_a_screened_candidate(
    fleet: Fleet, oof: pl.DataFrame, monkeypatch: pytest.MonkeyPatch, refuses: bool
) -> None:
    monkeypatch.setitem(CANDIDATES, "far", _Far)
    monkeypatch.setattr(_Far, "refuses", refuses)
    monkeypatch.setattr(_Far, "fits", [])
    folds, left_out = kfold_units(fleet, 4, seed=0), {}
    options = {"candidates": [*SIMPLE, "far"], "per_unit": 6}
    found = out_of_fold(
        fleet, LABELS, folds, screened=["far"], on_left_out=left_out.__setitem__, **options
    )
    assert len(_Far.fits) == 1  # nor is it fitted on the other folds
    assert found.equals(oof)
    assert ("too little" if refuses else "of the first fold its RMSE is") in left_out["far"]
    assert list(left_out) == ["far"]
    options["candidates"] = ["constant", "far"]  # not screened: all folds, or the error
    if refuses:
        with pytest.raises(DataError, match="too little"):
            out_of_fold(fleet, LABELS, folds, **options)
    else:
        assert "far" in out_of_fold(fleet, LABELS, folds, **options).columns


def test_a_screened_candidate_that_is_worth_a_weight_stays(fleet: Fleet, oof: pl.DataFrame) -> None:
    left_out: dict[str, str] = {}
    near = out_of_fold(
        fleet, LABELS, kfold_units(fleet, 4, seed=0), screened=["linear"], candidates=SIMPLE,
        per_unit=6, on_left_out=left_out.__setitem__,
    )  # fmt: skip
    assert near.equals(oof)
    assert not left_out


def test_folds_that_miss_a_unit_are_refused(fleet: Fleet) -> None:
    with pytest.raises(DataError, match="exactly once"):
        function(fleet, LABELS, kfold_units(fleet, 4, seed=0)[:3], candidates=["constant"])
    with pytest.raises(ValueError, match="unknown candidate 'crystal'"):
        function(fleet, LABELS, kfold_units(fleet, 4, seed=0), candidates=["crystal"])


def table(columns: dict[str, np.ndarray], y: np.ndarray, per_unit: int = 4) -> pl.DataFrame:
    n = len(y)
    unit = np.arange(n) // per_unit
    return pl.DataFrame(
        {
            "unit": unit,
            "time": np.arange(n) * 1.0,
            "age": np.arange(n) * 1.0,
            "rul_true": y,
            "rul_capped": y,
            "censored_after": y,
            "fold": unit % 5,
            "weight": np.full(n, 1.0 / per_unit),
            **columns,
        }
    )


@pytest.mark.parametrize("seed", range(6))
def test_weights_are_a_mean_and_find_the_best_ones(seed: int) -> None:
    """Two equally good candidates with independent errors share the weight."""
    rng = np.random.default_rng(seed)
    y = rng.uniform(0, 100, 400)
    noise = rng.normal(0, 10, (2, 400))
    stack = Stack().fit(table({"one": y + noise[0], "two": y + noise[1], "bad": 100 - y}, y))
    assert stack.stacked_
    assert sum(stack.weights_.values()) == pytest.approx(1.0)
    assert stack.weights_["one"] == pytest.approx(0.5, abs=0.07)
    assert stack.weights_["bad"] == 0.0
    assert stack.rmse_ < 0.9 * stack.errors_[0].rmse  # independent errors partly cancel
    assert [e.name for e in stack.errors_][-1] == "bad"


@pytest.mark.parametrize("seed", range(8))
def test_the_stack_does_not_lose_to_the_best_candidate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.uniform(0, 100, 60)
    columns = {f"c{i}": y + rng.normal(0, 5 + 5 * i, 60) for i in range(6)}
    stack = Stack().fit(table(columns, y))
    best = stack.errors_[0].rmse
    fresh = rng.uniform(0, 100, 4000)
    new = {f"c{i}": fresh + rng.normal(0, 5 + 5 * i, 4000) for i in range(6)}
    single = np.sqrt(np.mean((new["c0"] - fresh) ** 2))
    assert np.sqrt(np.mean((stack.predict(new) - fresh) ** 2)) < 1.1 * single
    assert best > 0


def test_more_units_drop_what_is_less_accurate() -> None:
    rng = np.random.default_rng(3)
    shares = []
    for units in (8, 800):
        y = rng.uniform(0, 100, 4 * units)
        noise = rng.normal(0, 1, len(y))  # shared: nothing to cancel
        columns = {f"c{s}": y + s * noise for s in (10, 13)}
        shares.append(Stack().fit(table(columns, y)).weights_["c13"])
    assert shares[0] > 0.05
    assert shares[1] == 0.0


def test_many_units_keep_what_cancels_and_do_not_count_a_copy_twice() -> None:
    rng = np.random.default_rng(4)
    y = rng.uniform(0, 100, 3200)
    noise = rng.normal(0, 1, (2, len(y)))
    columns = {"one": y + 10 * noise[0], "copy": y + 10 * noise[0], "other": y + 13 * noise[1]}
    weights = Stack().fit(table(columns, y)).weights_
    assert weights["one"] == pytest.approx(weights["copy"], abs=0.01)
    # Least squares gives 100 / (100 + 169) to the other one; weights by error alone give none.
    assert 0.15 < weights["other"] < 0.37


def test_one_unit_with_a_large_error_counts_as_few_units() -> None:
    """The effective number of units: an error that one unit makes decides nothing."""
    y = np.linspace(0, 100, 400)
    near, far = y + 0.1, y + 0.1
    near[0], far[0] = y[0] + 50.0, y[0] + 56.0
    weights = Stack().fit(table({"near": near, "far": far}, y)).weights_
    # With n = 1, but for the small error of the other units, and the errors of one sign, the slopes
    # of the two are equal: 2 · ½ · r e + ½ r² + log v, with e the error of the stack.
    ratio, far = 56.0 / 50.0, weights["far"]
    slope = (ratio - 1.0) * (1.0 + far * (ratio - 1.0)) + 0.5 * (ratio**2 - 1.0)
    assert np.log(far / weights["near"]) == pytest.approx(-slope, rel=0.05)


def test_without_a_difference_in_error_the_weights_are_the_prior() -> None:
    y = np.linspace(0, 100, 80)
    same = y + 5.0
    weights = Stack().fit(table({n: same for n in ("constant", "linear", "boosting")}, y)).weights_
    assert weights == pytest.approx({"constant": 0.5 / 3.5, "linear": 1 / 3.5, "boosting": 2 / 3.5})


def test_the_prior_says_what_few_units_cannot_and_many_units_overrule_it() -> None:
    """Boosting is a tenth less accurate than the constant; the errors are of one sign."""
    shares = []
    for units in (8, 8000):
        y = np.linspace(0, 100, 4 * units)
        columns = {"constant": y + 10.0, "boosting": y + 11.0}
        shares.append(Stack().fit(table(columns, y)).weights_["boosting"])
    few, many = shares
    slope = 0.1 * (1.0 + few * 0.1) + 0.5 * (1.1**2 - 1.0)
    assert np.log(few / (1.0 - few)) == pytest.approx(np.log(4.0) - slope * np.sqrt(8), rel=1e-3)
    assert few > 0.5
    assert many == 0.0


def test_screening_uses_the_prior(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate is left out if its weight on the first fold is 0, and that weight has a prior."""
    folds = kfold_units(fleet, 4, seed=0)
    left_out: list[str] = []
    options = {"candidates": SIMPLE, "per_unit": 6, "screened": ["linear"]}
    monkeypatch.setattr(CANDIDATES["linear"], "prior", 1e-9)
    out_of_fold(fleet, LABELS, folds, on_left_out=lambda n, _: left_out.append(n), **options)
    assert left_out == ["linear"]


def test_the_reported_error_is_that_of_weights_from_the_other_folds() -> None:
    rng = np.random.default_rng(5)
    y = rng.uniform(0, 100, 80)
    frame = table({f"c{s}": y + rng.normal(0, s, 80) for s in (8, 12)}, y)
    total = 0.0
    for k in range(5):
        part = frame.filter(pl.col("fold") == k)
        others = Stack().fit(frame.filter(pl.col("fold") != k))
        found = others.predict({n: part[n].to_numpy() for n in others.used})
        total += float(
            (part["weight"].to_numpy() * (found - part["rul_capped"].to_numpy()) ** 2).sum()
        )
    assert Stack().fit(frame).rmse_ == pytest.approx(np.sqrt(total / frame["weight"].sum()))


def test_a_perfect_candidate_takes_all() -> None:
    y = np.linspace(0, 100, 40)
    assert Stack().fit(table({"perfect": y, "other": y + 1}, y)).weights_["perfect"] == 1.0


def test_few_units_take_the_best_candidate_and_say_so() -> None:
    y = np.linspace(0, 50, 12)
    stack = Stack().fit(table({"near": y + 1, "far": y + 9}, y))
    assert not stack.stacked_
    assert stack.weights_ == {"near": 1.0, "far": 0.0}
    assert "at least 5" in stack.summary("hours")
    assert "hours" in stack.summary("hours")
    stack.rmse_ = 2699.6
    assert "the RMSE is about 2,700 seconds" in stack.summary("seconds")


def test_no_known_life_no_stack() -> None:
    y = np.full(12, np.nan)
    frame = table({"a": np.ones(12)}, y).with_columns(rul_capped=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(DataError, match="no held-out row"):
        Stack().fit(frame)


def test_a_saved_stack_is_the_same(oof: pl.DataFrame, tmp_path: Path) -> None:
    stack = Stack().fit(oof)
    write_state(tmp_path, "stack", stack.to_state())
    again = Stack.from_state(read_state(tmp_path, "stack"))
    assert again.errors_ == stack.errors_
    assert again.summary("cycles") == stack.summary("cycles")
