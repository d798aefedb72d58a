"""A nested configuration as one level of named values, as experiment trackers store them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["flatten"]


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values by dotted key; empty sections are left out, lists are kept as values.

    Example:
        >>> flatten({"seed": 42, "training": {"lr": 0.002}, "dataset_options": {}})
        {'seed': 42, 'training.lr': 0.002}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": v for inner, v in flatten(value).items()}
        else:
            flat[str(key)] = value
    return flat
