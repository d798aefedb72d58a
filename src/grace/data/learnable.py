"""Training windows from which nothing can be learned are refused, with the cause."""

from __future__ import annotations

import numpy as np

from grace.data.errors import DataError
from grace.data.labels import LabelConfig
from grace.data.windows import WindowSet

__all__ = ["check_learnable"]


def check_learnable(windows: WindowSet, labels: LabelConfig, *, source: object = None) -> None:
    """Refuse degenerate training windows.

    Args:
        windows: labelled training windows.
        labels: the configuration their targets were made with.
        source: name of the fleet, for the message.

    Raises:
        DataError: there is no window, all RUL labels are equal, a health class is empty, or every
            window is padded.
    """
    rows = windows.ends - windows.begins + 1
    longest, needed = int(rows.max()) if len(windows) else 0, windows.length * windows.row_step
    if not len(windows):
        problem = "no training window has a known RUL."
        remedy = "add units whose failure is known."
    elif float(windows.rul.min()) == float(windows.rul.max()):
        value = labels.from_learned(float(windows.rul[0]))
        problem = (
            f"all {len(windows)} training windows have the same RUL, {value:.4g} (cap "
            f"{labels.cap:.4g})."
        )
        remedy = (
            "lower windows.min_history, so that windows end at several ages of a unit."
            if value < labels.cap
            else "raise labels.cap, or add units observed until they fail."
        )
    elif longest <= needed - windows.row_step:
        problem = (
            f"every training window is padded: the longest history has {longest} rows, a window "
            f"covers {needed}."
        )
        remedy = "lower windows.length (or windows.row_step)."
    else:
        counts = np.bincount(windows.health.cpu().numpy(), minlength=labels.n_classes)
        if counts.all():
            return
        empty = int(np.argmin(counts))
        edges = (labels.cap, *labels.health_thresholds, 0.0)
        problem = (
            f"no training window is in health class {empty} (RUL {edges[empty + 1]:.4g} to "
            f"{edges[empty]:.4g}); windows per class: {', '.join(map(str, counts))}."
        )
        remedy = "choose labels.cap and labels.health_thresholds that fit the lives of the units."
    raise DataError(problem, source=source, remedy=remedy)
