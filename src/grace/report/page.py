"""The report of a run: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from grace import formatting
from grace._version import __version__
from grace.evaluation import Evaluation, Interval
from grace.files import write_text
from grace.plots.style import PALETTE, state_names, state_role
from grace.report import tables
from grace.report.intervals import interval_text, level_of
from grace.report.report_figures import ReportFigures
from grace.report.run_data import RunData, read_run_data
from grace.report.select_units import select_units
from grace.report.summary import summarize
from grace.report.svg import style_hash

__all__ = ["SECTIONS", "Section", "write_report"]


class Section(NamedTuple):
    """A section of the page: anchor, heading, and its name in the contents."""

    id: str
    title: str
    short: str


SECTIONS = (
    Section("summary", "Summary", "Summary"),
    Section("units", "Units by maintenance urgency", "Urgency"),
    Section("time", "RUL over time", "RUL over time"),
    Section("sorted", "Predicted and true RUL of all test units", "Predicted and true"),
    Section("distribution", "Predictive distribution", "Distribution"),
    Section("zones", "Error by true RUL", "Error by zone"),
    Section("health", "Health state", "Health state"),
    Section("prognostics", "How early predictions are accurate", "Prognostics"),
    Section("training", "Training", "Training"),
    Section("baselines", "Comparison with trivial baselines", "Baselines"),
    Section("provenance", "Protocol and provenance", "Provenance"),
)


def write_report(
    run_folder: Path, output: Path | None = None, *, units: Sequence[Any] | None = None
) -> Path:
    """Write the report of a finished run.

    The page depends on the run folder alone: the same folder gives the same bytes.

    Args:
        run_folder: folder of the run.
        output: HTML file; None: ``report.html`` in the run folder.
        units: test units to draw over time; None selects representative ones.

    Returns:
        Where the report is.

    Raises:
        ArtifactError: the folder holds no finished run, or a unit is not in its predictions.

    Example:
        >>> write_report(Path("runs/first")).name
        'report.html'
    """
    folder = Path(run_folder)
    target = folder / "report.html" if output is None else Path(output)
    html = _render(read_run_data(folder), units)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, html)
    return target


def _render(m: RunData, units: Sequence[Any] | None) -> str:
    environment = Environment(
        loader=PackageLoader("grace.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": formatting.number,
        "signed": formatting.signed,
        "percent": formatting.percent,
    }
    figures = ReportFigures(m, select_units(m, units))
    loader = environment.loader
    assert loader is not None
    css = palette_css() + loader.get_source(environment, "report.css")[0] + figures.sheet.css
    values = {**_values(m), **figures.drawn, "css": Markup(css), "style_hash": style_hash(css)}
    return environment.get_template("report.html.j2").render(values)


def palette_css() -> str:
    light = "".join(f"--{name}:{tone.light};" for name, tone in PALETTE.items())
    dark = "".join(f"--{name}:{tone.dark};" for name, tone in PALETTE.items())
    return (
        f":root{{color-scheme:light dark;{light}--wash:#f4f6f8}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}--wash:#1d252e}}}}\n"
    )


def _values(m: RunData) -> dict[str, Any]:
    evaluation, config = m.evaluation, m.artifact.get("config", {})
    protocol = evaluation.protocol
    method = str(config.get("method", {}).get("name", "model")).upper()
    dataset = m.artifact.get("provenance", {}).get("dataset", {})
    names, name = state_names(m.n_states), m.folder.resolve().name
    return {
        "version": m.artifact.get("grace", __version__),
        "title": f"{protocol.dataset} {method}: RMSE {formatting.number(evaluation.rmse)}",
        "folder": name,
        "mark": m.mark,
        "sections": SECTIONS,
        "protocol": protocol,
        "prognostics": evaluation.prognostics,
        "prognostics_of": [formatting.plain_name(n) for n in evaluation.baseline_prognostics],
        "method": method,
        "seeds": ", ".join(map(str, protocol.seeds)) or "not stated",
        "dataset_text": dataset.get("description"),
        "cap": None if m.cap is None else f"{m.cap:g}",
        "time_unit": m.time_unit,
        "summary": summarize(m),
        "cards": _cards(m),
        "banner": [f.message for f in evaluation.flags if f.code == "test_selected"],
        "flags": [f for f in evaluation.flags if f.code != "test_selected"],
        "ranking": tables.ranking(m),
        "zones": evaluation.zones,
        "states": [
            {"name": state, "role": state_role(k, len(names))} for k, state in enumerate(names)
        ],
        "states_text": _states_text(m, names),
        "prognostic_rows": tables.prognostic_rows(m),
        "training_notes": _training_notes(m),
        "has_baselines": bool(evaluation.baselines),
        "results": tables.results(m),
        "level": level_of(evaluation.model.last_cycle.capped),
        "gap": _gap(evaluation, m.validation_selected),
        "provenance": tables.provenance_rows(m),
        "config_yaml": yaml.safe_dump(config, sort_keys=False),
        "command": _command(m.artifact.get("provenance", {}), name),
    }


def _printable(value: Any) -> Any:
    """Text without control characters, which HTML does not allow; markup keeps its type."""
    if isinstance(value, Markup):
        return Markup(formatting.printable(value))
    return formatting.printable(value) if isinstance(value, str) else value


def _command(provenance: dict[str, Any], name: str) -> str:
    """How to train this run again: a shell command, or Python for data that was passed to it."""
    source = provenance.get("source", {}).get("train", {"kind": "dataset"})
    if source["kind"] == "dataset":
        return f"grace train --config run.yaml --out runs/{shlex.quote(name)}"
    return (
        f"# Python; data: {source['kind']} {source['name']!r}\n"
        f"grace.experiments.run(RunConfig.load(file='run.yaml'), {f'runs/{name}'!r}, dataset=data)"
    )


class Card(NamedTuple):
    """A headline number; those of the model carry the mark of the protocol."""

    what: str
    value: str
    unit: str
    detail: str
    ours: bool = True


def _cards(m: RunData) -> list[Card]:
    last = m.evaluation.model.last_cycle.capped
    capped = "" if m.cap is None else f", labels capped at {m.cap:g}"
    level = level_of(last)

    def between(interval: Interval | None) -> str:
        text = interval_text(interval)
        return f"{level} interval {text}" if text else "no interval"

    cards = [
        Card(
            f"RMSE, last record{capped}",
            formatting.number(last.rmse),
            m.time_unit,
            between(last.intervals.get("rmse")),
        )
    ]
    for name in tables.rivals(m.evaluation):
        theirs = m.evaluation.baselines[name].last_cycle.capped
        what = f"{formatting.plain_name(name).capitalize()}, same units"
        text = between(theirs.intervals.get("rmse"))
        cards.append(Card(what, formatting.number(theirs.rmse), m.time_unit, text, ours=False))
    nasa = formatting.number(last.nasa_sum)
    cards.append(
        Card("NASA score, late costs more", nasa, "", between(last.intervals.get("nasa_sum")))
    )
    late = formatting.percent(last.late_share)
    leaning = f"mean error {formatting.signed(last.bias)} {m.time_unit}"
    cards.append(Card("Late predictions", late, "of units", leaning))
    health = m.evaluation.model.health_last_cycle
    if health is not None:
        right, f1 = formatting.percent(health.accuracy), formatting.number(health.macro_f1)
        cards.append(Card("Correct health state", right, "of units", f"macro F1 {f1}"))
    return cards


def _states_text(m: RunData, names: list[str]) -> str:
    limits = [f"{v:g}" for v in m.evaluation.protocol.health_thresholds]
    parts = [f"{names[0]} above {limits[0]} {m.time_unit}"]
    parts += [f"{name} at or below {limit}" for name, limit in zip(names[1:], limits, strict=True)]
    return f"True state by remaining life: {', '.join(parts)}."


def _training_notes(m: RunData) -> list[str]:
    notes = []
    if not m.history:
        notes.append("The run has no log of its epochs.")
    if not m.telemetry:
        notes.append("The run has no log of its steps: task weights and gradients are not known.")
    elif not any("lambda_raw" in r for r in m.telemetry):
        method = m.artifact.get("config", {}).get("method", {}).get("name", "this method")
        notes.append(f"The method {method} does not derive its task weights from gradient norms.")
    floor = [r["floor_share"] for r in m.telemetry if r.get("floor_share") is not None]
    if floor:
        notes.append(
            f"A task weight was at its lower limit in {formatting.percent(floor[-1])} of the steps "
            "since warm-up"
            + ("; in these steps the method equals fixed weights." if floor[-1] > 0.5 else ".")
        )
    return notes


def _gap(evaluation: Evaluation, validation_selected: Evaluation | None) -> dict[str, Any] | None:
    if validation_selected is None or validation_selected.optimism_gap is None:
        return None
    gap, mine, other = (
        validation_selected.optimism_gap,
        evaluation.model.last_cycle,
        validation_selected.model.last_cycle,
    )
    rows = [
        (title, formatting.number(a), formatting.number(b), formatting.signed(c))
        for title, a, b, c in (
            ("RMSE, capped labels", other.capped.rmse, mine.capped.rmse, gap.rmse_capped),
            ("RMSE, raw labels", other.raw.rmse, mine.raw.rmse, gap.rmse_raw),
            ("NASA score, capped", other.capped.nasa_sum, mine.capped.nasa_sum, gap.nasa_capped),
            ("NASA score, raw", other.raw.nasa_sum, mine.raw.nasa_sum, gap.nasa_raw),
        )
    ]
    here, there = formatting.number(evaluation.rmse), formatting.number(validation_selected.rmse)
    text = (
        "If the checkpoint is chosen on held-out units, the RMSE of the same training is "
        f"{there} instead of {here}."
    )
    if here == there:
        text = (
            "If the checkpoint is chosen on held-out units, the RMSE of the same training is "
            f"also {here}."
        )
    return {
        "text": text,
        "rows": rows,
    }
