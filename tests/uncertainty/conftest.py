"""Synthetic out-of-fold tables whose true predictive distribution is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

Table = Callable[..., pl.DataFrame]


def oof_table(
    n_units: int = 60, seed: int = 0, *, censored: float = 0.0, rows: int = 25, cap: float = 125.0
) -> pl.DataFrame:
    """Units of Weibull life; a predictor that errs by 20 % and never exceeds the cap.

    Censoring times are independent of life, and scaled so that about the share ``censored`` of
    the units is taken out of service before failure.
    """
    rng = np.random.default_rng(seed)
    life = 200.0 * rng.weibull(3.5, n_units) + 40.0
    end = life.copy()
    if censored:
        scale = np.quantile(life, 0.5) * {0.6: 1.22, 0.3: 2.3}[censored]
        end = np.minimum(life, scale * rng.uniform(0.25, 1.25, n_units))
    parts = []
    for unit in range(n_units):
        age = np.linspace(0.0, end[unit], rows + 1)[:-1] + rng.uniform(0, end[unit] / rows)
        rul = life[unit] - age
        level = rng.normal(0.0, 0.15)
        noise = np.exp(level + rng.normal(0.0, 0.1, rows))
        failed = bool(end[unit] >= life[unit])
        parts.append(
            pl.DataFrame(
                {
                    "unit": np.full(rows, unit),
                    "age": age,
                    "rul_true": rul if failed else np.full(rows, np.nan),
                    "censored_after": end[unit] - age,
                    "fold": np.full(rows, unit % 5),
                    "network": np.minimum(rul * noise, cap),
                    "other": np.minimum(rul * noise * np.exp(rng.normal(0, 0.1, rows)), cap),
                    "true": rul,
                }
            )
        )
    return pl.concat(parts).with_columns(pl.col("rul_true").fill_nan(None))


@pytest.fixture
def make_table() -> Table:
    return oof_table
