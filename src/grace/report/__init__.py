"""The report of a run: one self-contained HTML page, a summary picture, and terminal tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grace.report.page import write_report
    from grace.report.picture import report_picture

__all__ = ["report_picture", "write_report"]


def __getattr__(name: str) -> Any:
    # Drawing is loaded when something is drawn: terminal tables do without it.
    if name == "write_report":
        from grace.report.page import write_report

        return write_report
    if name == "report_picture":
        from grace.report.picture import report_picture

        return report_picture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
