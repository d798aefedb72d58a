"""Fleets and what is made of them: readers, splits, preprocessing, labels, windows."""

from grace.data.errors import DataError
from grace.data.fleet import Dataset, Fleet, FleetSchema

__all__ = ["DataError", "Dataset", "Fleet", "FleetSchema"]
