"""The page on accuracy says what the results say, and the variants keep out of the test sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from grace.candidates.network import fixed_training
from grace.data.labels import LabelConfig
from grace.data.readers import load_dataset

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import accuracy
    finally:
        sys.path.pop(0)
    return accuracy


@pytest.fixture
def accuracy_text(accuracy: ModuleType) -> ModuleType:
    return sys.modules[accuracy.page.__module__]


def test_the_page_is_that_of_the_results(accuracy: ModuleType) -> None:
    assert accuracy.PAGE.read_text(encoding="utf-8") == accuracy.page()


def test_the_tables_show_the_figures(accuracy: ModuleType, accuracy_text: ModuleType) -> None:
    log = [
        {"variant": v, "dataset": "FD003", "order": i, "rmse": 9.0 + i, "nasa_per_unit": 1.5}
        for i, v in enumerate(("one", accuracy.CHOSEN))
    ]
    assert accuracy_text.variant_table(log)[2:] == [
        "| one | – | – | 9.00 / 1.50 | – |",
        f"| **{accuracy.CHOSEN}** | – | – | 10.00 / 1.50 | – |",
    ]
    readings = [
        {"from": "run", "predictor": "best", "dataset": "FD001", "seed": s, "rmse": r, "nasa": 180}
        for s, r in ((1, 10.0), (2, 11.0))
    ]
    assert accuracy_text.reading_table(readings)[2] == (
        "| grace train --preset best | 10.50 ± 0.71 / 180 ± 0 (2 seeds) | – | – | – |"
    )


def held_rows(seed: int = 0, engines: int = 60) -> dict[str, np.ndarray]:
    """Out-of-fold rows of two useful candidates and useless ones."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(engines), 20)
    rul = rng.uniform(5, 150, len(number))
    y = np.minimum(rul, 125.0)

    def noisy(size: float) -> np.ndarray:
        return np.clip(y + rng.normal(0, size, len(y)), 0, 125)

    held = {"network": noisy(8), "boosting": noisy(10), "linear": noisy(30),
            "boosting_log": noisy(30), "similarity": noisy(30), "boosting_offset": noisy(30),
            "window_boosting": noisy(30)}  # fmt: skip
    lagged = np.stack([held["network"]] * 6, axis=1)
    return held | {
        "network_lagged": lagged, "boosting_lagged": lagged, "rul": rul, "y": y, "unit": number,
        "number": number, "age": 200 - rul, "fold": number % 5, "weight": np.full(len(y), 0.05),
    }  # fmt: skip


def test_no_row_has_a_part_in_what_predicts_it(accuracy: ModuleType) -> None:
    """Other labels of one fold change no second-level prediction of that fold."""
    held = held_rows()
    mine = held["fold"] == 2
    other = held | {"y": np.where(mine, 0.0, held["y"])}
    one, two = accuracy.variants(held), accuracy.variants(other)
    for name in one:
        np.testing.assert_array_equal(one[name][mine], two[name][mine], err_msg=name)
        if name.startswith(("stack", "regression")):
            assert not np.array_equal(one[name][~mine], two[name][~mine]), name
    error = {n: np.sqrt(np.mean((p - held["y"]) ** 2)) for n, p in one.items()}
    assert error["stack, least squares"] < 0.9 * error["one network"]


