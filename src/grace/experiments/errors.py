"""Errors of runs and grids."""

from __future__ import annotations

__all__ = ["RunSelectionError", "WorkerError"]


class WorkerError(RuntimeError):
    """No worker process can be started; the message says how they ended."""


class RunSelectionError(ValueError):
    """Runs or columns were asked for that a table of results does not have; known names follow."""
