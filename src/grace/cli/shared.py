"""What the commands share: the console, options, and how an error a user can mend is told."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import yaml
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from grace.training import RunConfig

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
Preset = Annotated[
    str | None,
    typer.Option(
        help="fast (small network, minutes on a CPU), default (reference network), paper "
        "(the published setting).",
        show_default="default",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="YAML laid over the preset.", show_default=False),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="One more value, e.g. --set training.lr=3e-4.", show_default=False),
]
SelectOn = Annotated[
    str | None,
    typer.Option(
        help="validation: choose the checkpoint on held-out training units, read the test set "
        "once. test: the published protocol; its figures are marked as optimistic.",
        show_default="validation",
    ),
]
Epochs = Annotated[int | None, typer.Option(help="At most this many.", show_default=False)]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda …", show_default="auto")]


@contextmanager
def plain_errors(interrupted: str = "") -> Iterator[None]:
    """Turn the errors a user can mend into one line and exit code 2; keep bugs' tracebacks."""
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print(f"[yellow]interrupted.[/yellow] {interrupted}")
        raise typer.Exit(130) from None
    except Exception as error:
        from grace.experiments.user_message import user_message

        problem = user_message(error)
        if problem is None:
            raise
        stop(problem)


def stop(problem: str) -> NoReturn:
    """Tell what is wrong and end with exit code 2."""
    Console(stderr=True).print(f"[bold red]error:[/bold red] {escape(problem)}", soft_wrap=True)
    raise typer.Exit(2)


def say(text: str) -> None:
    """Print a line as it is, unwrapped, so that a path can be copied."""
    out.print(escape(text), soft_wrap=True, highlight=False)


def load_config(
    preset: str | None, file: Path | None, settings: Sequence[str] | None, **given: Any
) -> RunConfig:
    """Layer preset, file, the options that were given, and ``--set key=value``.

    Raises:
        ConfigError: see :meth:`RunConfig.load`, or a ``--set`` that is no key=value.
    """
    from grace.training import ConfigError, RunConfig

    overrides = {key: value for key, value in given.items() if value not in (None, {})}
    for item in settings or []:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item}: write key=value, e.g. training.lr=3e-4")
        try:
            _put(overrides, key.strip().split("."), yaml.safe_load(value))
        except (yaml.YAMLError, TypeError, AttributeError):
            raise ConfigError(
                f"--set {item}: not a value YAML can read, or {key} is no section"
            ) from None
    return RunConfig.load(preset=preset, file=file, overrides=overrides)


def show(config: RunConfig) -> None:
    """Print the whole configuration as YAML, and nothing else."""
    sys.stdout.write(config.to_yaml())


def training_options(epochs: int | None, device: str | None) -> dict[str, Any]:
    """The training section, as far as it was given by options of its own."""
    given = {"epochs": epochs, "device": device}
    return {key: value for key, value in given.items() if value is not None}


def _put(target: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        target = target.setdefault(key, {})
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value):
        value = float(value)  # YAML reads 3e-4 as text
    target[keys[-1]] = value
