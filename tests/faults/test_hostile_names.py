"""Names from data and paths reach terminals, pages and figures as text, whatever they hold."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import grace
from grace.cli.shared import PlainConsole
from grace.data import Fleet, FleetSchema
from grace.data.fleet import Dataset
from grace.experiments import run
from grace.formatting import printable
from grace.report import write_report
from grace.report.console import render_evaluation
from grace.report.describe import render_dataset
from grace.training import RunConfig

SOURCE = str(Path(grace.__file__).parents[1])
NAMES = [
    "\x1b[31mred\x1b[0m", "<script>alert(1)</script>", "[bold]x[/bold]", "$\\frac{1}{$", "a\x00b",
    "λ\u202eabc", "\x07bell", "tab\tnew\nline", "[/red]", "x" * 300, "&amp;", "\x9b31m", "]]>",
]  # fmt: skip
SENSORS = ("temp\x1b[31m", "<b>flow[/b]")


def hostile(seed: int, left: float) -> Fleet:
    rng = np.random.default_rng(seed)
    rows = [
        (name, hour, rng.normal(), hour * 0.1 + rng.normal())
        for name in NAMES
        for hour in range(1, 46)
    ]
    frame = pl.DataFrame(rows, schema=["pump", "hour", *SENSORS], orient="row")
    schema = FleetSchema(
        unit="pump", time="hour", sensors=SENSORS, time_unit="ho[red]urs<i>\x1b[5m",
        descriptions={SENSORS[0]: "<img src=x>\x1b]0;title\x07"},
    )  # fmt: skip
    return Fleet.from_frame(
        frame, schema, rul_at_end=dict.fromkeys(NAMES, left), name="\x1b[31m<b>"
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset(
        "my[red]\x1b[31m<b>",
        hostile(0, 0.0),
        hostile(1, 5.0),
        SENSORS,
        1,
        "text <b> [x]\x1b[2J",
        "\x9b",
    )


@pytest.fixture(scope="module")
def folder(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RunConfig.load(
        overrides={
            "windows": {"length": 5},
            "labels": {"cap": 30.0},
            "training": {"epochs": 1, "steps_per_epoch": 2, "batch_size": 8},
        }
    )
    return run(config, tmp_path_factory.mktemp("names") / "run", dataset=dataset).folder


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_the_report_holds_no_markup_and_no_control_character_of_a_name(folder: Path) -> None:
    page = write_report(folder, units=NAMES[:6]).read_text(encoding="utf-8")
    assert printable(page) == page
    parsed = Tags()
    parsed.feed(page)
    assert not parsed.tags & {"script", "img", "i"}
    figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(figures) > 10
    for figure in figures:
        ET.fromstring(figure)
    shown = "".join(parsed.text)
    assert "<script>alert(1)</script>" in shown  # as text
    assert "\\x1b[31mred" in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_the_console_passes_no_control_sequence_of_a_name(
    terminal: bool, dataset: Dataset, folder: Path
) -> None:
    from grace.experiments import read_metrics

    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=terminal, width=2000)
    console.print(render_dataset(dataset))
    console.print(render_evaluation(read_metrics(folder)[0]))
    text = file.getvalue()
    own = re.sub(r"\x1b\[[\d;]*m", "", text) if terminal else text
    assert printable(own) == own
    assert "\\x1b[31m" in own
    assert "\\x1b[2J" in own
    assert "[x]" in own  # no markup either
    assert "<b>flow[/b]" in own


def test_describe_reports_values_out_of_range(dataset: Dataset) -> None:
    cells = dataset.train.frame[SENSORS[1]].to_list()
    cells[50] = 1e9
    frame = dataset.train.frame.with_columns(pl.Series(SENSORS[1], cells))
    odd = replace(dataset, train=replace(dataset.train, frame=frame))
    file = io.StringIO()
    PlainConsole(file=file, width=2000).print(render_dataset(odd))
    assert "train, warning: values far out of range: 1 in <b>flow[/b]" in file.getvalue()
    assert "at hour 6" in file.getvalue()


def test_describe_leaves_missing_values_out(dataset: Dataset) -> None:
    cells = [None, *dataset.train.frame[SENSORS[0]].to_list()[1:]]
    frame = dataset.train.frame.with_columns(pl.Series(SENSORS[0], cells).fill_null(float("nan")))
    file = io.StringIO()
    holed = replace(dataset, train=replace(dataset.train, frame=frame))
    PlainConsole(file=file, width=2000).print(render_dataset(holed))
    assert "nan" not in file.getvalue()


@given(st.text())
def test_printable_text_has_no_control_character_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert not re.search("[\x7f-\x9f\ud800-\udfff\u202a-\u202e]", shown)
    assert printable(shown) == shown
    shown.encode()


# --- the command on other terminals -------------------------------------------------------------

TERMINALS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
}


# Several commands in one process: importing takes longer than most of them.
COMMANDS = """
import sys
from grace.cli import app
from grace.report.svg import SvgSheet
SvgSheet.add = lambda *given: ""  # figures do not depend on the terminal or the folder
words = []
for word in [*sys.argv[1:], ";"]:
    if word != ";":
        words.append(word)
        continue
    try:
        app(words)
        status = 0
    except SystemExit as end:
        status = end.code or 0
    for stream in (sys.stdout, sys.stderr):
        print(f"<status {status}>", file=stream, flush=True)
    words = []
