"""Predictions are written and read back; a damaged file is refused with place and remedy."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from grace.experiments.predictions_file import read_predictions, write_predictions
from grace.prediction.artifact import ArtifactError


def table() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "unit": [1, 1, 2],
            "time": [1.0, 2.0, 1.0],
            "rul": [9.0, 8.0, 3.0],
            "rul_true": [10.0, 9.0, float("nan")],
            "rul_true_capped": [10.0, 9.0, float("nan")],
            "health": [0, 0, 1],
        }
    )


def written(folder: Path, frame: pl.DataFrame) -> Path:
    write_predictions(folder / "p.parquet", frame)
    return folder / "p.parquet"


@pytest.mark.parametrize("kind", [pl.Int8, pl.UInt8, pl.Int64, pl.UInt64], ids=str)
def test_health_of_any_integer_type_is_read(tmp_path: Path, kind: type[pl.DataType]) -> None:
    frame = table().cast({"health": kind})
    assert read_predictions(written(tmp_path, frame)).equals(frame)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pl.lit(-1, pl.Int8).alias("health"), "column health"),
        (pl.lit(5000).alias("health"), "column health"),
        (pl.lit(0.5).alias("health"), "column health"),
        (pl.lit(float("nan")).alias("rul"), "column rul, unit 1"),
        (pl.lit(1e16).alias("rul_true"), "column rul_true, unit 1"),
        (pl.lit("soon").alias("rul"), "column rul"),
        (pl.lit(1.0).alias("time"), "times do not increase"),
        (pl.Series("unit", [1, 2, 1]), "not together"),
    ],
    ids=["below", "above", "fraction", "nan", "huge", "text", "time", "apart"],
)
def test_values_that_no_run_writes_are_refused(
    tmp_path: Path, change: pl.Expr | pl.Series, said: str
) -> None:
    path = written(tmp_path, table().with_columns(change))
    with pytest.raises(ArtifactError, match=said) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)
    assert "Remedy" in str(caught.value)


def test_a_missing_column_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="lacks the column rul_true"):
        read_predictions(written(tmp_path, table().drop("rul_true")))
    with pytest.raises(ArtifactError, match="no such file"):
        read_predictions(tmp_path / "[a-z].parquet")
