"""``grace data``: list, download, verify and describe data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from grace.cli.shared import DataRoot, out, plain_errors, say

data_app = typer.Typer(no_args_is_help=True, help="List, download, verify and describe datasets.")


@data_app.command("list")
def data_list(data_root: DataRoot = None) -> None:
    """List the datasets and whether they are here."""
    with plain_errors():
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
                escape(info.found) if info.found else "not here; `grace data download`",
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
    with plain_errors():
        from grace.data import DataError
        from grace.data.cmapss_files import default_cache
        from grace.data.download import download_cmapss

        if name.lower() not in ("cmapss", "fd001", "fd002", "fd003", "fd004"):
            raise DataError(f"nothing called {name!r} can be downloaded.", remedy="say cmapss.")
        say(f"C-MAPSS is in {download_cmapss(target or default_cache())}")


@data_app.command("verify")
def data_verify(data_root: DataRoot = None) -> None:
    """Compare the C-MAPSS files here with the published ones; exit code 1 if any differs."""
    with plain_errors():
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
    with plain_errors():
        from grace.data.readers import load_dataset
        from grace.report.describe import render_dataset

        out.print(render_dataset(load_dataset(name, root=data_root)))
