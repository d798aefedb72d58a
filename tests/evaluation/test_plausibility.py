import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from grace.evaluation import LabelFloor, check_plausibility, label_floor, nasa_score, rmse

FLOORS = {
    "FD001": (3.74, 14.6, 100),
    "FD002": (18.32, 2010, 259),
    "FD003": (4.71, 22.7, 100),
    "FD004": (19.53, 2130, 248),
}


@pytest.mark.parametrize("name", sorted(FLOORS))
def test_floor_of_the_real_labels(cmapss, name):
    raw = np.loadtxt(cmapss / f"RUL_{name}.txt")
    floor_rmse, floor_nasa, n = FLOORS[name]
    floor = label_floor(raw, 125.0)
    assert raw.size == n
    assert floor.rmse == pytest.approx(floor_rmse, abs=5e-3)
    assert floor.nasa == pytest.approx(floor_nasa, rel=4e-3)


vectors = st.integers(1, 20).flatmap(
    lambda n: st.tuples(
        arrays(float, n, elements=st.floats(0, 300)), arrays(float, n, elements=st.floats(0, 125))
    )
)


@given(vectors)
def test_no_bounded_predictor_beats_the_floor(pair):
    raw, pred = pair
    floor = label_floor(raw, 125.0)
    assert rmse(raw, pred) >= floor.rmse - 1e-9
    assert nasa_score(raw, pred) >= floor.nasa - 1e-9
    assert "below_label_floor" not in codes(
        rmse_raw=rmse(raw, pred), nasa_raw=nasa_score(raw, pred), floor=floor
    )


def test_floor_needs_a_cap():
    with pytest.raises(ValueError, match="cap"):
        label_floor([1.0], 0.0)


def codes(**figures):
    return [flag.code for flag in check_plausibility(**figures)]


FLOOR = LabelFloor(18.32, 2010.0)
BASELINE_RMSE = {"constant": 42.9, "gradient_boosting": 13.9}


@pytest.mark.parametrize(
    ("code", "severity", "raised", "quiet"),
    [
        ("below_label_floor", "error", {"rmse_raw": 6.74, "floor": FLOOR}, {"rmse_raw": 18.4}),
        ("below_label_floor", "error", {"nasa_raw": 356.0, "floor": FLOOR}, {"nasa_raw": 2011.0}),
        ("wrong_unit_count", "error", {"n_units": 250}, {"n_units": 259}),
        ("implausibly_low", "warning", {"rmse_capped": 7.99}, {"rmse_capped": 8.0}),
        ("worse_than_constant", "warning", {"rmse_capped": 42.9}, {"rmse_capped": 42.8}),
        ("loses_to_gradient_boosting", "warning", {"rmse_capped": 14.0}, {"rmse_capped": 13.9}),
        ("test_selected", "warning", {"select_on": "test"}, {"select_on": "validation"}),
    ],
)
def test_each_flag_is_raised_and_not_raised(code, severity, raised, quiet):
    common = {"dataset": "fd002", "floor": FLOOR, "baseline_rmse": BASELINE_RMSE}
    found = {f.code: f for f in check_plausibility(**{**common, **raised})}
    assert found[code].severity == severity
    assert found[code].message.endswith(".")
    assert code not in codes(**{**common, **quiet})


@pytest.mark.parametrize(
    ("name", "limit"), [("FD001", 8.5), ("FD002", 8.0), ("FD003", 7.0), ("FD004", 8.0)]
)
def test_lowest_believable_rmse(name, limit):
    assert codes(dataset=name, rmse_capped=limit - 0.01) == ["implausibly_low"]
    assert codes(dataset=name, rmse_capped=limit + 0.01) == []
    assert codes(dataset=name, rmse_capped=limit - 0.01, label_cap=60.0) == []
    for wrong in (99, 258, 101):
        assert "wrong_unit_count" in codes(dataset=name, n_units=wrong)


def test_unknown_data_and_nothing_known_raise_nothing():
    assert codes() == []
    assert codes(dataset="pumps", n_units=3, rmse_capped=1.0, rmse_raw=1.0, nasa_raw=0.1) == []


def test_published_figures_are_judged_too():
    flags = check_plausibility(
        dataset="FD002",
        rmse_capped=6.74,
        n_units=259,
        select_on="test",
        baseline_rmse=BASELINE_RMSE,
    )
    assert [f.code for f in flags] == ["implausibly_low", "test_selected"]
