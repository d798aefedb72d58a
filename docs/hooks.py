"""Pages of the site that are generated: home, gallery, API reference, changelog, security."""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "core", "data", "models", "training", "evaluation", "candidates", "uncertainty", "prediction",
    "estimator", "decisions", "experiments", "plots", "report",
)  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages: dict[str, str | bytes] = {
        "index.md": _of_repository("README.md"),
        "changelog.md": _of_repository("CHANGELOG.md"),
        "security.md": _of_repository("SECURITY.md"),
        "api/index.md": _overview(),
        **{f"api/{name}.md": _reference(name) for name in PACKAGES},
        **_gallery(),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def _of_repository(name: str) -> str:
    """A file of the repository's root, its links to guides relative to the site."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text)
    text = re.sub(r"\]\((CHANGELOG|SECURITY)\.md\)", lambda m: f"]({m[1].lower()}.md)", text)
    source = "https://github.com/grace-rul/grace/blob/main/"
    return re.sub(r"\]\((?!https?://|#|[\w/]+\.md\b(?<!CONTRIBUTING\.md)|images/)([^)]+)\)",
                  rf"]({source}\1)", text)  # fmt: skip


def _overview() -> str:
    lines = ["# API reference", "", "| package | what it is |", "|---|---|"]
    for name in PACKAGES:
        doc = (importlib.import_module(f"grace.{name}").__doc__ or "").strip().splitlines()[0]
        lines.append(f"| [`grace.{name}`]({name}.md) | {doc} |")
    return "\n".join(lines) + "\n"


def _reference(name: str) -> str:
    module = importlib.import_module(f"grace.{name}")
    lines = [f"# grace.{name}", "", (module.__doc__ or "").strip(), ""]
    for public in module.__all__:
        value = getattr(module, public)
        if callable(value):
            lines += [f"::: grace.{name}.{public}", ""]
    return "\n".join(lines)


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
