from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from grace.data.fleet import Fleet
from grace.data.simulation import Simulation, SimulationConfig, simulate, simulate_dataset
from grace.data.simulation.turbofan import CENTROIDS, CHANNELS, CONDITION_ORDER

SMALL = SimulationConfig(n_train=12, n_test=8)


@pytest.fixture(scope="module")
def large() -> Simulation:
    return simulate(SimulationConfig(n_train=200, n_test=100), seed=5)


def truth_of(simulation: Simulation, split: str) -> pl.DataFrame:
    return simulation.truth.filter(pl.col("split") == split)


def normalised(
    fleet: Fleet, condition: npt.NDArray[np.int64], columns: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    z = fleet.values(columns).copy()
    for c in np.unique(condition):
        rows = condition == c
        z[rows] = (z[rows] - z[rows].mean(0)) / (z[rows].std(0) + 1e-6)
    return z


# --- reproducibility ---------------------------------------------------------------------------


def test_same_seed_same_data() -> None:
    one, two = simulate(SMALL, seed=3), simulate(SMALL, seed=3)
    for a, b in ((one.dataset.train, two.dataset.train), (one.dataset.test, two.dataset.test)):
        assert a.content_hash() == b.content_hash()
        assert_frame_equal(a.units, b.units)
    assert_frame_equal(one.truth, two.truth)


def test_seed_and_split_change_the_data() -> None:
    one, two = simulate_dataset(SMALL, seed=3), simulate_dataset(SMALL, seed=4)
    lives = [f.units["true_life"].to_list() for f in (one.train, two.train, one.test, two.test)]
    assert all(a != b for i, a in enumerate(lives) for b in lives[i + 1 :])
    assert lives[0][: SMALL.n_test] != lives[2]


def test_global_random_state_is_neither_read_nor_written() -> None:
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    one = simulate_dataset(SMALL, seed=1).train.content_hash()
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert simulate_dataset(SMALL, seed=1).train.content_hash() == one


@pytest.mark.parametrize("extra", [{}, {"censored_fraction": 0.3, "short_test_fraction": 0.4}])
def test_more_units_leave_the_earlier_ones_as_they_were(extra: dict[str, float]) -> None:
    few = simulate(SimulationConfig(n_train=7, n_test=5, **extra), seed=2)
    many = simulate(SimulationConfig(n_train=19, n_test=23, **extra), seed=2)
    for split, n in (("train", 7), ("test", 5)):
        a: Fleet = getattr(few.dataset, split)
        b: Fleet = getattr(many.dataset, split).select(range(1, n + 1), a.name)
        assert a.content_hash() == b.content_hash()
        assert_frame_equal(a.units, b.units)
        assert_frame_equal(truth_of(few, split), truth_of(many, split).filter(pl.col("unit") <= n))


# --- layout ------------------------------------------------------------------------------------


def test_layout_is_that_of_cmapss() -> None:
    dataset = simulate_dataset(SMALL)
    sensors = tuple(f"s{i}" for i in range(1, 22))
    settings = ("setting1", "setting2", "setting3")
    for fleet, n in ((dataset.train, 12), (dataset.test, 8)):
        assert fleet.schema.sensors == sensors
        assert fleet.schema.settings == settings
        assert fleet.schema.time_unit == "cycles"
        assert fleet.frame.columns == ["unit", "cycle", *settings, *sensors]
        assert fleet.unit_ids == list(range(1, n + 1))
        assert fleet.n_rows == fleet.lengths().sum()
        assert (fleet.times()[fleet.starts()] == 1).all()
        assert np.isfinite(fleet.values(fleet.schema.channels)).all()
    assert dataset.synthetic
    assert len(dataset.default_sensors) == 14
    assert dataset.n_conditions == 3
    assert set(dataset.train.schema.descriptions) == {*settings, *sensors}


@pytest.mark.parametrize("n", [1, 2, 6])
def test_conditions_change_every_cycle_around_the_canonical_points(n: int) -> None:
    simulation = simulate(SimulationConfig(n_train=6, n_test=3, n_conditions=n))
    condition = truth_of(simulation, "train")["condition"].to_numpy()
    fleet = simulation.dataset.train
    assert set(condition.tolist()) == set(CONDITION_ORDER[:n])
    off = fleet.values(fleet.schema.settings) - CENTROIDS[condition]
    assert np.abs(off).max(0) == pytest.approx([0.0, 0.0, 0.0], abs=0.015)
    if n > 1:
        assert (np.diff(condition) != 0).mean() > 0.3


def test_magnitudes_constants_and_quantisation() -> None:
    simulation = simulate(SimulationConfig(n_conditions=6, n_train=40), seed=1)
    fleet, condition = simulation.dataset.train, truth_of(simulation, "train")["condition"]
    values = fleet.values(fleet.schema.sensors)
    for j, channel in enumerate(CHANNELS):
        assert values[:, j] == pytest.approx(values[:, j].round(channel.decimals), abs=0)
        for c in range(6):
            seen = values[condition.to_numpy() == c, j]
            assert np.median(seen) == pytest.approx(channel.level[c], rel=0.25)
            if channel.name in ("s1", "s5", "s18", "s19"):
                assert len(np.unique(seen)) == 1
            elif channel.name in ("s10", "s16"):
                assert len(np.unique(seen)) <= 6
            elif channel.name == "s6":
                assert len(np.unique(seen)) <= 4
            else:
                assert len(np.unique(seen)) > 5


# --- lives and fates ---------------------------------------------------------------------------


def test_life_without_noise_is_onset_plus_wear_out() -> None:
    config = SimulationConfig(
        n_train=40, process_noise=0, condition_stress=0, initial_wear=(0, 0), wear_out=(60, 80)
    )
    units = simulate_dataset(config).train.units
    wear = (units["true_life"] - units["onset"]).to_numpy()
    assert ((wear >= 60) & (wear <= 81)).all()
    exact = np.log1p(1 / config.wear_amplitude) / units["rate"].to_numpy()
    assert wear == pytest.approx(np.ceil(exact - 1e-9), abs=0)


def test_lives_within_bounds(large: Simulation) -> None:
    units = pl.concat([large.dataset.train.units, large.dataset.test.units])
    onset, life = units["onset"].to_numpy(), units["true_life"].to_numpy()
    assert onset.min() >= 20
    assert onset.max() <= 180
    wear = life - onset
    assert wear.min() > 65
    assert wear.max() < 185
    assert wear.mean() == pytest.approx(117, abs=6)  # 120 less the initial wear
    assert life.max() - life.min() > 120


def test_wear_depends_on_the_conditions_flown() -> None:
    def lives(n: int, stress: float) -> list[int]:
        config = SimulationConfig(
            n_train=20, n_test=1, n_conditions=n, condition_stress=stress, process_noise=0
        )
        return simulate_dataset(config).train.units["true_life"].to_list()

    assert lives(3, 0.0) != lives(3, 0.5)
    assert lives(1, 0.0) == lives(1, 0.5)  # one condition is its own average


def test_labels_agree_with_the_truth() -> None:
    simulation = simulate(SimulationConfig(n_train=20, n_test=30, censored_fraction=0.25), seed=9)
    for fleet in (simulation.dataset.train, simulation.dataset.test):
        units, length = fleet.units, fleet.lengths()
        life, left = units["true_life"].to_numpy(), units["true_rul_at_end"].to_numpy()
        assert (length + left == life).all()
        known = units["rul_at_end"].is_not_null().to_numpy()
        assert (units["rul_at_end"].drop_nulls().to_numpy() == left[known]).all()
        assert (units["failed"].to_numpy() == (left == 0)).all()
        first = fleet.rul()[fleet.starts()]
        assert (first[known] == life[known] - 1).all()
    train, test = simulation.dataset.train.units, simulation.dataset.test.units
    assert (train["rul_at_end"].is_null() == (train["true_rul_at_end"] > 0)).all()
    assert test["rul_at_end"].null_count() == 0
    assert not test["failed"].any()


def test_health_is_flat_then_falls_to_the_threshold() -> None:
    config = SimulationConfig(n_train=15, n_test=15, failure_threshold=0.2, wear_exponent=1.5)
    simulation = simulate(config, seed=4)
    for fleet, split in ((simulation.dataset.train, "train"), (simulation.dataset.test, "test")):
        truth = truth_of(simulation, split)
        assert_frame_equal(truth.select("unit", "cycle"), fleet.frame.select("unit", "cycle"))
        for unit, rows in zip(
            fleet.units.iter_rows(named=True), truth.partition_by("unit"), strict=True
        ):
            health, cycle = rows["health"].to_numpy(), rows["cycle"].to_numpy()
            new = 1.0 - unit["initial_wear"]
            assert (rows["degrading"].to_numpy() == (cycle > unit["onset"])).all()
            assert health[cycle <= unit["onset"]] == pytest.approx(new, abs=0)
            assert (np.diff(health) <= 0).all()
            assert (health[:-1] > 0.2).all()
            if unit["failed"]:
                assert health[-1] == pytest.approx(0.2, abs=1e-9)
            else:
                assert health[-1] > 0.2


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9])
def test_censored_fraction(share: float) -> None:
    config = SimulationConfig(n_train=40, n_test=2, censored_fraction=share)
    fleet = simulate_dataset(config).train
    assert fleet.units["rul_at_end"].null_count() == round(40 * share)
    assert int(fleet.units["failed"].sum()) == 40 - round(40 * share)
    gone = fleet.units.with_columns(length=fleet.lengths()).filter(~pl.col("failed"))
    seen = gone["length"] / gone["true_life"]
    assert seen.is_between(0.28, 0.95).all()


