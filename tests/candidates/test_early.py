"""The shift of predictions towards early, by prediction and predicted life."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from grace.candidates import EarlyShift
from grace.candidates.early import nasa_loss
from grace.data.labels import LabelConfig
from grace.data.readers import load_dataset
from grace.estimator import RULModel
from grace.estimator.inputs import predict_rows
from grace.estimator.stacking import fit_stack, truncations
from grace.evaluation import nasa_score

CAP = 125.0


def spread(n: int = 6000) -> dict[str, np.ndarray]:
    """Predictions that are right near failure and uncertain far from it, at any age."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0, CAP, n)
    y = np.clip(p + rng.normal(0, 1, n) * 0.2 * p, 0, CAP)
    age = rng.uniform(0, 200, n)
    return {"p": p, "y": y, "w": np.ones(n), "fold": (np.arange(n) // 20) % 5, "age": age}


def fitted(rows: dict[str, np.ndarray], scale: float = 1.0) -> EarlyShift:
    p, y, age = (rows[k] * scale for k in ("p", "y", "age"))
    return EarlyShift().fit(p, y, rows["w"], rows["fold"], age=age, cap=CAP * scale)


def test_predictions_move_to_early_where_lives_spread() -> None:
    rows = spread()
    shift = fitted(rows)
    low, high = (shift.predict([v], age=[100.0])[0] - v for v in (5.0, 90.0))
    assert abs(low) <= 1.0
    assert high < -1.0
    p, y = rows["p"], rows["y"]
    found = shift.predict(p, age=rows["age"])
    assert nasa_score(y, found) < 0.95 * nasa_score(y, p)
    assert np.mean((found - y) ** 2) < 1.01 * np.mean((p - y) ** 2)
    assert found.min() >= 0
    assert found.max() <= CAP


def test_the_error_of_long_and_short_predicted_lives_is_taken_out() -> None:
    """True lives scatter less than predicted ones: at 60 left, old units fail earlier."""
    rows = spread()
    rows["y"] = np.clip(rows["p"] - 0.15 * (rows["age"] - 100.0), 0, CAP)
    shift = fitted(rows)
    young, old = shift.predict([60.0, 60.0], age=[40.0, 160.0])
    assert young == pytest.approx(69.0, abs=2.5)
    assert old == pytest.approx(51.0, abs=2.5)
    # Beyond the lives of training the shift is that of the outermost ones.
    assert shift.predict([60.0], age=[5000.0]) == shift.predict([60.0], age=[400.0])


def test_the_shift_scales_with_the_unit_of_time() -> None:
    rows = spread()
    cycles, hours = fitted(rows), fitted(rows, scale=24.0)
    p, age = rows["p"], rows["age"]
    np.testing.assert_allclose(hours.predict(p * 24, age=age * 24), cycles.predict(p, age=age) * 24)
    again = EarlyShift.from_state(json.loads(json.dumps(hours.to_state())))
    np.testing.assert_array_equal(again.predict(p, age=age), hours.predict(p, age=age))


def test_nothing_is_shifted_without_errors_or_gain() -> None:
    p = np.linspace(0, CAP, 400)
    rows = {"p": p, "y": p, "w": np.ones(400), "fold": (np.arange(400) // 20) % 5, "age": p[::-1]}
    exact = fitted(rows)
    near = fitted(rows | {"y": p + np.where(np.arange(400) % 2, 0.1, -0.1)})
    for shift in (exact, near):
        assert shift.table_ is None
        np.testing.assert_allclose(shift.predict(p, age=rows["age"]), p)
        assert EarlyShift.from_state(shift.to_state()).table_ is None


def test_it_must_help_on_the_other_folds() -> None:
    """Each fold errs in its own direction: what the others teach is wrong there."""
    rows = spread(500)
    rows["y"] = rows["p"] + np.where(rows["fold"] % 2, 8.0, -8.0)
    assert fitted(rows).table_ is None


def test_a_larger_share_shifts_further() -> None:
    rows = spread()
    moved = []
    for share in (0.0, 0.2, 0.6):
        options = {"age": rows["age"], "cap": CAP}
        shift = EarlyShift(share).fit(rows["p"], rows["y"], rows["w"], rows["fold"], **options)
        moved.append(shift.predict([80.0], age=[100.0])[0] - 80.0)
    assert moved[0] > moved[1] > moved[2]
    assert moved[0] == pytest.approx(0.0, abs=1.5)  # the mean error only
    with pytest.raises(ValueError, match="between 0 and 1"):
        EarlyShift(1.5)


def test_equal_lives_are_no_obstacle() -> None:
    rows = spread(1000)
    rows["age"] = 200.0 - rows["p"]
    found = fitted(rows).predict(rows["p"], age=rows["age"])
    assert np.isfinite(found).all()


def test_predictions_out_of_fold_know_nothing_of_their_fold() -> None:
    rows = spread(3000)
    oof = pl.DataFrame(
        {
            "unit": np.arange(3000) // 20, "time": rows["age"], "age": rows["age"],
            "rul_true": rows["y"], "rul_capped": rows["y"], "censored_after": rows["y"],
            "fold": rows["fold"], "weight": 0.05, "network": rows["p"],
        }
    )  # fmt: skip
    labels = LabelConfig(cap=CAP)
    _, shift, shifted = fit_stack(oof, labels)
    mine = rows["fold"] == 2
    others = truncations(oof, labels).filter(pl.col("fold") != 2)
    columns = (others[c].to_numpy() for c in ("network", "rul_capped", "weight", "fold"))
    alone = EarlyShift().fit(*columns, age=others["age"].to_numpy(), cap=CAP)
    asked = rows["p"][mine], rows["age"][mine]
    np.testing.assert_allclose(shifted[mine], alone.predict(asked[0], age=asked[1]))
    assert not np.allclose(shifted[mine], shift.predict(asked[0], age=asked[1]))


def test_a_model_predicts_with_the_shift_of_its_stack() -> None:
    """By life: rows below a predicted life of 150 cycles are shifted by −5, others by +5."""
    data = load_dataset("sim", n_train=6, n_test=4)
    model = RULModel(candidates=["linear"], rows_per_unit=3, cap=CAP).fit(data.train)
    rows = np.arange(data.test.n_rows)
    before = predict_rows(data.test, rows, model.learned)
    shift = EarlyShift.from_state(
        {"cap": CAP, "table": [[0.0, CAP], [149.0, 151.0], [[-5.0, 5.0], [-5.0, 5.0]]]}
    )
    after = predict_rows(data.test, rows, replace(model.learned, early=shift))
    life = (before["age"] + before["stack"]).to_numpy()
    clear = np.abs(life - 150.0) > 1.0
    expected = np.clip(before["stack"].to_numpy() + np.where(life > 150.0, 5.0, -5.0), 0.0, CAP)
    np.testing.assert_allclose(after["stack"].to_numpy()[clear], expected[clear])
    assert (life < 149.0).any()
    assert (life > 151.0).any()


def test_the_loss_is_the_score() -> None:
    d = np.array([-30.0, -1.0, 0.0, 5.0, 40.0])
    assert nasa_loss(d).sum() == pytest.approx(nasa_score(np.zeros(5) + 50, d + 50))
    assert np.isfinite(nasa_loss(np.array([1e6, -1e6]))).all()
