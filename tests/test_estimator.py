"""From a table to predictions, through the one public object."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import grace
from grace.candidates import CANDIDATES, DEFAULT_CANDIDATES, STACKED_CANDIDATES, Stack
from grace.candidates.network import Network, network_configuration
from grace.data import DataError
from grace.data.input_flags import InputWarning
from grace.estimator import RULModel
from grace.prediction import ArtifactError

CONFIGURE = "network_configuration"
SIMPLE = ["constant", "group_median_life", "linear"]
KEYS: dict[str, Any] = {"unit": "unit", "time": "hour", "time_unit": "hours"}


def histories(
    n_units: int = 16, *, seed: int = 0, scale: float = 1.0, affine: tuple[float, float] = (1, 0)
) -> pl.DataFrame:
    """Pumps whose temperature rises with age over life; every fourth is still running."""
    rng = np.random.default_rng(seed)
    parts = []
    for u in range(n_units):
        life = int(rng.integers(30, 60))
        seen = life if u % 4 else int(0.6 * life)
        t = np.arange(seen)
        parts.append(
            pl.DataFrame(
                {
                    "unit": [f"p{u}"] * seen,
                    "hour": t * scale,
                    "temp": affine[0] * (40 + 10 * (t / life) ** 2 + rng.normal(0, 0.3, seen))
                    + affine[1],
                    "flow": 3.0 + rng.normal(0, 0.2, seen),
                    "failed": np.where((t == life - 1) & (seen == life), 1, 0),
                }
            )
        )
    return pl.concat(parts)


def today() -> pl.DataFrame:
    """New pumps part of the way through their lives, without any fate."""
    late = histories(6, seed=5).drop("failed")
    return late.filter(pl.col("hour") < 25)


@pytest.fixture(scope="module")
def model() -> RULModel:
    return RULModel(candidates=SIMPLE, seed=0).fit(histories(), **KEYS, fate="failed")


def test_it_is_the_public_name() -> None:
    assert grace.RULModel is RULModel
    assert "RULModel" in dir(grace)


def test_one_row_per_unit_with_what_is_unusual(model: RULModel) -> None:
    found = model.predict(today())
    assert found["unit"].to_list() == [f"p{u}" for u in range(6)]
    assert found["rul"].is_between(0, model.labels_.cap).all()
    assert found["channels_missing"].list.len().sum() == 0
    every = model.predict(today(), every_row=True)
    assert every.height == today().height
    last = every.group_by("unit", maintain_order=True).last()
    np.testing.assert_allclose(last["rul"].to_numpy(), found["rul"].to_numpy())


def test_weights_can_be_found_again_from_the_kept_predictions(model: RULModel) -> None:
    assert model.oof_ is not None
    again = Stack().fit(model.oof_)
    assert again.weights_ == model.stack_.weights_
    assert again.errors_ == model.stack_.errors_


def test_it_learns_what_the_sensors_say(model: RULModel) -> None:
    known = histories(12, seed=9)
    result = model.evaluate(
        known.filter(pl.col("hour") < 20), fate={"table": ends(known), "failure_time": "end"}
    )
    assert result["n_units"] == 9
    assert result["rmse_capped"] < 0.5 * result["rmse_raw"] + model.labels_.cap / 3
    assert model.stack_.rmse_ < model.stack_.errors_[-1].rmse
    assert "hours" in model.summary_
    assert model.score(
        known.filter(pl.col("hour") < 20), fate={"table": ends(known), "failure_time": "end"}
    ) == pytest.approx(-result["rmse_capped"])


def ends(table: pl.DataFrame) -> pl.DataFrame:
    return (
        table.group_by("unit", maintain_order=True)
        .agg(pl.col("hour").max().alias("end"), pl.col("failed").max())
        .with_columns(end=pl.when(pl.col("failed") == 1).then(pl.col("end")))
        .drop("failed")
    )


def test_intervals_quantiles_and_probabilities_agree(model: RULModel) -> None:
    table = today()
    q = model.predict_quantiles(table, [0.05, 0.5, 0.95])
    interval = model.predict_interval(table, 0.9)
    np.testing.assert_allclose(interval["lower"].to_numpy(), q["q0.05"].to_numpy())
    np.testing.assert_allclose(interval["rul"].to_numpy(), q["q0.5"].to_numpy())
    assert (q["q0.05"] <= q["q0.5"]).all()
    assert (q["q0.5"] <= q["q0.95"]).all()
    soon = [model.prob_failure_within(table, h)["probability"].to_numpy() for h in (0, 5, 50, 1e4)]
    assert (np.diff(np.stack(soon), axis=0) >= -1e-12).all()
    assert soon[-1].min() > 0.99
    health = model.predict_health(table).select(pl.selectors.starts_with("p_health"))
    np.testing.assert_allclose(health.sum_horizontal().to_numpy(), 1.0)
    assert (health.to_numpy() >= 0).all()


@pytest.mark.parametrize("candidates", [["linear"], ["median_life"], SIMPLE], ids=str)
def test_every_candidate_alone_and_the_stack_answer_the_same_questions(
    candidates: list[str],
) -> None:
    fitted = RULModel(candidates=candidates, seed=0).fit(histories(), **KEYS, fate="failed")
    table = today()
    draws = fitted.sample(table, 4000, seed=1)
    assert draws.columns == ["unit", "time", "draw", "rul"]
    assert draws.height == 4000 * table["unit"].n_unique()
    assert draws.equals(fitted.sample(table, 4000, seed=1))
    assert not draws.equals(fitted.sample(table, 4000, seed=2))
    by_unit = draws.group_by("unit", maintain_order=True)
    middle = by_unit.agg(pl.col("rul").quantile(0.7))["rul"].to_numpy()
    # The share of draws below the 70 % quantile, and within a horizon, up to 5 standard errors.
    quantile = fitted.predict_quantiles(table, [0.7])["q0.7"].to_numpy()
    horizon = float(np.median(quantile))
    p = fitted.prob_failure_within(table, horizon)["probability"].to_numpy()
    share = by_unit.agg((pl.col("rul") <= horizon).mean())["rul"].to_numpy()
    np.testing.assert_allclose(share, p, atol=5 * 0.5 / np.sqrt(4000))
    frame, distribution = fitted.predict_distribution(table)
    np.testing.assert_allclose(distribution.cdf(middle), 0.7, atol=5 * 0.46 / np.sqrt(4000))
    assert frame["unit"].to_list() == [f"p{u}" for u in range(6)]
    every = fitted.predict_interval(table, 0.8, every_row=True)
    last = every.group_by("unit", maintain_order=True).last()
    np.testing.assert_allclose(
        last["upper"].to_numpy(), fitted.predict_interval(table, 0.8)["upper"].to_numpy()
    )
    # Beyond the cap of the point prediction.
    assert fitted.predict_quantiles(table, [0.99])["q0.99"].max() > fitted.labels_.cap


def test_a_saved_model_predicts_the_same(model: RULModel, tmp_path: Path) -> None:
    again = RULModel.load(model.save(tmp_path / "pumps"))
    assert again.predict(today()).equals(model.predict(today()))
    assert again.predict_interval(today()).equals(model.predict_interval(today()))
    assert again.get_params() == model.get_params()
    again.save(tmp_path / "pumps")  # its own folder may be written again
    damaged = tmp_path / "pumps" / "model.json"
    damaged.write_text(damaged.read_text().replace("hours", "weeks"))
    with pytest.raises(ArtifactError, match=r"model\.json: SHA-256"):
        RULModel.load(tmp_path / "pumps")


def test_the_report_shows_every_candidate(model: RULModel, tmp_path: Path) -> None:
    report = model.report_
    assert set(report.candidates["candidate"]) == set(SIMPLE)
    assert report.candidates["rmse"].is_sorted()
    assert report.candidates["weight"].sum() == pytest.approx(1.0)
    assert report.rmse == model.stack_.rmse_
    shares = report.candidates["rmse"] / model.labels_.cap
    np.testing.assert_allclose(report.candidates["share_of_cap"], shares)
    assert report.time_unit == "hours"
    text = model.summary()
    assert text.startswith(model.summary_)
    assert all(name in text for name in SIMPLE)
    assert RULModel.load(model.save(tmp_path / "m")).summary() == text
    with pytest.raises(DataError, match="call fit first"):
        RULModel().summary()


def test_foreign_files_are_not_overwritten(model: RULModel, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("mine")
    with pytest.raises(ArtifactError, match="nothing is written"):
        model.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.select("unit", "hour", "flow", "failed", "temp"),
        lambda t: t.with_columns(unit=pl.lit("z") + pl.col("unit")),
        lambda t: t.with_columns(site=pl.lit(4.0)),
    ],
    ids=["columns reordered", "units renamed", "constant column"],
)
def test_what_means_the_same_gives_the_same(model: RULModel, change: Any) -> None:
    other = RULModel(candidates=SIMPLE, seed=0).fit(change(histories()), **KEYS, fate="failed")
    want = model.predict(histories(), every_row=True)["rul"].to_numpy()
    found = other.predict(change(histories()), every_row=True)["rul"].to_numpy()
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6)


def test_predictions_scale_with_time_and_ignore_physical_units(model: RULModel) -> None:
    want = model.predict(histories(), every_row=True)["rul"].to_numpy()
    seconds = histories(scale=3600.0, affine=(1.8, 32.0))
    keys = KEYS | {"time_unit": "seconds"}
    other = RULModel(candidates=SIMPLE, seed=0).fit(seconds, **keys, fate="failed")
    found = other.predict(seconds, every_row=True)["rul"].to_numpy()
    np.testing.assert_allclose(found / 3600.0, want, rtol=1e-5, atol=1e-5)
    assert other.labels_.cap == pytest.approx(3600.0 * model.labels_.cap)


def test_static_attributes_of_known_units_are_remembered() -> None:
    table = histories()
    units = ends(table).rename({"end": "failure_time"})
    units = units.with_columns(site=pl.Series(["north", "south"] * 8))
    fitted = RULModel(candidates=SIMPLE).fit(
        table.drop("failed"), **KEYS, fate=units, static=["site"]
    )
    found = fitted.predict(today())
    assert found["attributes_unknown"].list.len().sum() == 0
    strangers = today().with_columns(pl.col("unit") + "x")
    assert fitted.predict(strangers)["attributes_unknown"].to_list() == [["site"]] * 6


def test_another_physical_unit_is_flagged(model: RULModel) -> None:
    hot = today().with_columns(temp=100.0 * pl.col("temp"))
    with pytest.warns(UserWarning, match="temp"):
        found = model.predict(hot)
    assert all("temp" in names for names in found["channels_outside"].to_list())


def test_method_and_preset_configure_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """They reach its training, are parameters like any other, and are refused without it."""
    seen: list[tuple[str, str, float]] = []

    def fit(self: Network, fleet: Any, labels: Any, *, seed: int = 0, shared: Any = None) -> Any:
        config = network_configuration(fleet, labels, self.method, self.preset, shared, seed)
        seen.append((config.method.name, config.preset, config.model.lstm_hidden))
        raise KeyboardInterrupt

    monkeypatch.setattr(Network, "fit", fit)
    model = RULModel(method="amnl", preset="reference", candidates=["constant", "network"])
    assert (model.get_params()["method"], model.get_params()["preset"]) == ("amnl", "reference")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            model.fit(histories(), **KEYS, fate="failed")
        model.set_params(method="baseline", preset="fast")
    assert seen == [("amnl", "reference", 256), ("baseline", "fast", 32)]
    with pytest.raises(ValueError, match="unknown preset 'slow'"):
        RULModel(preset="slow").fit(histories(), **KEYS, fate="failed")
    with pytest.raises(ValueError, match="glow"):
        RULModel(method="glow").fit(histories(), **KEYS, fate="failed")
    with pytest.raises(ValueError, match="add 'network' to candidates"):
        RULModel(method="amnl", candidates=SIMPLE).fit(histories(), **KEYS, fate="failed")


@pytest.fixture
def short_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks trained for a few steps only."""

    def shortened(*args: Any) -> Any:
        config = network_configuration(*args)
        training = config.training.model_copy(update={"epochs": 1, "steps_per_epoch": 6})
        return config.model_copy(update={"training": training})

    monkeypatch.setattr(import_module("grace.candidates.network"), CONFIGURE, shortened)