def test_test_units_end_like_those_of_cmapss(large: Simulation) -> None:
    fleet = large.dataset.test
    left, length = fleet.units["rul_at_end"].to_numpy(), fleet.lengths()
    assert (length < 30).sum() >= 5
    assert length.min() >= 12
    usual = left[length >= 30]
    assert usual.min() >= 5
    assert usual.max() <= 150
    assert np.quantile(usual, [0.25, 0.5, 0.75]) == pytest.approx([41, 77, 114], abs=20)
    assert left.max() < 200  # short histories belong to short lives


def test_default_has_units_shorter_than_the_window() -> None:
    for seed in range(3):
        dataset = simulate_dataset(seed=seed)
        assert (dataset.test.lengths() < 30).sum() >= 3
        assert (dataset.train.lengths() >= 30).all()


@pytest.mark.parametrize(
    "extreme",
    [
        {"wear_out": (10, 10), "onset": (0, 0), "test_rul": (100, 150)},
        {"process_noise": 3.0, "condition_stress": 0.9, "n_conditions": 6},
        {"sensor_noise": 0, "manufacturing_variation": 0, "gain_scatter": 0, "process_noise": 0},
        {"short_test_fraction": 1.0, "censored_fraction": 0.9, "n_conditions": 1, "n_faults": 1},
        {"initial_wear": (0.5, 0.5), "failure_threshold": 0.4, "wear_exponent": 4.0},
    ],
)
def test_extreme_configurations_hold_together(extreme: dict[str, object]) -> None:
    config = SimulationConfig.model_validate({"n_train": 10, "n_test": 10, **extreme})
    dataset = simulate_dataset(config)
    assert (dataset.train.units["true_rul_at_end"] >= 0).all()
    assert (dataset.test.units["rul_at_end"] >= 1).all()
    assert (dataset.test.lengths() >= 1).all()


