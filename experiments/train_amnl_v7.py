"""AMNL as published: ``python experiments/train_amnl_v7.py --dataset FD002 --seed 0``.

The published protocol chooses the checkpoint on the test set; every figure is marked as such, and
the validation-selected figures of the same training are printed beside it. Any option of
``grace train`` may follow and wins (``--select-on validation``, ``--preset fast``, ``--epochs 5``).
"""

import sys

from grace.cli import app

app(["train", "--preset", "paper", "--method", "amnl", "--select-on", "test", *sys.argv[1:]])
