"""AMNL as published: ``python experiments/train_amnl_v7.py --dataset FD002 --seed 0``.

The published protocol selects the checkpoint on the test set. The results are marked accordingly,
and the validation-selected results of the same training are printed as well. Options of
``grace train`` can be added and take precedence (``--select-on validation``, ``--epochs 5``).
"""

import sys

from grace.cli import app

app(["train", "--preset", "paper", "--method", "amnl", "--select-on", "test", *sys.argv[1:]])
