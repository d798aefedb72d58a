"""Generated pages of the site: home, gallery, API reference, known differences, changelog."""

from __future__ import annotations

import importlib
import inspect
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "core", "data", "models", "training", "evaluation", "candidates", "uncertainty", "prediction",
    "estimator", "decisions", "experiments", "plots", "report",
)  # fmt: skip
# Modules whose names are public, but not offered by their package.
SUBMODULES = (
    "core.methods", "core.inner", "core.gradient_utils", "core.surgery", "core.survival",
    "models.backbone", "models.task_heads", "models.survival_head",
    "data.readers", "data.table", "data.simulation", "data.labels", "data.splits",
    "data.preprocessing", "data.windows", "evaluation.probabilistic",
    "evaluation.distribution_scores",
)  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    pages: dict[str, str | bytes] = {
        "index.md": _of_repository("README.md"),
        "changelog.md": _of_repository("CHANGELOG.md"),
        "security.md": _of_repository("SECURITY.md"),
        "known_differences.md": known_differences(),
        "api/index.md": _overview(),
        **{f"api/{name}.md": _page(name) for name in PACKAGES},
        **_gallery(),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def _of_repository(name: str) -> str:
    """A file of the repository's root, its links to guides relative to the site."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(
        r"\]\((https://raw.githubusercontent.com/grace-rul/grace/main/)?docs/", "](", text
    )
    text = re.sub(r"\]\((CHANGELOG|SECURITY)\.md\)", lambda m: f"]({m[1].lower()}.md)", text)
    source = "https://github.com/grace-rul/grace/blob/main/"
    text = re.sub(r"\]\((examples/[^)]+)\)", rf"]({source}\1)", text)
    return re.sub(r"\]\((?!https?://|#|[\w/]+\.md\b(?<!CONTRIBUTING\.md)|images/)([^)]+)\)",
                  rf"]({source}\1)", text)  # fmt: skip


def _overview() -> str:
    lines = ["# API reference", "", "| package | what it is |", "|---|---|"]
    for name in PACKAGES:
        doc = (importlib.import_module(f"grace.{name}").__doc__ or "").strip().splitlines()[0]
        lines.append(f"| [`grace.{name}`]({name}.md) | {doc} |")
    return "\n".join(lines) + "\n"


def _page(package: str) -> str:
    """A package, then those of its modules that have public names of their own."""
    modules = [name for name in SUBMODULES if name.partition(".")[0] == package]
    return "\n".join(reference(f"grace.{name}") for name in (package, *modules))


def listed(module: str) -> list[str]:
    """Public classes and functions of a module that its package does not offer already."""
    found = importlib.import_module(module)
    package = ".".join(module.split(".")[:2])
    above = [] if package == module else importlib.import_module(package).__all__
    return [n for n in found.__all__ if n not in above and callable(getattr(found, n))]


def reference(module: str) -> str:
    """The public names of a package or module, for mkdocstrings."""
    found = importlib.import_module(module)
    top = "#" if module.count(".") == 1 else "##"
    lines = [f"{top} {module}", "", (found.__doc__ or "").strip(), ""]
    for name in listed(module):
        lines += [f"::: {module}.{name}", ""]
        if top == "##":
            lines[-1:] = ["    options:", "      heading_level: 3", ""]
    return "\n".join(lines)


# Implementations of published methods and metrics; their docstrings list what differs.
PUBLISHED = (
    "core.weighted_mse.moderate_weighted_mse_loss", "core.gaba.GABALoss",
    "core.baselines.UncertaintyLoss", "core.baselines.DWALoss", "core.baselines.GradNormLoss",
    "core.surgery.SurgeryLoss", "evaluation.prognostics",
)  # fmt: skip


def known_differences() -> str:
    """The lists of known differences from the docstrings, one section for each."""
    lines = [
        "# Known differences",
        "",
        "How the implementation of each published method and metric differs from its publication. "
        "The lists are those of the docstrings.",
        "",
    ]
    for name in PUBLISHED:
        lines += [f"## {name.rpartition('.')[2]}", "", *_differences(f"grace.{name}"), ""]
    return "\n".join(lines)


def _differences(name: str) -> list[str]:
    """The list that follows "Known differences" in a docstring."""
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    _, begin, rest = inspect.cleandoc(found.__doc__ or "").partition("Known differences to the ")
    if not begin:
        raise ValueError(f"the docstring of {name} lists no known differences")
    paragraphs = rest.split("\n\n")
    bullets = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", paragraphs[1].replace("``", "`"))
    return bullets.splitlines()


def _gallery() -> dict[str, str | bytes]:
    """Every figure of the registry, drawn from its sample data."""
    from grace.plots import PLOTS, figure_style

    lines = [
        "# Gallery",
        "",
        "Every figure is a function `(data, ax=None, **options) -> Axes` of "
        "[`grace.plots`](api/plots.md). The data shown is generated.",
        "",
    ]
    pages: dict[str, str | bytes] = {}
    for name, plot in PLOTS.items():
        with figure_style():
            ax = plot.function(plot.sample(plot.n), **plot.options)
            buffer = io.BytesIO()
            ax.get_figure(root=True).savefig(buffer, format="svg", metadata={"Date": None})
        pages[f"gallery/{name}.svg"] = buffer.getvalue()
        first = (plot.function.__doc__ or "").strip().splitlines()[0]
        lines += [
            f"## {name}", "", first, "", f"![{name}](gallery/{name}.svg)", "",
        ]  # fmt: skip
    pages["gallery.md"] = "\n".join(lines)
    return pages
