"""The command ``grace``: parses, calls, prints. Everything it does can be done from Python."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grace._version import __version__

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=(
        "Remaining useful life and health state of machines from sensor histories.\n\n"
        "Start with [bold]grace train[/bold] (trains on a built-in simulated fleet), then "
        "[bold]grace report[/bold] on the folder it prints."
    ),
)
data_app = typer.Typer(no_args_is_help=True, help="List, download, verify and describe datasets.")
app.add_typer(data_app, name="data")
out = Console()

DataRoot = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds the data. Default: $GRACE_DATA if set, else ./data, "
        "../shared/data, the user cache.",
        show_default=False,
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a run, as printed by `grace train`.")]


@contextmanager
def _plain_errors(interrupted: str = "") -> Iterator[None]:
    """Turn the errors a user can mend into one line and exit code 2; keep bugs' tracebacks."""
    from grace.data import DataError
    from grace.prediction import ArtifactError
    from grace.training import ConfigError
    from grace.training.checkpoint import CheckpointError
    from grace.training.step import NonFiniteLossError

    known = (DataError, ArtifactError, ConfigError, CheckpointError, NonFiniteLossError)
    try:
        yield
    except known as error:
        _stop(str(error))
    except ImportError as error:
        if "grace-rul[" not in str(error):  # not a missing extra: a broken installation
            raise
        _stop(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _stop(f"{error.filename}: {error.strerror}. Remedy: name a place you can read and write.")
    except KeyboardInterrupt:
        Console(stderr=True).print(f"[yellow]interrupted.[/yellow] {interrupted}")
        raise typer.Exit(130) from None


def _stop(problem: str) -> NoReturn:
    Console(stderr=True).print(f"[bold red]error:[/bold red] {escape(problem)}", soft_wrap=True)
    raise typer.Exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"grace {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Parse what belongs to no command."""


@app.command()
def train(
    dataset: Annotated[
        str | None,
        typer.Option(help="FD001, FD002, FD003, FD004 or sim.", show_default="sim"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="A name of `grace methods`, fixed:<w>, or <inner>+<outer>.", show_default="grace"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.", show_default="42")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="fast (small network, minutes on a CPU), default (reference network), paper "
            "(the published setting).",
            show_default="default",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML laid over the preset.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="One more value, e.g. --set training.lr=3e-4.", show_default=False
        ),
    ] = None,
    select_on: Annotated[
        str | None,
        typer.Option(
            help="validation: choose the checkpoint on held-out training units, read the test set "
            "once. test: the published protocol; its figures are marked as optimistic.",
            show_default="validation",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="At most this many.", show_default=False)] = (
        None
    ),
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda …", show_default="auto")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--out", help="Run folder.", show_default="runs/<name of the run>"),
    ] = None,
    data_root: DataRoot = None,
    force: Annotated[
        bool, typer.Option(help="Delete the run that the folder holds first.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write the HTML report at the end.")] = True,
    show_config: Annotated[
        bool, typer.Option(help="Print the whole configuration as YAML and stop.")
    ] = False,
) -> None:
    """Train a model, judge it on the test set, and save both.

    Values are layered: preset, then --config, then the options given here. An interrupted run
    goes on where it stopped when the same command is given again.

    \b
    Examples:
      grace train                                  the built-in fleet, reference network
      grace train --dataset FD001 --preset fast    a small network, minutes on a laptop
      grace train --method amnl --seed 123 --set windows.length=40
      grace train --dataset FD002 --select-on test --preset paper
      grace train --show-config > my.yaml          a file to edit, for --config my.yaml
    """
    with _plain_errors("The same command goes on from the last finished epoch."):
        from grace.training import ConfigError, RunConfig

        chosen = {
            "dataset": dataset,
            "method": None if method is None else {"name": method},
            "seed": seed,
            "select_on": select_on,
            "training": {
                k: v for k, v in (("epochs", epochs), ("device", device)) if v is not None
            },
        }
        overrides = {k: v for k, v in chosen.items() if v not in (None, {})}
        for item in set_ or []:
            key, equals, value = item.partition("=")
            if not equals:
                raise ConfigError(f"--set {item}: write key=value, e.g. training.lr=3e-4")
            try:
                _put(overrides, key.strip().split("."), yaml.safe_load(value))
            except (yaml.YAMLError, TypeError, AttributeError):
                raise ConfigError(
                    f"--set {item}: not a value YAML can read, or {key} is no section"
                ) from None
        run_config = RunConfig.load(preset=preset, file=config, overrides=overrides)
        if show_config:
            sys.stdout.write(run_config.to_yaml())
            return
        _train(run_config, output, data_root, force=force, report=report)


def _put(target: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        target = target.setdefault(key, {})
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value):
        value = float(value)  # YAML reads 3e-4 as text
    target[keys[-1]] = value


def _train(
    config: Any, output: Path | None, data_root: Path | None, *, force: bool, report: bool
) -> None:
    from grace.experiments import run, run_name
    from grace.report.console import render_evaluation
    from grace.report.progress import RunProgress
    from grace.training.memory import keep_freed_memory

    keep_freed_memory()
    folder = output or Path("runs") / run_name(config)
    with RunProgress(out, config.training.epochs) as progress:
        result = run(
            config, folder, data_root=data_root, listener=progress.listener(), overwrite=force
        )
    if result.resumed_complete:
        _say(f"{folder} already holds this run, finished; nothing was trained.")
    out.print(render_evaluation(result.evaluation, result.validation_selected))
    _say(f"artifact: {folder}")
    if report:
        from grace.report import write_report

        _say(f"report:   {write_report(folder)}")


