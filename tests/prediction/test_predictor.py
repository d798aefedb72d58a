"""Predictions: one per unit, whatever other units there are, in whatever order they came."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from grace.data import DataError, Dataset, Fleet
from grace.data.labels import LabelConfig
from grace.data.preprocessing import Preprocessor, UnseenConditionWarning
from grace.prediction import Artifact, ArtifactError, Predictor

NUMBERS = ["rul", "p_health_0", "p_health_1", "p_health_2"]


@pytest.fixture(scope="module")
def predictor(artifact: Artifact) -> Predictor:
    return Predictor(artifact)


def test_one_row_per_unit(predictor: Predictor, data: Dataset) -> None:
    out = predictor.predict(data.test)
    assert out.columns == ["unit", "time", "rul", "health", *NUMBERS[1:], "condition_distance"]
    assert out["unit"].to_list() == data.test.unit_ids
    last = data.test.starts() + data.test.lengths() - 1
    np.testing.assert_array_equal(out["time"].to_numpy(), data.test.times()[last])
    p = out.select(NUMBERS[1:]).to_numpy()
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(out["health"].to_numpy(), p.argmax(axis=1))
    assert (out["rul"] >= 0).all()
    assert out["rul"].n_unique() > 1


def test_every_row_in_the_order_of_the_fleet(predictor: Predictor, data: Dataset) -> None:
    out = predictor.predict(data.test, every_row=True)
    assert out.height == data.test.n_rows
    assert out["unit"].to_list() == data.test.frame["unit"].to_list()
    np.testing.assert_array_equal(out["time"].to_numpy(), data.test.times())
    last = out[(data.test.starts() + data.test.lengths() - 1).tolist()]
    assert last["unit"].equals(predictor.predict(data.test)["unit"])
    for name in NUMBERS:
        np.testing.assert_allclose(last[name], predictor.predict(data.test)[name], rtol=1e-5)


def test_it_is_the_network_on_the_preprocessed_window(predictor: Predictor, data: Dataset) -> None:
    unit = data.test.unit_ids[0]
    fleet = data.test.select([unit])
    rows = torch.from_numpy(predictor.artifact.preprocessor.transform(fleet).rows)
    T = predictor.artifact.config.windows.length
    rows = torch.cat([rows[:1].expand(max(0, T - len(rows)), -1), rows])[-T:]
    with torch.no_grad():
        rul, logits = predictor.artifact.model(rows[None])
    out = predictor.predict(fleet)
    assert out["rul"][0] == pytest.approx(rul.item(), rel=1e-5)
    assert out["p_health_1"][0] == pytest.approx(torch.softmax(logits, 1)[0, 1].item(), rel=1e-4)


def test_units_shorter_than_the_window_are_predicted(predictor: Predictor, data: Dataset) -> None:
    cut = {u: float(n) for n, u in enumerate(data.test.unit_ids, start=1)}  # 1, 2, ... rows
    short = data.test.truncate(cut)
    assert short.lengths().max() < predictor.artifact.config.windows.length
    out = predictor.predict(short)
    assert out["unit"].to_list() == data.test.unit_ids
    assert out.select(NUMBERS).to_numpy().min() >= 0
    assert np.isfinite(out.select(NUMBERS).to_numpy()).all()


def test_the_order_of_rows_does_not_matter(predictor: Predictor, data: Dataset) -> None:
    want = predictor.predict(data.test)
    frame = data.test.frame
    order = np.random.default_rng(0).permutation(frame.height)
    shuffled = Fleet.from_frame(frame[order.tolist()], data.test.schema, rul_at_end={})
    got = predictor.predict(shuffled).sort("unit")
    for name in NUMBERS:
        np.testing.assert_allclose(got[name], want.sort("unit")[name], rtol=1e-5, atol=1e-6)
    # With the units in the same order, to the bit.
    first = [frame["unit"].to_list().index(u) for u in data.test.unit_ids]
    rest = [i for i in order.tolist() if i not in set(first)]
    kept = Fleet.from_frame(frame[first + rest], data.test.schema, rul_at_end={})
    assert predictor.predict(kept).equals(want)


def test_a_unit_alone_is_predicted_as_in_company(predictor: Predictor, data: Dataset) -> None:
    want = predictor.predict(data.test)
    for i, unit in enumerate(data.test.unit_ids):
        alone = predictor.predict(data.test.select([unit]))
        for name in NUMBERS:
            assert alone[name][0] == pytest.approx(want[name][i], rel=1e-5, abs=1e-6)


def test_the_batch_size_does_not_matter(artifact: Artifact, data: Dataset) -> None:
    a, b = (Predictor(artifact, batch_size=n).predict(data.test, every_row=True) for n in (7, 4096))
    for name in NUMBERS:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5)


def test_what_is_known_of_the_end_changes_no_prediction(
    predictor: Predictor, data: Dataset
) -> None:
    for left in ({}, dict.fromkeys(data.test.unit_ids, 0.0)):
        fleet = Fleet.from_frame(data.test.frame, data.test.schema, rul_at_end=left)
        assert predictor.predict(fleet).equals(predictor.predict(data.test))


def test_a_later_row_changes_no_earlier_prediction(predictor: Predictor, data: Dataset) -> None:
    whole = predictor.predict(data.test, every_row=True)
    half = data.test.truncate({u: 12.0 for u in data.test.unit_ids})
    before = predictor.predict(half, every_row=True)
    same = whole.filter(pl.col("time") <= 12.0)
    assert same.select("unit", "time").equals(before.select("unit", "time"))
    for name in NUMBERS:
        np.testing.assert_allclose(before[name], same[name], rtol=1e-5, atol=1e-6)


def test_other_names_of_units_come_back_as_given(predictor: Predictor, data: Dataset) -> None:
    named = data.test.frame.with_columns(unit=pl.format("pump {}", pl.col("unit")))
    out = predictor.predict(Fleet.from_frame(named, data.test.schema, rul_at_end={}))
    assert out["unit"].to_list() == [f"pump {u}" for u in data.test.unit_ids]
    np.testing.assert_array_equal(out["rul"], predictor.predict(data.test)["rul"])


def test_a_missing_sensor_is_named(predictor: Predictor, data: Dataset) -> None:
    schema = data.test.schema.model_copy(
        update={"sensors": tuple(s for s in data.test.schema.sensors if s != "s11")}
    )
    fleet = Fleet.from_frame(data.test.frame.drop("s11"), schema, rul_at_end={})
    with pytest.raises(DataError, match="'s11' is missing"):
        predictor.predict(fleet)


def test_an_unseen_condition_shows_in_the_distance(predictor: Predictor, data: Dataset) -> None:
    far = data.test.frame.with_columns(setting1=pl.col("setting1") + 17.0)
    fleet = Fleet.from_frame(far, data.test.schema, rul_at_end={})
    with pytest.warns(UnseenConditionWarning):
        out = predictor.predict(fleet)
    known = predictor.predict(data.test)
    assert out["condition_distance"].min() > 10 * known["condition_distance"].max()


def test_predicting_twice_is_the_same(predictor: Predictor, data: Dataset) -> None:
    first = predictor.predict(data.test, every_row=True)
    predictor.predict(data.train)
    assert predictor.predict(data.test, every_row=True).equals(first)


def test_predictions_are_scaled_back_to_the_unit_of_time(artifact: Artifact, data: Dataset) -> None:
    labels = LabelConfig(cap=250.0)
    doubled = replace(artifact, config=artifact.config.model_copy(update={"labels": labels}))
    want, got = (Predictor(a).predict(data.test)["rul"].to_numpy() for a in (artifact, doubled))
    np.testing.assert_allclose(got, 2.0 * want, rtol=1e-6)


def test_flags_of_the_inputs_are_given_by_unit(predictor: Predictor, data: Dataset) -> None:
    flags = predictor.input_flags(data.test)
    assert flags["unit"].to_list() == data.test.unit_ids
    assert flags["padded"].to_list() == (data.test.lengths() < 12).tolist()
    assert flags["rows_outside"].sum() == flags["rows_filled"].sum() == 0


def test_preprocessing_of_another_network_is_refused(
    artifact: Artifact, data: Dataset, tmp_path: Path
) -> None:
    fewer = artifact.config.features.model_copy(update={"age": not artifact.config.features.age})
    other = Preprocessor(fewer, default_sensors=data.default_sensors, default_conditions=3)
    replace(artifact, preprocessor=other.fit(data.train)).save(tmp_path)
    loaded = Predictor.load(tmp_path)
    with pytest.raises(ArtifactError, match="channels, but the network takes") as caught:
        loaded.predict(data.test)
    assert str(tmp_path / "artifact.json") in str(caught.value)