# --- information in the sensors ----------------------------------------------------------------


def test_sensors_know_nothing_before_onset(large: Simulation) -> None:
    fleet, truth = large.dataset.train, truth_of(large, "train")
    degrading = truth["degrading"].to_numpy()
    z = normalised(fleet, truth["condition"].to_numpy(), large.dataset.default_sensors)
    rul = fleet.rul()

    def correlation(rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.abs([np.corrcoef(z[rows, j], rul[rows])[0, 1] for j in range(z.shape[1])])

    before, after = correlation(~degrading), correlation(degrading)
    # What is left before onset is chance: 200 engines, each with an offset of its own.
    assert before.max() < 0.2
    assert before.mean() < 0.08
    assert np.sort(after)[-4:].min() > 0.6
    # Within an engine nothing drifts: thousands of rows, so hardly any room for chance.
    unit = fleet.frame["unit"].to_numpy()
    for u in np.unique(unit):
        rows = (unit == u) & ~degrading
        z[rows] -= z[rows].mean(0)
        rul[rows] -= rul[rows].mean()
    assert correlation(~degrading).max() < 0.03


def test_initial_wear_shows_in_no_sensor() -> None:
    still = {"n_train": 30, "n_test": 1, "process_noise": 0.0, "condition_stress": 0.0}
    new = simulate(SimulationConfig.model_validate({**still, "initial_wear": (0.0, 0.0)}))
    used = simulate(SimulationConfig.model_validate({**still, "initial_wear": (0.3, 0.3)}))
    assert (used.dataset.train.life() < new.dataset.train.life()).all()
    level = []
    for simulation in (new, used):
        truth, fleet = truth_of(simulation, "train"), simulation.dataset.train
        fresh = ((truth["condition"] == 0) & ~truth["degrading"]).to_numpy()
        level.append(fleet.values(("s11",))[fresh].mean())
    # 0.3 of damage would move s11 by more than 2 times its noise of 0.1.
    assert level[0] == pytest.approx(level[1], abs=0.08)


def test_faults_have_signatures_of_their_own(large: Simulation) -> None:
    fleet, truth = large.dataset.train, truth_of(large, "train")
    z = normalised(fleet, truth["condition"].to_numpy(), ("s7", "s12", "s20", "s15", "s11"))
    ends = fleet.starts() + fleet.lengths()
    late = np.array([z[end - 10 : end].mean(0) for end in ends])
    fan = fleet.units["fault_mode"].to_numpy() == "fan"
    assert 0.35 < fan.mean() < 0.65
    for j, sign in enumerate((1, 1, 1, -1)):
        assert ((sign * late[:, j] > 0) == fan).mean() > 0.9
    assert (late[:, 4] > 0.5).all()  # the wear common to both


def test_one_fault_is_hpc() -> None:
    config = SimulationConfig(n_train=20, n_test=20, n_faults=1)
    dataset = simulate_dataset(config)
    for fleet in (dataset.train, dataset.test):
        assert set(fleet.units["fault_mode"]) == {"HPC"}


# --- configuration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"n_conditions": 7}, r"n_conditions\n.*less than or equal to 6"),
        ({"n_conditions": 0}, r"n_conditions\n.*greater than or equal to 1"),
        ({"n_faults": 3}, r"n_faults\n.*less than or equal to 2"),
        ({"n_train": 0}, "n_train"),
        ({"censored_fraction": 1.0}, r"censored_fraction\n.*less than 1"),
        ({"process_noise": -0.1}, "process_noise"),
        ({"sensor_noise": float("nan")}, "sensor_noise"),
        ({"onset": (100, 50)}, r"onset must be \(low, high\) in cycles.*got \(100, 50\)"),
        ({"wear_out": (1, 50)}, r"wear_out .* 10 <= low"),
        ({"test_rul": (0, 50)}, r"test_rul .* 1 <= low"),
        ({"initial_wear": (0.0, 0.8), "failure_threshold": 0.2}, "almost no health.*lower one"),
        ({"n_units": 5}, "Extra inputs"),
    ],
)
def test_bad_configurations_are_named(bad: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulationConfig.model_validate(bad)


def test_config_is_frozen_and_round_trips() -> None:
    config = SimulationConfig(n_conditions=2, onset=(5, 50))
    with pytest.raises(ValidationError):
        config.n_faults = 1  # type: ignore[misc]
    assert SimulationConfig.model_validate_json(config.model_dump_json()) == config
