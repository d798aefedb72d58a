"""Fleets and what is made of them: readers, splits, preprocessing, labels, windows."""

from grace.data.errors import DataError
from grace.data.fleet import Dataset, Fleet, FleetSchema
from grace.data.issues import DataIssue, Source
from grace.data.table import read_table

__all__ = ["DataError", "DataIssue", "Dataset", "Fleet", "FleetSchema", "Source", "read_table"]
