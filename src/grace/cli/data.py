"""``grace data``: list, download, verify and describe datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from grace.cli.shared import CommandGroup, DataRoot, out, plain_errors, say

data_app = CommandGroup(no_args_is_help=True, help="List, download, verify and describe datasets.")


@data_app.command("list")
def data_list(data_root: DataRoot = None) -> None:
    """List the datasets and whether their files are available."""
    with plain_errors():
        from grace.data.readers import list_datasets

        table = Table("name", "train units", "test units", "conditions", "available")
        known = list_datasets(data_root)
        for info in known:
            available = "no" if info.found is None else "yes"
            table.add_row(
                info.name,
                str(info.train_units),
                str(info.test_units),
                str(info.n_conditions),
                "built in" if info.found == "built in" else available,
            )
        out.print(table)
        for place in dict.fromkeys(i.found for i in known if i.found not in (None, "built in")):
            say(f"files: {place}")
        if any(info.found is None and info.name.startswith("FD") for info in known):
            say("`grace data download` fetches FD001 to FD004.")
        say("`grace data describe NAME` shows the details of a dataset.")


@data_app.command("download")
def data_download(
    name: Annotated[str, typer.Argument(help="cmapss: the datasets FD001 to FD004.")] = ("cmapss"),
    target: Annotated[
        Path | None, typer.Option(help="Folder to write to.", show_default="user cache")
    ] = None,
) -> None:
    """Download NASA C-MAPSS (12 MB) and verify its SHA-256."""
    with plain_errors():
        from grace.data import DataError
        from grace.data.cmapss_files import default_cache
        from grace.data.download import download_cmapss

        if name.lower() not in ("cmapss", "fd001", "fd002", "fd003", "fd004"):
            raise DataError(
                f"{name!r} cannot be downloaded.", remedy="use `grace data download cmapss`."
            )
        say(f"C-MAPSS is in {download_cmapss(target or default_cache())}")


@data_app.command("verify")
def data_verify(data_root: DataRoot = None) -> None:
    """Compare the C-MAPSS files with the published ones; exit code 1 if one differs."""
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
    name: Annotated[str, typer.Argument(help="Name of a dataset, or a table of your own.")],
    data_root: DataRoot = None,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Propose a schema of a table as a YAML file.")
    ] = False,
    out_file: Annotated[
        Path | None,
        typer.Option("--schema-out", help="File of the schema.", show_default="<table>.yaml"),
    ] = None,
    schema: Annotated[
        Path | None, typer.Option(help="YAML file with the roles of a table's columns.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="HTML file about the fleet to write.", show_default="<table>.html"),
    ] = None,
) -> None:
    """Describe a dataset or a table, or propose a schema of a table.

    A schema gives each column a role with the reason, and lists every doubt.
    With a schema, a table is read, its data issues are printed, and a page about
    the fleet is written: lives, censoring, conditions, missing values, trends.

    \b
    Examples:
      grace data describe FD001
      grace data describe pumps.csv --suggest
      grace data describe pumps.csv --schema pumps.yaml --page pumps.html
    """
    with plain_errors():
        if suggest:
            _suggest(name, out_file)
            return
        if schema is not None or Path(name).exists():
            _describe_table(name, schema, page)
            return
        from grace.data.readers import load_dataset
        from grace.report.describe import render_dataset

        out.print(render_dataset(load_dataset(name, root=data_root)))


def _suggest(table: str, target: Path | None) -> None:
    from grace.data import DataError
    from grace.data.table import suggest_schema

    proposal = suggest_schema(table)
    file = target or Path(f"{Path(table).stem}.yaml")
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(proposal.to_yaml())
    except FileExistsError:
        raise DataError(
            "the file exists already.", source=file, remedy="name another one by --schema-out."
        ) from None
    shared: dict[tuple[str, str], list[str]] = {}
    for role in proposal.roles:
        shared.setdefault((role.role, role.reason), []).append(role.column)
    for (name, reason), columns in shared.items():
        out.print(f"{name}: {', '.join(columns)} ({reason})", highlight=False, markup=False)
    for doubt in proposal.doubts:
        out.print(f"to check: {doubt}", highlight=False, markup=False)
    say(f"schema: {file}")


def _describe_table(table: str, schema: Path | None, page: Path | None) -> None:
    from grace.data import DataError, read_table
    from grace.data.quality import check_quality
    from grace.files import write_text
    from grace.report.fleet_page import fleet_page, fleet_sentences

    if schema is None:
        raise DataError(
            "the roles of its columns are not known.",
            source=table,
            remedy="propose a schema by --suggest, check it, and give it by --schema.",
        )
    fleet = read_table(table, schema=schema)
    for line in fleet_sentences(fleet):
        out.print(line, highlight=False, markup=False)
    for issue in dict.fromkeys([*fleet.issues, *check_quality(fleet)]):
        out.print(f"{issue.severity}: {issue.message}", highlight=False, markup=False)
    target = page or Path(f"{Path(table).stem}.html")
    write_text(target, fleet_page(fleet))
    say(f"page: {target}")
