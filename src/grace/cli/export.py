"""``grace export``: a trained model as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grace.cli.shared import RunFolder, out, plain_errors, say


def export(
    folder: RunFolder,
    output: Annotated[
        Path | None,
        typer.Option("--out", help="File to write.", show_default="<folder>/model.onnx"),
    ] = None,
) -> None:
    """Write the network as an ONNX file.

    The file is compared with the original network before it is kept. It takes
    normalised windows; the preprocessing stays in the run folder. Needs the
    extra `export`.

    \b
    Example:
      grace export runs/first --out engine.onnx
    """
    with plain_errors():
        from grace.prediction import export_onnx

        result = export_onnx(folder, output or folder / "model.onnx")
        say(f"model:      {result.path}")
        say(f"input:      windows (batch, {result.window_length}, channels), float32")
        out.print(
            f"difference: at most {result.max_rul_difference:.2g} in RUL and "
            f"{result.max_probability_difference:.2g} in probability, compared with PyTorch"
        )
