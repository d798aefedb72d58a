"""Predictive distributions of remaining useful life, and their calibration by unit."""

from grace.uncertainty.distribution import RULDistribution, time_edges

__all__ = ["RULDistribution", "time_edges"]
