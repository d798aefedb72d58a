"""Explanations on a simulated fleet, where the channels of each fault mode are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

import grace
from grace.cli import app
from grace.data import DataError, Dataset, Fleet
from grace.data.simulation.turbofan import CHANNELS
from grace.estimator import Explanation

pytest.importorskip("captum", reason="captum is not installed (extra explain)")


def with_noise(fleet: Fleet, seed: int) -> Fleet:
    """One more sensor, which knows nothing."""
    noise = np.random.default_rng(seed).normal(size=fleet.n_rows)
    schema = fleet.schema.model_copy(update={"sensors": (*fleet.schema.sensors, "noise")})
    frame = fleet.frame.with_columns(noise=pl.Series(noise))
    return Fleet.from_frame(frame, schema, units=fleet.units, name=fleet.name)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return grace.load_dataset("sim", n_train=20, n_test=30)


@pytest.fixture(scope="module")
def model(data: Dataset) -> grace.RULModel:
    candidates = ["linear", "boosting"]
    return grace.RULModel(candidates=candidates, seed=0).fit(with_noise(data.train, 0))


@pytest.fixture(scope="module")
def worn(data: Dataset) -> pl.DataFrame:
    """Test units that are close to failure."""
    units = data.test.units.filter(pl.col("rul_at_end") <= 25).head(4)
    assert set(units["fault_mode"]) == {"HPC", "fan"}
    return units


@pytest.fixture(scope="module")
def explained(model: grace.RULModel, data: Dataset, worn: pl.DataFrame) -> list[Explanation]:
    return model.explain(with_noise(data.test, 1), worn["unit"].to_list(), samples=4)


def test_effects_sum_to_the_change_of_the_prediction(explained: list[Explanation]) -> None:
    for one in explained:
        assert one.channels["effect"].sum() == pytest.approx(one.rul - one.rul_unmoved, abs=0.05)
        parts = one.channels["effect_early"] + one.channels["effect_recent"]
        np.testing.assert_allclose(parts, one.channels["effect"])
        assert one.rul < one.rul_unmoved  # wear shortens the life left


def test_it_explains_the_prediction_that_predict_gives(
    explained: list[Explanation], model: grace.RULModel, data: Dataset
) -> None:
    predicted = dict(model.predict(with_noise(data.test, 1)).select("unit", "rul").iter_rows())
    for one in explained:
        assert one.rul == pytest.approx(predicted[one.unit], abs=1e-3)


def test_channels_move_as_the_fault_mode_of_the_unit_says(
    explained: list[Explanation], worn: pl.DataFrame
) -> None:
    signature = {
        mode: {c.name: getattr(c, mode.lower()) for c in CHANNELS} for mode in ("HPC", "fan")
    }
    for one, mode in zip(explained, worn["fault_mode"], strict=True):
        known = one.channels.filter(pl.col("channel") != "noise")
        moved = known["moved"].to_numpy()
        fits = {
            name: np.corrcoef(moved, [shift[c] for c in known["channel"]])[0, 1]
            for name, shift in signature.items()
        }
        (other,) = set(fits) - {mode}
        assert fits[mode] > fits[other] + 0.5


def test_the_reported_channels_are_those_of_the_fault_mode(
    explained: list[Explanation], worn: pl.DataFrame
) -> None:
    """The five channels shown carry a signature of the unit's fault, and moved in its direction."""
    for one, mode in zip(explained, worn["fault_mode"], strict=True):
        shift = {c.name: getattr(c, mode.lower()) for c in CHANNELS}
        for name, moved in one.channels.head(5).select("channel", "moved").iter_rows():
            assert abs(shift[name]) >= 3, (mode, name)
            assert np.sign(moved) == np.sign(shift[name]), (mode, name)
        silent = one.channels.filter(pl.col("channel").is_in([c for c in shift if not shift[c]]))
        assert silent["effect"].abs().sum() < 0.1 * one.channels["effect"].abs().sum()


def test_effects_over_time_sum_and_lie_after_the_onset(
    explained: list[Explanation], worn: pl.DataFrame
) -> None:
    for one, onset in zip(explained, worn["onset"], strict=True):
        assert one.periods["effect"].sum() == pytest.approx(one.rul - one.rul_unmoved, abs=0.05)
        assert one.periods["start"][0] == 1
        assert one.periods["end"][-1] == one.time
        assert (one.periods["end"][:-1] < one.periods["start"][1:]).all()
        before = one.periods.filter(pl.col("end") <= onset)["effect"].abs().sum()
        assert before < 0.2 * one.periods["effect"].abs().sum()
        assert one.periods["effect"].arg_min() == one.periods.height - 1  # wear shows last


def test_a_channel_that_knows_nothing_has_next_to_no_effect(explained: list[Explanation]) -> None:
    for one in explained:
        size = one.channels["effect"].abs()
        noise = one.channels.filter(channel="noise")["effect"].abs().item()
        assert noise < 0.1 * size.sum()
        assert one.channels["channel"][0] != "noise"


def test_neighbours_are_different_training_units_with_their_outcomes(
    explained: list[Explanation], model: grace.RULModel
) -> None:
    assert model.oof_ is not None
    for one in explained:
        near = one.neighbours
        assert near["unit"].n_unique() == near.height == 5
        assert near["distance"].is_sorted()
        joined = near.join(model.oof_, on=["unit", "time"], how="left")
        assert joined["rul_true"].to_list() == joined["rul_true_right"].to_list()
        assert (near["rul_predicted"] - one.rul).abs().max() < 25


def test_text_repeatability_and_untouched_randomness(
    model: grace.RULModel, data: Dataset, explained: list[Explanation], worn: pl.DataFrame
) -> None:
    fleet = with_noise(data.test, 1)
    before = torch.get_rng_state()
    (again,) = model.explain(fleet, [str(worn["unit"][0])], samples=4)
    assert torch.equal(before, torch.get_rng_state())
    assert str(again) == str(explained[0])
    assert f"Unit {worn['unit'][0]} at " in str(again)
    assert again.channels["channel"][0] in str(again)


def test_wrong_arguments(model: grace.RULModel, data: Dataset) -> None:
    with pytest.raises(DataError, match=r"there is no unit 999\. Remedy: choose from"):
        model.explain(with_noise(data.test, 1), [999])
    with pytest.raises(ValueError, match="samples=0"):
        model.explain(with_noise(data.test, 1), samples=0)


def test_command(data: Dataset, tmp_path: Path) -> None:
    keys = {"unit": "unit", "time": "cycle", "time_unit": "cycles"}
    columns = ["unit", "cycle", "s2", "s3", "s4", "s11"]
    table = data.train.frame.select(columns)
    model = grace.RULModel(candidates=["linear"], seed=0)
    model.fit(table, fate="end_of_record", **keys).save(tmp_path / "model")
    data.test.frame.select(columns).write_csv(tmp_path / "today.csv")
    done = CliRunner().invoke(
        app,
        ["explain", str(tmp_path / "today.csv"), "--model", str(tmp_path / "model"), "--samples",
         "2", "--out", str(tmp_path / "why.csv")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.output.count("predicted RUL") == 3
    written = pl.read_csv(tmp_path / "why.csv")
    assert written.columns[:2] == ["unit", "channel"]
    assert written.height == 3 * 4
