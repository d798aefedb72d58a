"""The tables of a report, as rows of formatted text."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from grace.evaluation import Evaluation, LabelPair, PredictorMetrics
from grace.formatting import duration, number, percent, plain_name, signed, signed_short
from grace.plots.style import state_names, state_role
from grace.report.intervals import interval_text
from grace.report.run_data import RunData

__all__ = [
    "MetricGroup",
    "RankedUnit",
    "by_rmse",
    "prognostic_rows",
    "provenance_rows",
    "ranking",
    "results",
    "rivals",
]


class RankedUnit(NamedTuple):
    """A row of the ranking; ``bar`` is the predicted RUL as a percentage of the cap, 0 to 100."""

    rank: int
    unit: str
    last: str
    predicted: str
    bar: float
    state: str
    role: str
    probability: str
    true: str
    error: str
    side: str


def ranking(run_data: RunData) -> list[RankedUnit]:
    """Every test unit, the one with the shortest predicted life first."""
    frame = run_data.last_rows.sort("rul", maintain_order=True)
    cap, names = run_data.cap, state_names(run_data.n_states)
    full = cap if cap is not None else max(float(frame["rul"].max() or 1.0), 1.0)  # type: ignore[arg-type]
    rows = []
    for rank, row in enumerate(frame.iter_rows(named=True), start=1):
        true, capped = _number(row["rul_true"]), _number(row["rul_true_capped"])
        known = true is not None and capped is not None
        error = row["rul"] - capped if known else None
        state = row.get("health")
        chance = None if state is None else row.get(f"p_health_{state}")
        rows.append(
            RankedUnit(
                rank,
                str(row["unit"]),
                f"{row['time']:g}",
                f"{row['rul']:.1f}",
                float(np.clip(100.0 * row["rul"] / full, 0.0, 100.0)),
                "–" if state is None else names[min(state, len(names) - 1)],
                "" if state is None else state_role(state, len(names)),
                "" if chance is None else f"{chance:.0%}",
                f"{true:g}" if known else "unknown",
                "–" if error is None else signed_short(error),
                "" if error is None else "late" if error > 0 else "early",
            )
        )
    return rows


def by_rmse(evaluation: Evaluation) -> dict[str, PredictorMetrics]:
    """The baselines, the strongest first."""
    return dict(sorted(evaluation.baselines.items(), key=lambda b: b[1].last_cycle.capped.rmse))


def rivals(evaluation: Evaluation) -> list[str]:
    """The baselines that the summary compares with: the strongest, and the constant."""
    names = list(by_rmse(evaluation))
    return list(dict.fromkeys([*names[:1], *(n for n in names if n == "constant")]))


class MetricRow(NamedTuple):
    """One predictor's figures; intervals are empty where there are none."""

    who: str
    is_model: bool
    rmse: str
    rmse_interval: str
    mae: str
    mae_interval: str
    bias: str
    nasa: str
    nasa_interval: str
    nasa_mean: str
    late: str


class MetricGroup(NamedTuple):
    """All predictors on the same rows and labels."""

    title: str
    rows: list[MetricRow]


def results(run_data: RunData) -> list[MetricGroup]:
    """Model and baselines: last and all rows, each against capped and against raw labels."""
    evaluation, cap = run_data.evaluation, run_data.cap
    predictors: dict[str, PredictorMetrics] = {"model": evaluation.model}
    predictors |= {plain_name(k): v for k, v in by_rmse(evaluation).items()}
    last, every = evaluation.model.last_cycle, evaluation.model.all_cycles
    capped = "uncapped labels" if cap is None else f"labels capped at {cap:g}"
    groups = []
    for place, attribute, pair in (
        (f"Last record of each unit (n = {last.capped.n:,})", "last_cycle", last),
        (f"All records (n = {every.capped.n:,})", "all_cycles", every),
    ):
        for label, title in (("capped", capped), ("raw", "uncapped labels")):
            assert isinstance(pair, LabelPair)
            rows = [
                _metric_row(name, evaluated, attribute, label)
                for name, evaluated in predictors.items()
            ]
            groups.append(MetricGroup(f"{place}, {title}", rows))
    return groups


def _metric_row(name: str, evaluated: PredictorMetrics, place: str, label: str) -> MetricRow:
    m = getattr(getattr(evaluated, place), label)
    at = {k: interval_text(m.intervals.get(k)) for k in ("rmse", "mae", "nasa_sum")}
    return MetricRow(
        name, name == "model", number(m.rmse), at["rmse"], number(m.mae), at["mae"],
        signed(m.bias), number(m.nasa_sum), at["nasa_sum"], number(m.nasa_mean),
        percent(m.late_share),
    )  # fmt: skip


