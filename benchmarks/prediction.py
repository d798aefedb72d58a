"""How many windows per second each runtime scores, and how far its RUL is from the reference.

    OMP_NUM_THREADS=1 python benchmarks/prediction.py --artifact runs/FD001-grace-default-seed42

Every runtime and precision that is installed is timed at each batch size, in interleaved rounds;
the ratio is to PyTorch fp32 at the same batch size. Accuracy is measured on real windows of the
artifact's test fleet: ``max |ΔRUL|`` against PyTorch fp32, and the RMSE against the true capped
RUL over all of them. *of matmul* is the share of the rate at which this machine multiplies
1024 × 1024 matrices of that type, measured in the same minute, with the model's operations counted
from its weights.

A precision **holds** if its RMSE is within 1% of that of fp32 and no RUL moved by more than 2
units of time. Without ``--artifact`` a reference model is trained first, briefly, on the simulated
fleet (minutes, kept in ``--cache``). ``--quick`` is a smoke test: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import (
    interleave,
    machine_facts,
    matrix_rate,
    medians,
    print_facts,
    print_table,
    write_json,
)

from grace.data.readers import load_dataset
from grace.data.windows import WindowSet
from grace.models import DualTaskModel
from grace.prediction import Artifact
from grace.prediction.predictor import score
from grace.prediction.runtime import RUNTIMES, Runtime, make_runtime
from grace.training import RunConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
HOLDS_RMSE, HOLDS_RUL = 0.01, 2.0
COLUMNS = (
    *("batch", "runtime", "precision", "windows/s", "ratio", "GFLOP/s", "of matmul"),
    *("max |ΔRUL|", "RMSE", "accuracy"),
)


def main(argv: list[str] | None = None) -> int:
    """Parse, measure, print; returns 1 if an fp32 runtime does not predict the same."""
    summary, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--artifact", type=Path, help="folder of a trained model")
    parser.add_argument("--cache", type=Path, default=Path("runs/benchmark-reference"))
    parser.add_argument("--data-root", type=Path, help="where the artifact's dataset is")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 256, 4096])
    parser.add_argument("--rounds", type=int, default=7, help="3 at most for 4096 and above")
    parser.add_argument("--parity-windows", type=int, default=2048)
    parser.add_argument("--threads", type=int, help="default: as many as PyTorch uses")
    parser.add_argument("--device", default="cpu", help="of PyTorch; cuda times it alone")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--quick", action="store_true", help="smoke test in seconds")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.quick:
        args.batch, args.rounds, args.parity_windows = [1, 32], 2, 64
    facts = machine_facts()
    print_facts(facts)
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Artifact.load(args.artifact or _reference(args, Path(scratch)))
        runtimes, left_out = _runtimes(artifact, torch.device(args.device), Path(scratch))
        windows = _test_windows(artifact, args.data_root, args.parity_windows)
        parity = _parity(artifact, runtimes, windows)
        rows = [
            row
            for batch in args.batch
            for row in _speed(artifact, runtimes, windows, batch, args.rounds, args.device)
        ]
    rows = [{**row, **parity[row["runtime"], row["precision"]]} for row in rows]
    config = artifact.config
    print_table(
        f"Windows per second: {sum(p.numel() for p in artifact.model.parameters()):,} parameters, "
        f"T = {config.windows.length}, C = {artifact.model.c_in}, {config.dataset}",
        rows,
        columns=COLUMNS,
        notes=[
            f"ΔRUL in {artifact.preprocessor.schema_.time_unit}, over {len(windows)} windows of "
            "the test fleet; ratio to torch fp32 at the same batch",
            *left_out,
        ],
    )
    if args.json:
        write_json(
            args.json,
            name="prediction",
            rows=rows,
            facts=facts,
            quick=args.quick,
            parity_windows=len(windows),
            artifact=None if args.artifact is None else str(args.artifact),
            gflop_per_window=_flop(artifact.model, config.windows.length) / 1e9,
            left_out=left_out,
        )
    same = all(r["max |ΔRUL|"] <= 1e-3 for r in rows if r["precision"] == "fp32")
    if not same:
        print("error: an fp32 runtime differs by more than 0.001", file=sys.stderr)
    return 0 if same else 1


def _reference(args: argparse.Namespace, scratch: Path) -> Path:
    """Folder of a briefly trained model: the reference network, or a small one for --quick."""
    from grace.experiments import run

    training: dict[str, Any] = {"epochs": 4, "steps_per_epoch": 80, "batch_size": 64}
    if args.quick:
        training |= {"epochs": 1, "steps_per_epoch": 2}
    config = RunConfig.load(
        preset="fast" if args.quick else "reference",
        overrides={
            "dataset": "sim",
            "evaluate_baselines": False,
            "dataset_options": {"n_train": 8, "n_test": 8} if args.quick else {},
            "windows": {"length": 8} if args.quick else {},
            "model": {"lstm_hidden": 8, "conv_channels": [8, 8, 8]} if args.quick else {},
            "training": {**training, "ema_warmup": True, "warmup_epochs": 1, "device": "cpu"},
        },
    )
    folder = scratch / "reference" if args.quick else args.cache
    print(f"training a reference model (kept in {folder}) …", flush=True)
    run(config, folder)
    return Path(folder)


def _runtimes(
    artifact: Artifact, device: torch.device, scratch: Path
) -> tuple[dict[tuple[str, str], Runtime], list[str]]:
    """Every runtime and precision that can be had, and why the others cannot."""
    built: dict[tuple[str, str], Runtime] = {}
    left_out: list[str] = []
    file: Path | None = None
    for name, kind in RUNTIMES.items():
        if name != "torch" and device.type != "cpu":
            left_out.append(f"{name}: left out, it does not compute on {device}")
            continue
        try:
            if name != "torch" and file is None:
                from grace.prediction.export import export_onnx

                file = export_onnx(artifact, scratch / "model.onnx").path
            for precision in kind.precisions:
                built[name, precision] = make_runtime(
                    artifact, name, precision=precision, device=device, file=file
                )
        except ImportError as error:
            left_out.append(f"{name}: left out, {error}")
    return built, left_out


def _test_windows(artifact: Artifact, root: Path | None, wanted: int) -> WindowSet:
    """Evenly spaced labelled windows of the artifact's test fleet."""
    config = artifact.config
    fleet = load_dataset(config.dataset, root=root, **config.dataset_options).test
    windows = WindowSet.build(
        artifact.preprocessor.transform(fleet), fleet, config.labels, config.windows, every_row=True
    )
    keep = torch.linspace(0, len(windows) - 1, min(wanted, len(windows))).long()
    return WindowSet(
        windows.rows,
        windows.begins[keep],
        windows.ends[keep],
        windows.rul[keep],
        windows.health[keep],
        windows.unit[keep],
        windows.unit_ids,
        windows.length,
    )


