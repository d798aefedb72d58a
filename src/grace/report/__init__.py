"""Reports of a run: one self-contained HTML page, one picture, and text for the terminal."""

from grace.report.page import write_report
from grace.report.picture import report_picture

__all__ = ["report_picture", "write_report"]
