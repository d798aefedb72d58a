"""The report of a run: one self-contained HTML page, a summary picture, and terminal tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grace.report.overview import overview_figure
    from grace.report.page import write_report

__all__ = ["overview_figure", "write_report"]


def __getattr__(name: str) -> Any:
    # Drawing is loaded when something is drawn: terminal tables do without it.
    if name == "write_report":
        from grace.report.page import write_report

        return write_report
    if name == "overview_figure":
        from grace.report.overview import overview_figure

        return overview_figure
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