@pytest.mark.usefixtures("short_network")
def test_all_candidates_compete_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = (*SIMPLE, "network")
    monkeypatch.setattr(import_module("grace.candidates.out_of_fold"), "DEFAULT_CANDIDATES", cheap)
    calls: list[tuple[str, int]] = []
    model = RULModel(preset="fast", seed=0).fit(
        histories(8), **KEYS, fate="failed", progress=lambda name, k: calls.append((name, k))
    )
    trained = [k for name, k in calls if name == "network"]
    assert trained[0] == 0
    compared = {e.name for e in model.stack_.errors_}
    assert compared | set(model.report_.left_out) == set(cheap)
    assert set(model.report_.left_out) == ({"network"} if len(trained) == 1 else set())
    again = RULModel.load(model.save(tmp_path / "all"))
    assert again.report_.left_out == model.report_.left_out
    assert set(STACKED_CANDIDATES) == set(CANDIDATES) == {*DEFAULT_CANDIDATES, "boosting_path"}


@pytest.mark.usefixtures("short_network")
def test_the_network_learns_the_same_from_what_means_the_same(tmp_path: Path) -> None:
    """Columns reordered, units renamed, a constant added, other units of sensor and time."""
    keys: dict[str, Any] = {"fate": "failed"}
    one = RULModel(candidates=["network"], seed=0).fit(histories(4), **KEYS, **keys)
    want = one.predict(histories(4), every_row=True)["rul"].to_numpy()
    other = histories(4, scale=3600.0, affine=(1.8, 32.0)).select(
        "flow", "failed", "hour", "temp", unit=pl.lit("z") + pl.col("unit"), site=pl.lit(4.0)
    )  # fmt: skip
    two = RULModel(candidates=["network"], seed=0).fit(
        other, **(KEYS | {"time_unit": "seconds"}), **keys
    )
    found = two.predict(other, every_row=True)["rul"].to_numpy() / 3600.0
    assert np.ptp(want) > 0
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-3 * one.labels_.cap)
    loaded = RULModel.load(two.save(tmp_path / "network"))
    assert loaded.candidates_["network"].method == "grace"
    assert loaded.predict(other).equals(two.predict(other))


