"""Scoring keeps the rows and the results, never all windows."""

from __future__ import annotations

import json
import subprocess
import sys

import polars as pl
import pytest

from grace.data import Dataset
from grace.data.windows import WindowSet
from grace.prediction import Artifact, Predictor

MANY = r"""
import json, re, resource, sys
from pathlib import Path
import numpy as np, polars as pl, torch
from grace.data import Fleet, FleetSchema
from grace.data.preprocessing import Preprocessor
from grace.prediction import Artifact, Predictor
from grace.training import RunConfig

torch.set_num_threads(1)
rows, units, length = 150_000, 300, 30
sensors = tuple(f"s{i}" for i in range(14))

def peak():
    # ru_maxrss of a child starts at that of its parent: read the process itself where Linux tells.
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 2**10
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20

def now():
    # What is held at this moment where Linux tells; else the peak so far.
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return peak()
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20

def make(n, units):
    rng = np.random.default_rng(0)
    each = n // units
    frame = {"unit": np.repeat(np.arange(units), each), "cycle": np.tile(np.arange(each), units)}
    frame |= {s: rng.normal(size=n) for s in sensors}
    return Fleet.from_frame(pl.DataFrame(frame), FleetSchema(sensors=sensors))

config = RunConfig.model_validate({
    "windows": {"length": length},
    "model": {"lstm_hidden": 2, "num_heads": 1, "lstm_layers": 1, "conv_channels": (2, 2, 2),
              "funnel_hidden": (4, 4), "shared_dim": 4},
})
small = make(1_000, 2)
preprocessor = Preprocessor(config.features, default_conditions=1).fit(small)
model = config.model.build(14, 3).eval()
model.rul_head.start_at(50.0)
predictor = Predictor(Artifact(model, preprocessor, config, {}))
predictor.predict(small, every_row=True)
fleet = make(rows, units)
before = now()
result = predictor.predict(fleet, every_row=True)
print(json.dumps({"height": result.height, "finite": bool(result["rul"].is_finite().all()),
                  "growth_mb": peak() - before, "windows_mb": rows * length * 14 * 4 / 2**20}))
"""


@pytest.mark.slow
def test_many_windows_score_in_bounded_memory() -> None:
    pytest.importorskip("resource", reason="peak memory is read with resource (not on Windows)")
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["height"] == 150_000
    assert found["finite"]
    assert found["growth_mb"] < 0.4 * found["windows_mb"], found


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_no_more_windows_than_a_batch_exist_at_once(
    batch_size: int, artifact: Artifact, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    gather = WindowSet.gather

    def counted(self: WindowSet, index):  # type: ignore[no-untyped-def]
        sizes.append(len(index))
        return gather(self, index)

    monkeypatch.setattr(WindowSet, "gather", counted)
    fleet = data.test.select(data.test.unit_ids[:2])
    result = Predictor(artifact, batch_size=batch_size).predict(fleet, every_row=True)
    assert max(sizes) <= batch_size < fleet.n_rows
    assert sum(sizes) == result.height == fleet.n_rows


def test_a_stream_of_partitions_gives_what_the_whole_fleet_gives(
    artifact: Artifact, data: Dataset
) -> None:
    units = data.test.unit_ids
    asked: list[int] = []

    def partitions():  # type: ignore[no-untyped-def]
        for i in range(0, len(units), 2):
            asked.append(i)
            yield data.test.select(units[i : i + 2])

    predictor = Predictor(artifact)
    for every_row in (False, True):
        asked.clear()
        stream = predictor.score_stream(partitions(), every_row=every_row)
        parts = [next(stream)]
        assert asked == [0], "a partition was read before it was needed"
        parts += list(stream)
        whole = predictor.predict(data.test, every_row=every_row)
        joined = pl.concat(parts)
        assert joined.drop("^(rul|p_.*)$").equals(whole.drop("^(rul|p_.*)$"))
        assert (joined["rul"] - whole["rul"]).abs().max() < 1e-3
