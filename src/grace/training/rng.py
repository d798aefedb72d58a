"""Randomness of a run: every epoch starts from a seed of its own, derived from the run's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

__all__ = ["derived_seed", "preserve_rng_state", "seed_generators"]

_PURPOSES = {"weights": 0, "order": 1, "noise": 2, "survival": 3}
Purpose = Literal["weights", "order", "noise", "survival"]


def derived_seed(seed: int, purpose: Purpose, epoch: int = 0) -> int:
    """A seed for one purpose in one epoch; unrelated to those of other purposes and epochs."""
    words = np.random.SeedSequence([seed, _PURPOSES[purpose], epoch]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))  # torch takes signed integers


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed torch's global generators that a computation on ``device`` draws from."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


@contextmanager
def preserve_rng_state(device: torch.device) -> Iterator[None]:
    """Give torch's global generators back as they were; a CPU run leaves GPUs untouched."""
    gpus = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    with torch.random.fork_rng(gpus):
        yield