def test_a_table_of_units_with_every_kind_of_column(tmp_path: Path) -> None:
    """The block of the reference: units table, static, setting and ignored columns, pandas."""
    table = histories().with_columns(load=pl.lit(1.0), note=pl.lit("ok")).rename({"hour": "time"})
    table = table.with_columns(
        load=pl.when(pl.col("time") % 2 == 0).then(1.0).otherwise(3.0),
        group=pl.col("unit").str.slice(-1).cast(pl.Int64) % 2,
    )
    failed = table.group_by("unit", maintain_order=True).agg(pl.col("failed").max())
    table = table.drop("failed")
    model = RULModel(preset="fast", seed=0, candidates=SIMPLE)
    model.fit(
        table.to_pandas(),
        unit="unit",
        time="time",
        time_unit="cycles",
        fate=failed.to_pandas(),
        static=["group"],
        settings=["load"],
        ignore=["note"],
    )
    assert model.fleet_schema_.static == ("group",)
    assert model.fleet_schema_.settings == ("load",)
    assert set(model.fleet_schema_.sensors) == {"temp", "flow"}
    today = table.filter(pl.col("time") < 25).to_arrow()
    assert model.predict(today).columns[:4] == ["unit", "time", "rul", "health"]
    assert model.predict(today, every_row=True).height == today.num_rows
    assert model.predict_interval(today, coverage=0.9).columns[2:] == ["rul", "lower", "upper"]
    assert model.predict_quantiles(today, [0.1, 0.5, 0.9]).width == 5
    assert model.prob_failure_within(today, 20).columns == ["unit", "time", "probability"]
    again = RULModel.load(model.save(tmp_path / "pumps"))
    assert again.predict(today).equals(model.predict(today))


