"""A large fleet described, trained and scored from the command line: time, processor time, memory.

    python benchmarks/large_fleet.py                        # 5,000 units × 300 rows, Parquet
    python benchmarks/large_fleet.py --units 500 --format csv

The table is generated: units of a third-degree wear with 12 sensors, two settings and a static
attribute; 30 % are still running. Lives are about ``--rows`` rows. Each command runs in a process
of its own. ``seconds`` are those on the wall, ``cpu`` those of the processor over all threads,
``peak`` the largest resident memory of the process. A row per command is added to
``benchmarks/results/large_fleet.json``, from which the table ``.md`` is written.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from document import markdown
from harness import machine_facts

RESULTS = Path(__file__).parent / "results"
SENSORS = 12


def fleet_table(units: int, rows: int, seed: int = 0) -> pl.DataFrame:
    """One row per unit and hour: unit, hour, site, load, speed, s0 … and the flag failed."""
    rng = np.random.default_rng(seed)
    life = np.maximum(rng.lognormal(np.log(rows), 0.25, units).astype(np.int64), 10)
    running = rng.random(units) < 0.3
    seen = np.where(
        running, np.maximum((life * rng.uniform(0.3, 0.95, units)).astype(int), 5), life
    )
    unit = np.repeat(np.arange(units), seen)
    start = np.cumsum(seen) - seen
    hour = np.arange(len(unit)) - np.repeat(start, seen)
    wear = ((hour + 1) / life[unit]) ** 3
    load = rng.integers(0, 3, len(unit)).astype(np.float64)
    columns: dict[str, Any] = {
        "unit": pl.Series([f"P{u:05d}" for u in range(units)]).gather(unit),
        "hour": hour,
        "site": pl.Series([("north", "south", "sea")[u % 3] for u in range(units)]).gather(unit),
        "load": load,
        "speed": 1500.0 + 100.0 * load + rng.normal(0, 2, len(unit)),
    }
    for s in range(SENSORS):
        gain = (1.0, -0.6, 0.3, 0.0)[s % 4]
        level = rng.normal(0, 0.2, units)[unit]
        noise = rng.normal(0, 0.25, len(unit))
        columns[f"s{s}"] = 10.0 + s + 0.5 * load + level + gain * wear + noise
    last = hour == (seen - 1)[unit]
    columns["failed"] = (last & ~running[unit]).astype(np.int64)
    return pl.DataFrame(columns)


def peak_bytes(pid: int) -> int:
    """Peak resident bytes of a process so far; 0 once it has ended.

    ``ru_maxrss`` is not used: a child starts with the value of the process that started it.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def measured(command: list[str], log: Path) -> dict[str, float]:
    """Run a command to its end; seconds, processor seconds and peak bytes (Linux).

    Raises:
        RuntimeError: it failed; the end of its output is in the message.
    """
    begin = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        peak, ended = 0, 0
        while not ended:
            peak = max(peak, peak_bytes(process.pid))
            time.sleep(0.02)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begin
    if process.returncode:
        end = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}:\n{end}")
    return {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_bytes": peak,
    }


def run(units: int, rows: int, form: str, folder: Path) -> list[dict[str, Any]]:
    """The three commands on a generated table."""
    table = fleet_table(units, rows)
    data, today = folder / f"fleet.{form}", folder / f"today.{form}"
    write = {"parquet": pl.DataFrame.write_parquet, "csv": pl.DataFrame.write_csv}[form]
    write(table, data)
    write(table.drop("failed"), today)
    schema = folder / "fleet.yaml"
    roles = {"unit": "unit", "time": "hour", "time_unit": "hours", "fate": "failed"}
    roles |= {"static": ["site"], "settings": ["load", "speed"]}
    schema.write_text(yaml.safe_dump(roles), encoding="utf-8")
    grace = [sys.executable, "-m", "grace.cli"]
    page, model, found = folder / "fleet.html", folder / "model", folder / "predictions.parquet"
    commands = {
        "describe": ["data", "describe", data, "--schema", schema, "--page", page],
        "train": ["train", "--data", data, "--schema", schema, "--out", model],
        "predict": ["predict", today, "--model", model, "--out", found],
    }
    results = []
    for name, words in commands.items():
        figures = measured([*grace, *map(str, words)], folder / f"{name}.log")
        print(name, {k: round(v, 1) for k, v in figures.items()}, flush=True)
        results.append(
            {"units": units, "rows": table.height, "format": form, "command": name, **figures}
        )
    last = pl.read_parquet(found)
    assert last.height == units
    print((folder / "train.log").read_text(errors="replace")[-1500:], flush=True)
    return results


def write_table(results: list[dict[str, Any]]) -> None:
    """The committed files."""
    RESULTS.mkdir(exist_ok=True)
    content = {"machine": machine_facts(), "results": results}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / "large_fleet.json").write_text(text, encoding="utf-8")
    heads = ("units", "rows", "file", "command", "seconds", "processor seconds", "peak GiB")
    cells = [
        (
            *(f"{r['units']:,}", f"{r['rows']:,}", r["format"], r["command"]),
            *(f"{r['seconds']:.0f}", f"{r['cpu']:.0f}", f"{r['peak_bytes'] / 2**30:.2f}"),
        )
        for r in results
    ]
    load = content["machine"]["load_1min"]
    lines = [
        "# A large fleet described, trained and scored",
        "",
        "Written by `python benchmarks/large_fleet.py`, whose docstring says what is measured. "
        f"Load of the machine at the end: {load} on {content['machine']['cores']} cores.",
        "",
        *markdown(heads, cells),
    ]
    (RESULTS / "large_fleet.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines[4:]), flush=True)


def main() -> None:
    """Measure one size and file format, and add it to the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--units", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        new = run(args.units, args.rows, args.format, Path(folder))
    path = RESULTS / "large_fleet.json"
    old = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []
    key = (new[0]["units"], new[0]["rows"], new[0]["format"])
    kept = [r for r in old if (r["units"], r["rows"], r["format"]) != key]
    write_table([*kept, *new])


if __name__ == "__main__":
    main()
