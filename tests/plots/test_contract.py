"""What every figure of the registry must do."""

from __future__ import annotations

import ast
import inspect
import io
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import grace.plots
from grace.plots import PLOTS, Plot

NAMES = sorted(PLOTS)
# Figures of quantities without a unit of time: shares, scores, counts, steps.
UNIT_FREE = {
    "channel_trends",
    "cone_share",
    "critical_difference",
    "floor_share",
    "gaba_weights",
    "gradient_cosine",
    "gradient_norms",
    "gradient_ratio",
    "health_confusion",
    "missing_values",
    "pit_histogram",
    "reliability_curve",
    "stack_weights",
    "task_weights",
    "training_losses",
    "weight_paths",
}


def draw(plot: Plot, data: Any, ax: Axes | None = None, **more: Any) -> Axes:
    return plot.function(data, ax, **{**plot.options, **more})


def render(ax: Axes) -> bytes:
    buffer = io.BytesIO()
    figure = ax.figure
    assert isinstance(figure, Figure)
    figure.savefig(buffer, format="png", dpi=40)
    return buffer.getvalue()


def with_nan(data: Any) -> Any:
    """The data with every third value of every float column, and of every log entry, missing."""
    if isinstance(data, np.ndarray):
        if data.ndim != 1:
            return data
        out = data.astype(np.float64)
        out[::3] = np.nan
        return out
    if isinstance(data, dict):
        return {k: with_nan(v) if v.dtype.kind == "f" else v for k, v in data.items()}
    if isinstance(data, pl.DataFrame):
        hole = pl.int_range(pl.len()) % 3 == 1
        return data.with_columns(pl.when(hole).then(None).otherwise(pl.col(pl.Float64)).name.keep())
    gaps: dict[str, Any] = {"rmse": {"validation": None}, "rul_loss": None, "health_loss": None}
    arrays = ("weights", "lambda_raw", "lambda_ema", "task_grad_norms", "cosine", "floor_share")
    keys = ("epoch", "step")
    holes = [
        {k: v if k in keys else gaps.get(k, [None, None] if k in arrays[:4] else None)
         for k, v in record.items()}
        for record in data
    ]  # fmt: skip
    return [holes[i] if i % 3 == 1 else record for i, record in enumerate(data)]


def test_the_registry_is_the_public_api() -> None:
    functions = {n for n in grace.plots.__all__ if n not in ("PLOTS", "Plot", "figure_style")}
    assert functions == set(PLOTS)
    for name, plot in PLOTS.items():
        assert plot.function.__name__ == name
        assert getattr(grace.plots, name) is plot.function


@pytest.mark.parametrize("name", NAMES)
def test_signature_and_docstring(name: str) -> None:
    function = PLOTS[name].function
    parameters = list(inspect.signature(function).parameters.values())
    assert [p.name for p in parameters[:2]] == ["data", "ax"]
    assert parameters[1].default is None
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[2:])
    assert ("time_unit" in [p.name for p in parameters]) == (name not in UNIT_FREE)
    text = inspect.getdoc(function) or ""
    assert ">>>" in text
    for part in ("Args:", "Returns:", "Raises:", "Example:"):
        assert part in text
    for p in parameters:
        assert f"{p.name}: " in text, f"{p.name} is not documented"


@pytest.mark.parametrize("name", NAMES)
def test_new_axes_have_labels_with_units(name: str) -> None:
    plot = PLOTS[name]
    more = {} if name in UNIT_FREE else {"time_unit": "fortnights"}
    ax = draw(plot, plot.sample(plot.n), **more)
    assert isinstance(ax, Axes)
    labels = [a.get_xlabel() for a in (ax, *ax.child_axes)] + [ax.get_ylabel()]
    assert any(labels[:-1])
    assert labels[-1]
    if more:
        assert any("fortnights" in text for text in labels)
        assert not any("cycles" in text for text in labels)
    assert len(render(ax)) > 1000


@pytest.mark.parametrize("name", NAMES)
def test_given_axes_are_used(name: str) -> None:
    plot = PLOTS[name]
    left, right = Figure().subplots(1, 2)
    assert draw(plot, plot.sample(plot.n), right) is right
    assert right.has_data()
    assert not left.has_data()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 150])
def test_one_and_many(name: str, n: int) -> None:
    plot = PLOTS[name]
    assert len(render(draw(plot, plot.sample(n)))) > 1000


@pytest.mark.parametrize("name", NAMES)
def test_missing_values_are_tolerated(name: str) -> None:
    plot = PLOTS[name]
    data = with_nan(plot.sample(plot.n))
    assert len(render(draw(plot, data))) > 1000


@pytest.mark.parametrize("name", NAMES)
def test_the_data_are_left_alone(name: str) -> None:
    plot = PLOTS[name]
    data, same = plot.sample(plot.n), plot.sample(plot.n)
    draw(plot, data)
    if isinstance(data, pl.DataFrame):
        assert data.equals(same)
    elif isinstance(data, dict):
        for key in data:
            np.testing.assert_array_equal(data[key], same[key])
    else:
        np.testing.assert_equal(data, same)


def test_no_state_of_matplotlib_changes() -> None:
    with matplotlib.rc_context({"axes.facecolor": "pink"}):
        before = dict(matplotlib.rcParams)
        for plot in PLOTS.values():
            ax = draw(plot, plot.sample(plot.n))
            assert ax.get_facecolor()[:3] != matplotlib.colors.to_rgb("pink")
        assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_the_package_needs_neither_pyplot_nor_the_report() -> None:
    for path in Path(grace.plots.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        names += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        assert not [n for n in names if "pyplot" in n or "grace.report" in n], path.name


@pytest.mark.parametrize("form", [pl.DataFrame, lambda d: pl.DataFrame(d).to_pandas(), dict,
                                  lambda d: pl.DataFrame(d).to_dicts()])  # fmt: skip
def test_tables_in_any_form(form: Any) -> None:
    ax = grace.plots.fleet_ranking(form({"unit": ["a", "b"], "rul": [40.0, 12.0]}))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b", "a"]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match=r"fleet_ranking: the data lack the column rul.*unit"):
        grace.plots.fleet_ranking({"unit": ["a"]})
    with pytest.raises(ValueError, match="fleet_ranking: the data have no rows"):
        grace.plots.fleet_ranking(pl.DataFrame({"unit": [], "rul": []}))


def test_a_unit_may_have_any_name() -> None:
    hostile = "$x^{<b>&"
    ax = grace.plots.fleet_ranking({"unit": [hostile], "rul": [1.0]})
    assert render(ax)
    assert ax.get_yticklabels()[0].get_text() == hostile
