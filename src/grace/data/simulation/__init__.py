"""A simulated turbofan fleet in the C-MAPSS layout, whose true wear is known row by row."""

from grace.data.simulation.config import SimulationConfig
from grace.data.simulation.dataset import Simulation, simulate, simulate_dataset

__all__ = ["Simulation", "SimulationConfig", "simulate", "simulate_dataset"]
