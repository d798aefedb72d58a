"""A page of texts, figures and tables in the style of the run report, as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grace._version import __version__
from grace.report.page import palette_css
from grace.report.report_figures import PageFigure
from grace.report.svg import SvgSheet, style_hash

__all__ = ["DocumentSection", "DocumentTable", "FigureSheet", "render_document"]


@dataclass(frozen=True)
class DocumentTable:
    """A table of text cells; the first column holds row headings.

    ``numeric`` are the indices of right-aligned columns.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class DocumentSection:
    """A section: anchor, heading, then paragraphs, figures and tables in this order."""

    id: str
    title: str
    texts: Sequence[str] = ()
    figures: Sequence[PageFigure] = ()
    tables: Sequence[DocumentTable] = ()


@dataclass
class FigureSheet:
    """Collects the figures of one document; draw under :func:`grace.plots.figure_style`."""

    sheet: SvgSheet = field(default_factory=SvgSheet)

    def add(self, ax: Axes, title: str, caption: str) -> PageFigure:
        """A figure by its axes, with title and caption, for :class:`DocumentSection`."""
        figure = ax.get_figure(root=True)
        assert isinstance(figure, Figure)
        return PageFigure(self.sheet.add(figure, f"{title} {caption}"), title, caption)


def render_document(
    title: str,
    *,
    brand: str,
    eyebrow: str,
    sections: Sequence[DocumentSection],
    figures: FigureSheet | None = None,
) -> str:
    """HTML of a document that needs no network, no script and no other file.

    Args:
        title: heading of the page; every text is escaped.
        brand: short name in the navigation.
        eyebrow: line above the heading.
        sections: at least one.
        figures: the sheet that the sections' figures were added to.
    """
    environment = Environment(
        loader=PackageLoader("grace.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader = environment.loader
    assert loader is not None
    css = palette_css() + loader.get_source(environment, "report.css")[0]
    css += "" if figures is None else figures.sheet.css
    return environment.get_template("document.html.j2").render(
        title=title,
        brand=brand,
        eyebrow=eyebrow,
        sections=sections,
        version=__version__,
        css=Markup(css),
        style_hash=style_hash(css),
    )
