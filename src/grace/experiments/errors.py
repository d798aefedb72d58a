"""Errors of runs and grids."""

from __future__ import annotations

__all__ = ["WorkerError"]


class WorkerError(RuntimeError):
    """No worker process can be started; the message says how they ended."""