def prognostic_rows(run_data: RunData) -> list[tuple[str, str, str, str, list[str]]]:
    """Name, mean, median, number of units and means of the baselines, per prognostic metric."""
    summary, unit = run_data.evaluation.prognostics, run_data.time_unit
    rows = []
    for key, value in summary.metrics.items():
        if key == "horizon":
            name = f"prognostic horizon (±{percent(summary.horizon_alpha)} of life), {unit}"
        elif key == "cra":
            name = "cumulative relative accuracy"
        elif key == "convergence":
            name = f"convergence, {unit} (lower is faster)"
        else:
            kind, _, lam = key.rpartition("_")
            words = {
                "alpha_lambda": f"α-λ accuracy: inside ±{percent(summary.alpha)}",
                "relative_accuracy": "relative accuracy",
            }
            name = f"{words.get(kind, kind)} at λ = {lam}"
        share_like = key.startswith("alpha_lambda")
        mean = percent(value.mean) if share_like else number(value.mean)
        median = "" if share_like else number(value.median)
        trivial = run_data.evaluation.baseline_prognostics.values()
        means = [(percent if share_like else number)(b.metrics[key].mean) for b in trivial]
        rows.append((name, mean, median, f"{value.n}", means))
    return rows


def provenance_rows(run_data: RunData) -> list[tuple[str, str]]:
    """Data, configuration, versions and checkpoint of the run: term and value, as plain text."""
    artifact = run_data.artifact
    facts = artifact.get("provenance", {})
    environment = artifact.get("environment", {})
    features = artifact.get("preprocessor", {}).get("config", {})
    config = artifact.get("config", {})
    hashes = facts.get("data_hash", {})
    split = facts.get("units", {})
    inputs = facts.get("inputs", [])
    epoch = facts.get("chosen_epoch")
    rows: list[tuple[str, Any]] = [
        ("Dataset", facts.get("dataset", {}).get("description")),
        ("Citation", facts.get("dataset", {}).get("citation")),
        *((f"Data SHA-256, {name}", value) for name, value in hashes.items()),
        *(
            (f"File SHA-256, {file['name']}", _file(file))
            for file in facts.get("dataset", {}).get("files", [])
        ),
        ("Training units", _units(split.get("train"))),
        ("Validation units", _units(split.get("validation"))),
        ("Test units", split.get("n_test")),
        ("Inputs", f"{len(inputs)}: {', '.join(map(str, inputs))}" if inputs else None),
        ("Preprocessing", _preprocessing(features, artifact.get("preprocessor", {}))),
        ("Window", _window(config.get("windows", {}), run_data.time_unit)),
        ("Method", config.get("method", {}).get("name")),
        ("Network", _network(artifact.get("model", {}))),
        ("Seed", config.get("seed")),
        ("Checkpoint", _checkpoint(epoch, facts)),
        ("Training time", duration(facts.get("training_seconds"))),
        ("Created", artifact.get("created")),
        ("Versions", _versions(artifact.get("grace"), environment)),
        ("Platform", _platform(environment, facts.get("computed", {}))),
        ("Run fingerprint", facts.get("fingerprint")),
    ]
    return [(term, str(value)) for term, value in rows if value not in (None, "", "–")]


def _file(file: dict[str, Any]) -> str:
    """Hash of a data file, and whether it is the published one."""
    known = {True: ", as published", False: ", differs from the published file"}
    return f"{file['sha256']}{known.get(file['published'], '')}"


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _units(units: list[Any] | None) -> str | None:
    return f"{len(units)}: {', '.join(map(str, units))}" if units else None


def _preprocessing(config: dict[str, Any], fitted: dict[str, Any]) -> str:
    n = len((fitted.get("conditions") or {}).get("centers") or [None])
    parts = [
        f"z-score per channel and operating condition ({n} found)"
        if n > 1
        else "z-score per channel (one operating condition)"
    ]
    if config.get("clip"):
        parts.append(f"clipped at ±{config['clip']:g}")
    if config.get("age"):
        parts.append("age of the unit")
    if config.get("baseline_deviation"):
        parts.append(f"deviation from the unit's own first {config.get('baseline_rows')} records")
    if config.get("ewm_alphas"):
        weights = ", ".join(f"{a:g}" for a in config["ewm_alphas"])
        parts.append(f"exponentially weighted means ({weights})")
    return "; ".join(parts) + "; fitted on training units only"


def _window(config: dict[str, Any], time_unit: str) -> str | None:
    return f"{config['length']} records, stride {config['stride']}" if config else None


def _network(model: dict[str, Any]) -> str | None:
    return f"{model['parameters']:,} parameters, {model['c_in']} input channels" if model else None


def _checkpoint(epoch: int | None, facts: dict[str, Any]) -> str | None:
    if epoch is None:
        return None
    chosen = ", ".join(
        f"{name} RMSE {number(value)}" for name, value in facts.get("selection_rmse", {}).items()
    )
    text = f"epoch {epoch + 1} of {facts.get('epochs_trained', '?')}"
    return f"{text}; best by {chosen}" if chosen else text


def _versions(grace: str | None, environment: dict[str, Any]) -> str:
    known = {"grace": grace, "Python": environment.get("python"), "torch": environment.get("torch")}
    return ", ".join(f"{name} {version}" for name, version in known.items() if version)


def _platform(environment: dict[str, Any], computed: dict[str, Any]) -> str | None:
    if "platform" not in environment:
        return None
    threads = environment.get("threads")
    parts = [
        environment["platform"],
        f"{threads} CPU thread(s)" if threads else None,
        f"trained on {computed['device']} in {computed['precision']}" if computed else None,
    ]
    return ", ".join(part for part in parts if part)