def test_a_channel_without_values_and_repairs_are_reported() -> None:
    gaps = histories().with_columns(
        flow=pl.when(pl.col("hour") % 2 == 0).then(None).otherwise(pl.col("flow"))
    )
    twice = pl.concat([gaps, gaps.filter((pl.col("unit") == "p1") & (pl.col("hour") == 3))])
    with pytest.warns(UserWarning, match="missing"):
        model = RULModel(candidates=["constant", "linear"]).fit(twice, **KEYS, fate="failed")
    assert any("missing" in text for text in model.report_.issues)
    assert all(text in model.summary() for text in model.report_.issues)
    empty = today().with_columns(
        flow=pl.when(pl.col("unit") == "p2").then(None).otherwise(pl.col("flow"))
    )
    other = {"failed": 0, "note": "text"}  # columns that the model does not use are no news
    with pytest.warns(InputWarning) as caught:
        found = model.predict(empty.with_columns(**{k: pl.lit(v) for k, v in other.items()}))
    texts = [str(warning.message) for warning in caught]
    assert any("flow is missing or empty in 1 of 6 units" in text for text in texts)
    assert not any(name in text for text in texts for name in other)
    assert found["channels_missing"].to_list() == [[], [], ["flow"], [], [], []]


def test_misuse_names_the_argument(model: RULModel) -> None:
    with pytest.raises(DataError, match="call fit first"):
        RULModel().predict(today())
    with pytest.raises(DataError, match="'temp'"):
        model.predict(today().drop("temp"))
    with pytest.raises(ValueError, match=r"coverage=1\.5"):
        model.predict_interval(today(), 1.5)
    with pytest.raises(ValueError, match="n=0 draws"):
        model.sample(today(), 0)
    with pytest.raises(ValueError, match="horizon=-1"):
        model.prob_failure_within(today(), -1)
    with pytest.raises(ValueError, match="no parameter 'depth'"):
        model.set_params(depth=3)
    with pytest.raises(ValueError, match="unknown candidate 'oracle'"):
        RULModel(candidates=["oracle"]).fit(histories(), **KEYS, fate="failed")
    with pytest.raises(DataError, match="fate"):
        RULModel().fit(histories(), **KEYS)
    other = grace.read_table(today(), unit="unit", time="hour", time_unit="seconds", fate="unknown")
    with pytest.raises(DataError, match="seconds"):
        model.predict(other)
