"""GRACE: remaining useful life and health state of machines from sensor histories."""

from grace._version import __version__

__all__ = ["__version__"]
