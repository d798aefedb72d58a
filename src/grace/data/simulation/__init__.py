"""A simulated turbofan fleet in the C-MAPSS layout, whose true wear is known row by row."""

from grace.data.simulation.config import SimulationConfig
from grace.data.simulation.dataset import Simulation, simulate, simulate_dataset
from grace.data.simulation.remaining import true_survival

__all__ = ["Simulation", "SimulationConfig", "simulate", "simulate_dataset", "true_survival"]
