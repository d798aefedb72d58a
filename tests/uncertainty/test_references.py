"""Reference distributions: contract, and agreement with the libraries they come from."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from lifelines import KaplanMeierFitter, WeibullAFTFitter

from grace.uncertainty import time_edges
from grace.uncertainty.references import REFERENCES, KaplanMeierReference, WeibullReference

EDGES = time_edges(1.0, 500.0)


def points(n: int = 400, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    y = np.exp(4.0 + 0.5 * x[:, 0]) * rng.weibull(2.0, n)
    seen = rng.uniform(0.0, 300.0, n)
    return {
        "features": x,
        "age": rng.uniform(0.0, 50.0, n),
        "y": np.minimum(y, seen),
        "event": y <= seen,
        "unit": np.arange(n),
    }


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_gives_proper_distributions(name: str) -> None:
    train, test = points(), points(50, 1)
    model = REFERENCES[name]().fit(**train, edges=EDGES)
    d = model.predict(test["features"], test["age"])
    assert len(d) == 50
    assert d.edges is not EDGES
    assert np.isfinite(d.mean).all()
    lower, upper = d.interval(0.9)
    assert (lower < upper).all()


@pytest.mark.parametrize("name", [n for n in REFERENCES if n != "kaplan_meier"])
def test_a_reference_follows_its_features(name: str) -> None:
    model = REFERENCES[name]().fit(**points(), edges=EDGES)
    d = model.predict(np.array([[-1.5, 0.0], [1.5, 0.0]]), np.full(2, 20.0))
    assert d.median[1] > 2.0 * d.median[0]


def test_kaplan_meier_is_that_of_lifelines_given_age() -> None:
    train = points(seed=2)
    model = KaplanMeierReference().fit(**train, edges=EDGES)
    theirs = KaplanMeierFitter().fit(train["age"] + train["y"], train["event"])
    d = model.predict(np.zeros((1, 2)), np.array([30.0]))
    expected = theirs.predict([40.0, 80.0, 150.0]).to_numpy() / float(theirs.predict(30.0))
    np.testing.assert_allclose(d.survival_at([[10.0, 50.0, 120.0]])[0], expected, atol=0.02)
    # No unit lived to be that old: the distribution is still one.
    old = model.predict(np.zeros((1, 2)), np.array([1e6]))
    assert np.isfinite(old.mean).all()


def test_weibull_is_that_of_lifelines() -> None:
    pd = pytest.importorskip("pandas")
    train = points(seed=3)
    model = WeibullReference(penalizer=0.0).fit(**train, edges=EDGES)
    frame = pd.DataFrame(
        {
            "age": train["age"],
            "a": train["features"][:, 0],
            "b": train["features"][:, 1],
            "y": np.maximum(train["y"], 0.5),
            "event": train["event"],
        }
    )
    theirs = WeibullAFTFitter().fit(frame, "y", "event")
    asked = frame.iloc[:5]
    d = model.predict(train["features"][:5], train["age"][:5])
    expected = theirs.predict_median(asked).to_numpy().reshape(-1)
    np.testing.assert_allclose(d.median, expected, rtol=0.02)


def test_without_lifelines_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lifelines", None)
    with pytest.raises(ImportError, match=r"'\.\[survival\]'"):
        KaplanMeierReference().fit(**points(20), edges=EDGES)
