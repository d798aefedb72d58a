"""Shared by the commands: the console, common options, and the handling of errors."""

from __future__ import annotations

import inspect
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
import yaml
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

from grace.formatting import printable

if TYPE_CHECKING:
    from grace.training import RunConfig

_Function = TypeVar("_Function", bound=Callable[..., Any])


class PlainConsole(Console):
    """A console on which names from data cannot move the cursor, set colours or ring the bell."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of a renderable, control characters in their text written as escapes."""
        for segment in super().render(renderable, options):
            if segment.control is None and (text := printable(segment.text)) != segment.text:
                segment = Segment(text, segment.style)
            yield segment


class CommandGroup(typer.Typer):
    """Commands whose help is wrapped by the width of the terminal, not where the source breaks."""

    def command(self, *args: Any, **kwargs: Any) -> Callable[[_Function], _Function]:
        """As in typer; the help is the docstring with one line per paragraph."""

        def register(function: _Function) -> _Function:
            text = kwargs.get("help") or inspect.getdoc(function) or ""
            return super(CommandGroup, self).command(
                *args, **{**kwargs, "help": one_line_paragraphs(text)}
            )(function)

        return register


def one_line_paragraphs(text: str) -> str:
    r"""Text with the line breaks inside paragraphs removed; those that start with \b stay as is.

    Example:
        >>> one_line_paragraphs("Two\nlines.\n\n\b\nAn\n  example")
        'Two lines.\n\n\x08\nAn\n  example'
    """
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        p if p.lstrip(" \n").startswith("\b") else " ".join(line.strip() for line in p.splitlines())
        for p in paragraphs
    )


out = PlainConsole()

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
        help="fast: small network, minutes on a CPU. best: combines networks, boosting and "
        "similarity of five folds; several times slower than fast. reference: larger network, "
        "about an hour on a CPU. paper: the published setting.",
        show_default="fast",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", help="YAML file; its values replace those of the preset.", show_default=False
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A single value, e.g. --set training.lr=3e-4. May be repeated.",
        show_default=False,
    ),
]
SelectOn = Annotated[
    str | None,
    typer.Option(
        help="validation: select the checkpoint on held-out training units and use the test set "
        "once. test: select it on the test set; the results are marked as optimistic.",
        show_default="validation",
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Maximum number of epochs.", show_default=False)]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda …", show_default="auto")]


@contextmanager
def plain_errors(interrupted: str = "") -> Iterator[None]:
    """Print errors that the user can correct as one line with exit code 2; others as tracebacks.

    Warnings about the data are one line, too, without the place in the code. SIGINT (Ctrl-C),
    SIGTERM and SIGHUP end the command with one line: ``interrupted``, which states what is kept and
    how to continue.
    """
    try:
        with _signals_as_interrupts(), _plain_warnings():
            yield
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, _SignalError) else signal.SIGINT
        how = "Interrupted" if number == signal.SIGINT else f"Ended by {number.name}"
        PlainConsole(stderr=True).print(
            f"[yellow]{how}.[/yellow] {escape(interrupted)}", soft_wrap=True
        )
        raise typer.Exit(128 + number) from None
    except Exception as error:
        from grace.experiments.user_message import user_message

        problem = user_message(error)
        if problem is None:
            raise
        stop(problem)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings about the data as one line on standard error; others as Python does."""
    usual = warnings.showwarning

    def show_warning(
        message: Warning | str, category: type[Warning], *place: Any, **more: Any
    ) -> None:
        from grace.data.input_flags import InputWarning
        from grace.data.issues import DataWarning

        if not issubclass(category, DataWarning | InputWarning):
            usual(message, category, *place, **more)
            return
        PlainConsole(stderr=True).print(
            f"[yellow]warning:[/yellow] {escape(str(message))}", soft_wrap=True
        )

    warnings.showwarning = show_warning
    try:
        yield
    finally:
        warnings.showwarning = usual


class _SignalError(KeyboardInterrupt):
    """A signal that ends the process; passes through code as Ctrl-C does."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that it can say what is kept.

    A signal that is already ignored or handled stays so. A second one ends the process at once.
    """
    names = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # only the main thread may set handlers
    taken = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]

    def end(number: int, frame: object) -> NoReturn:
        for other in taken:
            signal.signal(other, signal.SIG_DFL)
        raise _SignalError(signal.Signals(number))

    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def stop(problem: str) -> NoReturn:
    """Print the problem and exit with code 2."""
    PlainConsole(stderr=True).print(
        f"[bold red]error:[/bold red] {escape(problem)}", soft_wrap=True
    )
    raise typer.Exit(2)


def say(text: str) -> None:
    """Print a line without wrapping, so that a path can be copied."""
    out.print(escape(text), soft_wrap=True, highlight=False)


def load_config(
    preset: str | None, file: Path | None, settings: Sequence[str] | None, **given: Any
) -> RunConfig:
    """Combine preset, file, the options that were given, and ``--set key=value``.

    Raises:
        ConfigError: see :meth:`RunConfig.load`, or a ``--set`` without key=value.
    """
    from grace.data.plain_values import parse_yaml
    from grace.training import ConfigError, RunConfig

    overrides = {key: value for key, value in given.items() if value not in (None, {})}
    for item in settings or []:
        item = item.encode("utf-8", "backslashreplace").decode()  # bytes that are no UTF-8
        key, equals, value = item.partition("=")
        shown = item if len(item) <= 200 else f"{item[:197]}..."
        if not equals:
            raise ConfigError(f"--set {shown}: write key=value, e.g. training.lr=3e-4")
        try:
            _put(overrides, key.strip().split("."), parse_yaml(value))
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {shown}: not a valid YAML value: {error}") from None
        except (TypeError, AttributeError):
            raise ConfigError(f"--set {shown}: {key[:200]} is not a section") from None
    return RunConfig.load(preset=preset, file=file, overrides=overrides)


def show(config: RunConfig) -> None:
    """Print the complete configuration as YAML, and nothing else."""
    sys.stdout.write(config.to_yaml())


def training_options(epochs: int | None, device: str | None) -> dict[str, Any]:
    """The training section from the options that were given."""
    given = {"epochs": epochs, "device": device}
    return {key: value for key, value in given.items() if value is not None}


def _put(target: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        target = target.setdefault(key, {})
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value):
        value = float(value)  # YAML reads 3e-4 as text
    target[keys[-1]] = value