def _say(text: str) -> None:
    out.print(escape(text), soft_wrap=True, highlight=False)


@app.command()
def evaluate(folder: RunFolder, data_root: DataRoot = None) -> None:
    """Predict the test set anew with a saved model and judge it.

    The figures must equal those stored when the model was trained; if they do not, this says so
    and exits with code 1.

    \b
    Example:
      grace evaluate runs/FD001-grace-fast-seed42
    """
    with _plain_errors():
        from grace.experiments import evaluate_run
        from grace.report.console import render_evaluation

        evaluation, differing = evaluate_run(folder, data_root=data_root)
        out.print(render_evaluation(evaluation))
        if differing:
            _say(f"These figures differ from those stored in the run: {', '.join(differing[:5])}")
            raise typer.Exit(1)
        out.print("[green]The figures equal those stored in the run.[/green]")


@app.command()
def report(
    folder: RunFolder,
    output: Annotated[
        Path | None, typer.Option("--out", help="HTML file.", show_default="<folder>/report.html")
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(help="Unit to draw over time; may be repeated.", show_default=False),
    ] = None,
) -> None:
    """Write the report of a run: one HTML file that needs no network to be read.

    \b
    Examples:
      grace report runs/FD001-grace-fast-seed42
      grace report runs/FD001-grace-fast-seed42 --unit 31 --unit 76 --out engines.html
    """
    with _plain_errors():
        from grace.report import write_report

        _say(str(write_report(folder, output, units=unit or None)))


@app.command()
def methods() -> None:
    """List the methods: named pairs, inner losses, outer balancers."""
    from grace.core.inner import INNER_LOSSES
    from grace.core.methods import NAMED_METHODS, OUTER_METHODS

    named = Table("name", "inner", "outer", "what it is", title="Named methods")
    for name, method in NAMED_METHODS.items():
        named.add_row(name, method.inner, method.outer, method.summary)
    inner = Table("inner loss", "what it is", title="Inner axis: how samples are weighed")
    for name, function in INNER_LOSSES.items():
        inner.add_row(name, (function.__doc__ or "").splitlines()[0])
    outer = Table("outer method", "what it is", title="Outer axis: how tasks are weighed")
    for name, outer_method in OUTER_METHODS.items():
        outer.add_row(name, outer_method.summary)
    for table in (named, inner, outer):
        out.print(table)
    out.print("Any pair works: --method huber+gradnorm, --method weighted_mse+fixed:0.0477")


@data_app.command("list")
def data_list(data_root: DataRoot = None) -> None:
    """List the datasets and whether they are here."""
    with _plain_errors():
        from grace.data.readers import list_datasets

        table = Table("name", "train", "test", "conditions", "faults", "what it is", "where")
        for info in list_datasets(data_root):
            table.add_row(
                info.name,
                f"{info.train_units} units",
                f"{info.test_units} units",
                str(info.n_conditions),
                ", ".join(info.fault_modes),
                info.description,
                info.found or "not here; `grace data download`",
            )
        out.print(table)


@data_app.command("download")
def data_download(
    name: Annotated[str, typer.Argument(help="What to download: cmapss (FD001 to FD004).")] = (
        "cmapss"
    ),
    target: Annotated[
        Path | None, typer.Option(help="Folder to put it in.", show_default="user cache")
    ] = None,
) -> None:
    """Download NASA C-MAPSS (12 MB) from the first source that answers, verified by SHA-256."""
    with _plain_errors():
        from grace.data import DataError
        from grace.data.cmapss_files import default_cache
        from grace.data.download import download_cmapss

        if name.lower() not in ("cmapss", "fd001", "fd002", "fd003", "fd004"):
            raise DataError(f"nothing called {name!r} can be downloaded.", remedy="say cmapss.")
        _say(f"C-MAPSS is in {download_cmapss(target or default_cache())}")


@data_app.command("verify")
def data_verify(data_root: DataRoot = None) -> None:
    """Compare the C-MAPSS files here with the published ones; exit code 1 if any differs."""
    with _plain_errors():
        from grace.data.cmapss_files import find_data_root, verify_cmapss

        checks = verify_cmapss(find_data_root(data_root))
        table = Table("file", "state", "SHA-256")
        for check in checks:
            style = "green" if check.status == "ok" else "bold red"
            table.add_row(check.name, f"[{style}]{check.status}[/{style}]", check.actual or "")
        out.print(table)
        if any(check.status != "ok" for check in checks if check.name != "readme.txt"):
            raise typer.Exit(1)


@data_app.command("describe")
def data_describe(
    name: Annotated[str, typer.Argument(help="FD001, FD002, FD003, FD004 or sim.")],
    data_root: DataRoot = None,
) -> None:
    """Describe a dataset: units, lives, channels, conditions, and what is odd about it."""
    with _plain_errors():
        from grace.data.readers import load_dataset
        from grace.report.describe import render_dataset

        out.print(render_dataset(load_dataset(name, root=data_root)))


if __name__ == "__main__":
    app()
