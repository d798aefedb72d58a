"""Operating conditions: the six of C-MAPSS are found, in one order, and the unseen is seen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from grace.data import DataError
from grace.data.conditions import OperatingConditions

CENTROIDS = np.array(
    [
        [0, 0, 100],
        [10, 0.25, 100],
        [20, 0.70, 100],
        [25, 0.62, 60],
        [35, 0.84, 100],
        [42, 0.84, 100],
    ],
    dtype=float,
)


def cloud(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 6, n)
    return CENTROIDS[label] + rng.normal(size=(n, 3)) * [0.0022, 0.0003, 0.0], label


@pytest.mark.parametrize("k", [6, "auto"])
def test_the_six_conditions_are_recovered(k: int) -> None:
    settings, label = cloud()
    found = OperatingConditions(k).fit(settings)
    np.testing.assert_allclose(found.centers_, CENTROIDS, atol=2e-3)
    got, distance = found.assign(settings)
    np.testing.assert_array_equal(got, label)
    assert distance.max() < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_the_order_does_not_hang_on_seed_or_rows(seed: int) -> None:
    settings, _ = cloud(seed=seed)
    a = OperatingConditions(6, seed=seed).fit(settings).centers_
    b = OperatingConditions(6, seed=seed + 1).fit(settings[::-1]).centers_
    np.testing.assert_allclose(a, b, atol=1e-9)


def test_a_cloud_without_clusters_is_one_condition() -> None:
    rng = np.random.default_rng(0)
    assert len(OperatingConditions("auto").fit(rng.normal(size=(400, 3))).centers_) == 1
    assert len(OperatingConditions("auto").fit(np.zeros((20, 2))).centers_) == 1


@pytest.mark.parametrize("kind", ["uniform", "normal", "lognormal", "exponential"])
@pytest.mark.parametrize("n_settings", [1, 2, 3])
def test_a_continuum_is_one_condition_and_is_reported_as_such(kind: str, n_settings: int) -> None:
    draw = getattr(np.random.default_rng(1), kind)
    found = OperatingConditions("auto").fit(draw(size=(2000, n_settings)))
    assert len(found.centers_) == 1
    assert found.continuum_
    again = OperatingConditions.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.continuum_


def test_constant_settings_and_discrete_levels_are_no_continuum() -> None:
    assert not OperatingConditions("auto").fit(np.full((50, 2), 3.0)).continuum_
    assert not OperatingConditions("auto").fit(cloud()[0]).continuum_
    # One condition by choice, as for FD001, says nothing of the settings.
    assert not OperatingConditions(1).fit(np.random.default_rng(0).random((50, 1))).continuum_


@pytest.mark.parametrize("levels", [[1.0, 5.0], [1500.0, 1650.0, 1800.0]])
def test_exact_levels_without_noise_are_conditions(levels: list[float]) -> None:
    settings = np.repeat(levels, 40)[:, None]
    found = OperatingConditions("auto").fit(settings)
    np.testing.assert_allclose(found.centers_[:, 0], levels)
    assert found.assign(settings)[0].tolist() == np.repeat(np.arange(len(levels)), 40).tolist()


def test_two_and_three_levels_are_found() -> None:
    rng = np.random.default_rng(0)
    for levels in ([0.0, 10.0], [0.0, 10.0, 30.0]):
        settings = rng.choice(levels, 300)[:, None] + rng.normal(scale=0.05, size=(300, 1))
        centers = OperatingConditions("auto").fit(settings).centers_
        np.testing.assert_allclose(centers[:, 0], levels, atol=0.05)


def test_no_settings_is_one_condition() -> None:
    for k in (1, "auto"):
        found = OperatingConditions(k).fit(np.empty((10, 0)))  # type: ignore[arg-type]
        labels, distance = found.assign(np.empty((4, 0)))
        assert labels.tolist() == [0] * 4
        assert not found.unseen(labels, distance).any()


def test_training_rows_are_not_unseen_and_a_new_condition_is() -> None:
    settings, _ = cloud()
    for k in (1, 6):
        found = OperatingConditions(k).fit(settings)
        assert not found.unseen(*found.assign(settings)).any()
    fresh, _ = cloud(seed=9)
    assert not found.unseen(*found.assign(fresh)).any()
    between = np.array([[15.0, 0.5, 100.0], [25.0, 0.62, 100.0], [60.0, 0.84, 100.0]])
    labels, distance = found.assign(between)
    assert found.unseen(labels, distance).all()
    assert (distance > 0.1).all()


def test_distance_is_in_training_standard_deviations() -> None:
    settings = np.array([[0.0], [10.0]])
    found = OperatingConditions(1).fit(settings)  # mean 5, σ 5
    assert found.assign(np.array([[20.0]]))[1].tolist() == pytest.approx([3.0])


def test_a_constant_setting_of_no_round_number_is_constant() -> None:
    """0.1 has no exact binary form; its standard deviation must not become the scale."""
    settings = np.full((1000, 1), 0.1)
    found = OperatingConditions(1).fit(settings)
    labels, distance = found.assign(np.full((3, 1), 0.1))
    assert not found.unseen(labels, distance).any()
    assert found.assign(np.array([[0.1 + 1e-12]]))[1][0] < 1e-3


def test_more_conditions_than_settings_take_is_an_error() -> None:
    with pytest.raises(DataError) as caught:
        OperatingConditions(3).fit(np.array([[0.0], [1.0], [0.0]]), source="mine")
    assert str(caught.value) == (
        "mine: n_conditions=3, but the settings take only 2 distinct value(s). "
        "Remedy: set n_conditions to at most 2, or to 'auto'."
    )
    with pytest.raises(ValueError, match="n_conditions=0"):
        OperatingConditions(0)


def test_settings_that_do_not_divide_are_an_error() -> None:
    """One far value in a hundred thousand is not in the sample that clusters are found on."""
    settings = np.zeros((100_000, 1))
    settings[0] = 1.0
    with pytest.raises(DataError, match=r"not divide into n_conditions=2.*Remedy: .* lower"):
        OperatingConditions(2).fit(settings)


def test_plain_numbers_bring_it_back_to_the_bit() -> None:
    settings, _ = cloud()
    found = OperatingConditions(6).fit(settings)
    again = OperatingConditions.from_dict(json.loads(json.dumps(found.to_dict())))
    probe = np.random.default_rng(1).uniform(0, 50, (200, 3))
    for a, b in zip(found.assign(probe), again.assign(probe), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        found.unseen(*found.assign(probe)), again.unseen(*again.assign(probe))
    )
