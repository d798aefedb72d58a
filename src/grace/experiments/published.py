"""Published results on C-MAPSS, with their protocol as far as it is known."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PUBLISHED", "Published"]

_FAMILY = "as published for the GRACE family"
_SELECTED = "test-selected as far as known, labels capped at 125"
_UNKNOWN = "protocol not readable from the publication"


class Published(NamedTuple):
    """A figure of a publication. ``nasa`` is None where none was published."""

    dataset: str
    method: str
    rmse: float
    nasa: float | None
    protocol: str
    source: str


def _family(dataset: str, **figures: tuple[float, float | None]) -> list[Published]:
    return [
        Published(dataset, method, rmse, nasa, _SELECTED, _FAMILY)
        for method, (rmse, nasa) in figures.items()
    ]


PUBLISHED: tuple[Published, ...] = (
    *_family(
        "FD001",
        baseline=(10.08, 143.2), amnl=(10.43, 434.4), gaba=(9.63, 130.4),
        grace=(9.14, 121.4), uncertainty=(9.15, 115.4), gradnorm=(9.38, 127.6), dwa=(10.58, 146.1),
    ),
    *_family(
        "FD002",
        baseline=(7.37, 224.5), amnl=(6.74, 356.0), gaba=(7.53, 224.2), grace=(7.72, 223.4),
        gradnorm=(8.19, 260.9),
    ),
    *_family("FD003", baseline=(11.53, None), grace=(13.12, None)),
    *(
        Published(dataset, "DKAMFormer (2025)", rmse, nasa, _UNKNOWN, "DKAMFormer, 2025")
        for dataset, rmse, nasa in (
            ("FD001", 10.68, None), ("FD002", 10.70, 498.0), ("FD003", 10.52, None),
            ("FD004", 12.89, None),
        )
    ),
    *(
        Published(dataset, "STAR (2024)", rmse, nasa, _UNKNOWN, "STAR, 2024")
        for dataset, rmse, nasa in (
            ("FD001", 10.61, 169.0), ("FD002", 13.47, 784.0), ("FD003", 10.71, 202.0),
            ("FD004", 15.87, 1449.0),
        )
    ),
    *(
        Published(
            dataset, "RUL-FFVE (corrected)", rmse, nasa, "labels capped at 125", "RUL-FFVE"
        )
        for dataset, rmse, nasa in (
            ("FD001", 12.31, 280.0), ("FD002", 12.55, 772.0), ("FD003", 12.43, 302.0),
            ("FD004", 14.08, 1149.0),
        )
    ),
    *(
        Published(dataset, "DCNN (2018)", rmse, nasa, "raw labels", "Li et al., 2018")
        for dataset, rmse, nasa in (
            ("FD001", 12.61, 274.0), ("FD002", 22.36, 10412.0), ("FD003", 12.64, 284.0),
            ("FD004", 23.31, 12466.0),
        )
    ),
    *(
        Published(dataset, "BiLSTM-attention (2021)", rmse, nasa, _UNKNOWN, "2021")
        for dataset, rmse, nasa in (
            ("FD001", 13.78, 255.0), ("FD002", 15.94, 1280.0), ("FD003", 14.36, 438.0),
            ("FD004", 16.96, 1650.0),
        )
    ),
)  # fmt: skip