"""
Done = tuple[int, bytes, bytes]


def commands(*lines: tuple[str | bytes, ...], cwd: Path, **environment: str) -> list[Done]:
    """Status, output and errors of each command, run one after another in a new process."""
    words = [word for line in lines for word in (*line, ";")][:-1]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *words], cwd=cwd, capture_output=True, timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]
    mark = rb"<status (\d+)>\r?\n"
    out, err = (re.split(mark, stream) for stream in (done.stdout, done.stderr))
    assert len(out) == len(err) == 2 * len(lines) + 1
    return list(zip(map(int, out[1::2]), out[::2], err[::2], strict=False))


@pytest.mark.parametrize(
    "terminal",
    ["C", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("latin-1", "ascii"))],
)
def test_a_terminal_without_unicode_shows_everything(terminal: str, tmp_path: Path) -> None:
    methods, *others, refused = commands(
        ("methods",), ("train", "--help"), ("data", "describe", "sim"), ("data", "list"),
        ("report", b"runs/\xff\x1b[31m"), cwd=tmp_path, **TERMINALS[terminal],
    )  # fmt: skip
    for status, _, errors in (methods, *others):
        assert status == 0, errors[-500:]
        assert b"Traceback" not in errors
    if terminal != "latin-1":
        assert b"\\u03b1" in methods[1]  # alpha, as an escape
    # An error about a path that is no UTF-8 is one line.
    status, _, errors = refused
    assert status == 2
    assert b"Traceback" not in errors
    assert b"error:" in errors
    assert b"\x1b" not in errors


@pytest.mark.slow
def test_a_run_in_a_folder_that_is_no_utf8(tmp_path: Path) -> None:
    place = os.fsencode(tmp_path) + b"/r\xff \xe9[12]\x1b[31m"
    small = ["--set", "dataset_options={n_train: 12, n_test: 6}", "--no-report"]
    small += ["--set", "training.steps_per_epoch=2", "--set", "evaluate_baselines=false"]
    small += ["--set", "model={lstm_hidden: 8, conv_channels: [8, 8, 8], shared_dim: 8}"]
    train = ("train", "--epochs", "1", *small, "--out", place)
    for status, _, errors in commands(
        train, ("report", place), ("evaluate", place), ("predict", place), train, cwd=tmp_path
    ):
        assert status == 0, errors[-1500:]
        assert b"Traceback" not in errors
    assert os.path.exists(place + b"/report.html")
