"""An ensemble of regression trees as arrays: saved without pickle, read by any version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Bins", "TreeEnsemble"]

Array = npt.NDArray[np.float64]
_CHUNK = 8192  # rows whose features and node numbers fit a processor's cache


@dataclass(frozen=True, eq=False)
class Bins:
    """Limits of the bins of each feature, ascending, between neighbouring values of training.

    scikit-learn bins weighted data by one weighted percentile per feature and bin, which takes ten
    times as long as growing the trees; integers below its number of bins it takes as they are.

    Example:
        >>> import numpy as np
        >>> x = np.array([[1.0], [2.0], [4.0], [np.nan]])
        >>> bins = Bins.fit(x, 3)
        >>> bins.edges[0]
        array([1.5, 3. ])
        >>> bins(x)[:, 0]
        array([ 0.,  1.,  2., nan], dtype=float32)
    """

    edges: tuple[Array, ...]

    @classmethod
    def fit(cls, x: npt.NDArray[np.floating], n_bins: int) -> Bins:
        """About equally filled bins, missing values left out, (M, F).

        A value that many rows share counts as one bin's share of them, so that the other values
        of a feature that is mostly 0, say, still get bins of their own.
        """
        found = []
        for column in x.T.astype(np.float64):
            values, count = np.unique(column[np.isfinite(column)], return_counts=True)
            middle = 0.5 * (values[:-1] + values[1:])
            if values.size > n_bins:
                share = np.minimum(count, -(-count.sum() // n_bins))
                number = (np.cumsum(share) - share) * n_bins // share.sum()
                middle = middle[np.diff(number) > 0]
            found.append(middle)
        return cls(tuple(found))

    def __call__(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Number of the bin of each value, missing values NaN, (M, F)."""
        codes = [
            np.where(np.isfinite(v), np.searchsorted(e, v, side="left"), np.nan)
            for e, v in zip(self.edges, x.T, strict=True)
        ]
        return np.asarray(np.stack(codes, axis=1), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class TreeEnsemble:
    """Sum of trees plus ``baseline``; nodes of all trees end to end, (N,).

    A row goes left where ``x[feature] <= threshold``, or where x is missing and ``missing_left``;
    a leaf is its own child on both sides and holds ``value``. ``roots`` (K,) are the first nodes,
    ``depth`` the longest way from a root to a leaf.
    """

    feature: npt.NDArray[np.int32]
    threshold: Array
    missing_left: npt.NDArray[np.bool_]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    value: Array
    roots: npt.NDArray[np.int32]
    depth: int
    baseline: float

    @classmethod
    def from_histogram_boosting(cls, model: Any, bins: Bins) -> TreeEnsemble:
        """The trees of a ``HistGradientBoostingRegressor`` fitted on the numbers of bins.

        They are given the limits of the bins, and so take the features themselves.
        """
        trees: list[Any] = [predictors[0].nodes for predictors in model._predictors]
        size = np.array([len(t) for t in trees], dtype=np.int64)
        first = np.cumsum(size) - size
        nodes: Any = np.concatenate(trees)
        shift = np.repeat(first, size)
        itself = np.arange(len(nodes))
        leaf = nodes["is_leaf"].astype(bool)
        feature = np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32)
        threshold = np.zeros(len(nodes))
        for i in np.flatnonzero(~leaf):
            limits, cut = bins.edges[feature[i]], nodes["num_threshold"][i]
            # A cut beyond the last bin parts missing values from all others.
            number = int(min(cut, len(limits)))
            threshold[i] = limits[number] if number < len(limits) else np.inf
        return cls(
            feature=feature,
            threshold=threshold,
            missing_left=nodes["missing_go_to_left"].astype(bool),
            left=np.where(leaf, itself, nodes["left"] + shift).astype(np.int32),
            right=np.where(leaf, itself, nodes["right"] + shift).astype(np.int32),
            value=nodes["value"].astype(np.float64),
            roots=first.astype(np.int32),
            depth=int(nodes["depth"].max()),
            baseline=float(np.asarray(model._baseline_prediction).ravel()[0]),
        )

    def predict(self, x: npt.NDArray[np.floating]) -> Array:
        """Sum over the trees for each row of x, (M, F) -> (M,)."""
        out = np.full(len(x), self.baseline)
        for begin in range(0, len(x), _CHUNK):
            part = x[begin : begin + _CHUNK]
            flat, width = np.ascontiguousarray(part).ravel(), part.shape[1]
            offset = np.arange(len(part)) * width
            total = np.zeros(len(part))
            for root in self.roots:
                node = np.full(len(part), root, dtype=np.int32)
                for _ in range(self.depth):
                    seen = flat[offset + self.feature[node]]
                    left = (seen <= self.threshold[node]) | (
                        np.isnan(seen) & self.missing_left[node]
                    )
                    node = np.where(left, self.left[node], self.right[node])
                total += self.value[node]
            out[begin : begin + _CHUNK] += total
        return out

    def to_state(self) -> dict[str, Any]:
        """The arrays by name."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> TreeEnsemble:
        """The inverse of :meth:`to_state`."""
        kinds = {"feature": np.int32, "left": np.int32, "right": np.int32, "roots": np.int32}
        arrays = {k: np.asarray(state[k], dtype=kind) for k, kind in kinds.items()}
        return cls(
            **arrays,
            threshold=np.asarray(state["threshold"], dtype=np.float64),
            value=np.asarray(state["value"], dtype=np.float64),
            missing_left=np.asarray(state["missing_left"], dtype=bool),
            depth=int(state["depth"]),
            baseline=float(state["baseline"]),
        )