def _parity(
    artifact: Artifact, runtimes: dict[tuple[str, str], Runtime], windows: WindowSet
) -> dict[tuple[str, str], dict[str, Any]]:
    """Accuracy of every runtime on the same windows."""
    true = windows.rul.numpy()
    K = artifact.config.labels.n_classes
    found = {key: score(run, windows, n_classes=K, batch_size=256) for key, run in runtimes.items()}
    base_rul, base_p = found["torch", "fp32"]
    base = math.sqrt(float(np.mean((base_rul - true) ** 2)))
    table: dict[tuple[str, str], dict[str, Any]] = {}
    for key, (rul, p) in found.items():
        rmse = math.sqrt(float(np.mean((rul - true) ** 2)))
        largest = float(np.abs(rul - base_rul).max())
        holds = abs(rmse - base) <= HOLDS_RMSE * base and largest <= HOLDS_RUL
        table[key] = {
            "max |ΔRUL|": largest,
            "RMSE": rmse,
            "health same": float((p.argmax(1) == base_p.argmax(1)).mean()),
            "accuracy": "holds" if holds else "fails",
        }
    return table


def _speed(
    artifact: Artifact,
    runtimes: dict[tuple[str, str], Runtime],
    windows: WindowSet,
    batch: int,
    rounds: int,
    device: str,
) -> list[dict[str, Any]]:
    """Rows of one batch size."""
    x = windows.gather(torch.arange(batch) % len(windows)).to(device)
    repeats = max(1, 16 // batch)  # a single window is too short to time

    def call(run: Runtime) -> Callable[[], None]:
        def repeated() -> None:
            for _ in range(repeats):
                run(x)

        return repeated

    large = batch >= 4096
    seconds = medians(
        interleave(
            {" ".join(key): call(run) for key, run in runtimes.items()},
            min(rounds, 3) if large else rounds,
            warmup=0 if large else 1,
            device=device,
        )
    )
    rates = {p: matrix_rate(t, device=device) for p, t in DTYPES.items()}
    flop = _flop(artifact.model, windows.length)
    rows = []
    for name, precision in runtimes:
        took = seconds[f"{name} {precision}"]
        per_second = batch * repeats / took
        gflops = per_second * flop / 1e9
        ceiling = rates.get(precision)
        rows.append(
            {
                "batch": batch,
                "runtime": name,
                "precision": precision,
                "windows/s": per_second,
                "ratio": seconds["torch fp32"] / took,
                "ms/batch": 1e3 * took / repeats,
                "GFLOP/s": gflops,
                "of matmul": None if ceiling is None else gflops / ceiling,
            }
        )
    return rows


def _flop(model: DualTaskModel, length: int) -> float:
    """Operations per window: two per weight matrix entry, at every step in CNN and LSTM."""

    def entries(part: torch.nn.Module) -> int:
        return sum(p.numel() for p in part.parameters() if p.dim() > 1)

    steps = entries(model.cnn) + entries(model.lstm)
    return 2.0 * (length * steps + entries(model) - steps)


if __name__ == "__main__":
    raise SystemExit(main())
