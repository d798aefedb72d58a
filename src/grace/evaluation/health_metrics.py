"""Metrics of the health state, on plain arrays of class indices (0 the healthiest)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from grace.evaluation.metrics import as_vector

__all__ = ["confusion_matrix", "health_accuracy", "health_macro_f1"]

Classes = npt.NDArray[np.int64]


def _classes(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, n_classes: int | None
) -> tuple[Classes, Classes, int]:
    """Checked class indices (B,) twice, and the number of classes C."""
    true, pred = as_vector(y_true, "y_true"), as_vector(y_pred, "y_pred")
    if true.size != pred.size:
        raise ValueError(f"y_true has {true.size} entries and y_pred has {pred.size}")
    size = int(max(true.max(), pred.max())) + 1 if n_classes is None else n_classes
    for name, values in (("y_true", true), ("y_pred", pred)):
        if (values != np.floor(values)).any() or values.min() < 0 or values.max() >= size:
            raise ValueError(f"{name} must hold class indices 0..{size - 1}")
    return true.astype(np.int64), pred.astype(np.int64), size


def confusion_matrix(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, n_classes: int | None = None
) -> npt.NDArray[np.int64]:
    """Counts of true class (row) against predicted class (column), (C, C), by scikit-learn.

    Args:
        y_true: class indices, (B,) or (B, 1).
        y_pred: class indices, (B,) or (B, 1).
        n_classes: C; one more than the largest index if not given.

    Raises:
        ValueError: sizes differ, or an index is not an integer in 0..C-1.

    Example:
        >>> confusion_matrix([0, 0, 1, 2], [0, 1, 1, 2])
        array([[1, 1, 0],
               [0, 1, 0],
               [0, 0, 1]])
    """
    from sklearn import metrics

    true, pred, size = _classes(y_true, y_pred, n_classes)
    return np.asarray(metrics.confusion_matrix(true, pred, labels=range(size)), dtype=np.int64)


def health_accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Share of correct classes; arguments and errors as in :func:`confusion_matrix`.

    Example:
        >>> health_accuracy([0, 0, 1, 2], [0, 1, 1, 2])
        0.75
    """
    from sklearn import metrics

    true, pred, _ = _classes(y_true, y_pred, None)
    return float(metrics.accuracy_score(true, pred))


def health_macro_f1(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Unweighted mean of the F1 values of the classes, by scikit-learn.

    A class that occurs neither among the true nor among the predicted ones is left out; one that
    is true but never predicted counts 0. Arguments and errors as in :func:`confusion_matrix`.

    Example:
        >>> round(health_macro_f1([0, 0, 1, 2], [0, 1, 1, 2]), 3)
        0.778
    """
    from sklearn import metrics

    true, pred, _ = _classes(y_true, y_pred, None)
    return float(metrics.f1_score(true, pred, average="macro", zero_division=0.0))
