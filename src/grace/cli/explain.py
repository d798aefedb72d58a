"""``grace explain``: why units are predicted as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grace.cli.shared import out, plain_errors, say

__all__ = ["explain"]


def explain(
    table: Annotated[str, typer.Argument(help="Table of the units in service.")],
    model: Annotated[Path, typer.Option(help="Folder of a model trained with --data.")],
    unit: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this unit. May be repeated.",
            show_default="the three with the shortest remaining useful life",
        ),
    ] = None,
    neighbours: Annotated[int, typer.Option(min=0, help="Similar training units to show.")] = 5,
    samples: Annotated[
        int,
        typer.Option(
            min=1,
            help="Random orders of the channels to average over; more are slower and more exact.",
        ),
    ] = 10,
    output: Annotated[
        Path | None,
        typer.Option("--out", help="Also write the effects of all channels to this CSV file."),
    ] = None,
) -> None:
    """Show which channels moved, their effect on the prediction, and similar units.

    Needs the extra `explain`.

    \b
    Examples:
      grace explain today.csv --model runs/pumps
      grace explain today.csv --model runs/pumps --unit "pump 7" --out why.csv
    """
    with plain_errors():
        from grace.estimator import RULModel

        loaded = RULModel.load(model)
        wanted = unit or loaded.predict(table).sort("rul")["unit"].head(3).to_list()
        found = loaded.explain(table, wanted, neighbours=neighbours, samples=samples)
        for one in found:
            out.print(str(one), highlight=False, markup=False, soft_wrap=True)
        if output is not None:
            import io

            import polars as pl

            from grace.files import write_bytes

            rows = pl.concat(
                one.channels.select(pl.lit(str(one.unit)).alias("unit"), pl.all()) for one in found
            )
            buffer = io.BytesIO()
            rows.write_csv(buffer)
            output.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(output, buffer.getvalue())
            say(f"{rows.height} rows: {output}")