def test_a_reading_is_logged_once(accuracy: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    line = {"from": "folds", "dataset": "FD001", "seed": 0, "predictor": "p", "rmse": 1.0}
    keys = ("from", "dataset", "seed", "predictor")
    accuracy.add_lines(log, [line], keys)
    accuracy.add_lines(log, [line | {"dataset": "FD002"}, line | {"rmse": 2.0}], keys)
    found = [json.loads(text) for text in log.read_text().splitlines()]
    assert [(e["dataset"], e["rmse"]) for e in found] == [("FD001", 2.0), ("FD002", 1.0)]


def test_a_variant_of_the_network_is_compared_on_the_rows_of_the_run(accuracy: ModuleType) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import network_variants
    finally:
        sys.path.pop(0)
    assert network_variants.parsed(["training.lr=0.1", "training.epochs=3", "seed=1"]) == {
        "training": {"lr": 0.1, "epochs": 3},
        "seed": 1,
    }
    fleet = load_dataset("sim", n_train=3, n_test=1).train
    picked = [40, 3, 70]
    owner = np.repeat(np.asarray(fleet.unit_ids), fleet.lengths())
    table = pl.DataFrame(
        {
            "unit": owner[picked],
            "time": fleet.times()[picked],
            "age": [1.0] * 3,
            "fold": [0, 0, 1],
            "rul_true": [150.0, 160.0, 20.0],
            "rul_capped": [125.0, 125.0, 20.0],
            "network": [122.0, 0.0, 0.0],
        }
    )
    np.testing.assert_array_equal(network_variants.row_numbers(fleet, table), picked)
    # One row of the fold is shown: the other has more than 150 cycles left.
    found = network_variants.line(table, 0, np.array([121.0, 0.0, np.nan]))
    assert (found["rmse"], found["run_rmse"], found["rows"]) == (4.0, 3.0, 1)


def test_the_table_of_networks_is_over_folds(accuracy_text: ModuleType) -> None:
    entry = {"dataset": "FD001", "settings": "a=1", "run_rmse": 7.0, "run_steps_per_epoch": 20,
             "seed": 3}  # fmt: skip
    log = [{**entry, "fold": 0, "rmse": 3.0}, {**entry, "fold": 2, "rmse": 4.0}]
    assert accuracy_text.network_table(log)[2:] == [
        "| FD001, `a=1` | 3 | 1, 3 | 3.54 | 7.00 | 20 |"
    ]


def test_the_page_names_the_steps_of_each_subset(
    accuracy: ModuleType, accuracy_text: ModuleType
) -> None:
    """Four fifths of 100, 260, 100 and 249 engines train the network of a fold."""
    derived = {"epochs": 60, "steps_per_epoch": 20}
    units = {"FD001": 80, "FD002": 208, "FD003": 80, "FD004": 199}
    steps = {n: fixed_training(derived, u, "best")["steps_per_epoch"] for n, u in units.items()}
    assert steps["FD001"] == steps["FD003"]
    networks = sys.modules[accuracy_text.changed_networks.__module__]
    assert steps == networks.STEPS_NOW
    stated = (
        f"That is {steps['FD001']} for FD001 and FD003, {steps['FD002']} for FD002 and "
        f"{steps['FD004']} for FD004"
    )
    assert stated in " ".join(accuracy.page().split())


def test_zones_tell_the_bias_of_units_from_their_scatter(
    accuracy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = held_rows(engines=30)
    one_sign = np.where(held["number"] % 2 == 0, 4.0, -2.0)
    monkeypatch.setattr(accuracy, "stacked_and_shifted", lambda held, *_: held["y"] + one_sign)
    zones = accuracy.zones(held)
    assert sum(z["share"] for z in zones) == pytest.approx(1.0)
    assert [z["of_unit"] for z in zones] == pytest.approx([1.0] * len(zones))
    held = held_rows(engines=400)
    assert all(2.0 < z["rmse"] < 4.0 for z in zones)
    scatter = np.random.default_rng(0).normal(0, 3.0, len(held["y"]))
    monkeypatch.setattr(accuracy, "stacked_and_shifted", lambda held, *_: held["y"] + scatter)
    assert all(abs(z["of_unit"]) < 0.1 for z in accuracy.zones(held))


def test_a_missed_aim_is_marked(accuracy_text: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy_text, "AIMS", {"FD001": (10.3, 185)})
    readings = [
        {"from": "run", "predictor": "best", "dataset": "FD001", "seed": s, "rmse": r, "nasa": 186}
        for s, r in ((2, 10.0), (1, 10.4))
    ]
    assert accuracy_text.aims_table(readings)[2:] == [
        "| FD001 | 1, 2 | 10.3 | 10.20 ± 0.28 | 185 | 186 ± 0 (missed) |",
        "",
        "1 of 2 aims are met by the mean over the seeds.",
    ]


def test_a_change_is_paired_by_seed(accuracy_text: ModuleType) -> None:
    new, old = "best", accuracy_text.WITHOUT_PATH
    common = {"from": "run", "dataset": "FD001", "nasa": 100.0, "nasa_per_unit": 1.0,
              "variant": accuracy_text.CHOSEN}  # fmt: skip
    figures = [(new, 1, 8.0), (old, 1, 9.0), (new, 2, 10.0), (old, 2, 12.0), (old, 3, 0.0)]
    log = [{**common, "networks": n, "seed": s, "rmse": r} for n, s, r in figures]
    readings = [{**common, "predictor": n, "seed": s, "rmse": r} for n, s, r in figures]
    table = accuracy_text.change_table(log, readings, new, old, (accuracy_text.CHOSEN,), ("FD001",))
    assert table[2].endswith("RMSE | −1.50 ± 0.50 |")
    assert table[4] == "| preset `best`, test engines, RMSE | −1.50 ± 0.50 |"


def test_variants_of_the_network_are_compared_with_three_seeds(accuracy_text: ModuleType) -> None:
    common = {"dataset": "FD002", "run_rmse": 9.0, "seed": 42, "run_steps_per_epoch": 34}
    other = {**common, "settings": "seed=1042", "rmse": 9.5, "mean_rmse": 8.75}
    third = {**common, "settings": "seed=2042", "rmse": 8.5, "mean_rmse": 9.25}
    tcn = {**common, "settings": "trunk=tcn", "rmse": 10.0, "mean_rmse": 8.5}
    log = [
        {**other, "fold": 0},
        {**other, "fold": 1, "rmse": 11.0},
        {**other, "fold": 2},
        {**third, "fold": 0},
        {**third, "fold": 1, "rmse": 10.0},
        {**tcn, "fold": 0},
        {**tcn, "fold": 1},
        {**tcn, "fold": 2, "rmse": 20.0},  # the third seed has no such fold
        {**tcn, "fold": 0, "seed": 1, "rmse": 20.0},
    ]

    def shown(table: list[str]) -> list[str]:
        """Rows, without the head."""
        return [line.replace("\N{NO-BREAK SPACE}", " ") for line in table[2:]]

    # 10 − 9 and 10 − (9 + 11 + 10) / 3; twice 8.5 − (8.75 + 9.25) / 2.
    row = "| temporal convolutions instead of CNN, BiLSTM and attention | "
    assert shown(accuracy_text.changed_networks(log)) == [row + "+0.50 / −0.50 (2) |"]
    seeds, alone, pair = accuracy_text.network_sentences(log)
    assert "+1.00 ± 0.50 with 1042 on FD002 (mean of both networks: −0.25 ± 0.00; 3 f" in seeds
    assert "+0.25 with 2042 on FD002 (mean of both networks: +0.25; 2 folds)" in seeds
    assert "none of the variants" in alone
    assert "none of the variants" in pair

    log += [{**third, "fold": 2}]
    log[7] = {**tcn, "fold": 2, "rmse": 10.0}
    # 1, 0 and 1: mean 0.67, standard error 0.33.
    changed = shown(accuracy_text.changed_networks(log))
    assert changed == [row + "+0.67 ± 0.33 / −0.50 ± 0.00 (3) |"]
    log[1] = {**other, "fold": 1}
    _, alone, pair = accuracy_text.network_sentences(log)  # 1, 0.5 and 1: 0.83 ± 0.17
    name = "temporal convolutions instead of CNN, BiLSTM and attention (FD002)"
    assert f"three folds with: none of the variants. It has a higher one with: {name}." in alone
    assert f"three folds with: {name}. It has a higher one with: none." in pair


def test_variants_of_the_path_are_fitted_without_the_unit(accuracy: ModuleType) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import path_variants
    finally:
        sys.path.pop(0)
    fleet = load_dataset("sim", n_train=6, n_test=1).train
    ids = list(fleet.unit_ids)
    table = pl.DataFrame(
        {
            "unit": [u for u in ids for _ in range(3)],
            "time": [float(t) for _ in ids for t in (30, 60, 90)],
            "fold": [i % 2 for i in range(6) for _ in range(3)],
        }
    )
    learned: list[int] = []

    def learn(x: np.ndarray, y: np.ndarray, rows: Any, asked: np.ndarray, seed: int) -> np.ndarray:
        learned.append(len(np.unique(rows.unit)))
        return np.full(len(asked), len(learned) / 10)

    features, _ = path_variants.VARIANTS["as in the preset"]
    out = path_variants.out_of_fold(fleet, LabelConfig(), table, features, learn, 0)
    assert learned == [3, 3]
    first = table["fold"].to_numpy() == 0
    assert out[first].max() < out[~first].min()  # each fold by its own model


def test_a_logged_reading_is_not_replaced_by_another(accuracy: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    line = {"from": "run", "dataset": "FD001", "seed": 0, "predictor": "best", "rmse": 1.0}
    accuracy.add_lines(log, [line], accuracy.READING)
    accuracy.refuse_other_readings(log, [line, line | {"seed": 1, "rmse": 3.0}])
    with pytest.raises(SystemExit, match="other figures"):
        accuracy.refuse_other_readings(log, [line | {"rmse": 1.1}])
