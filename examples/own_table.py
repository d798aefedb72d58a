"""From a CSV file of sensor histories to predictions and a saved model.

Replace ``pumps.csv`` by your own file: one row per unit and time, a column that names the unit, a
column of time, and sensors. Here the file is generated.
"""

from pathlib import Path

import numpy as np
import polars as pl

import grace


def generate_pumps(path: Path) -> None:
    """20 pumps with hourly records; the last four are still running."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(20):
        life = int(rng.integers(80, 160))
        recorded = life if k < 16 else life // 2
        for hour in range(recorded):
            wear = (hour / life) ** 2
            rows.append(
                {
                    "pump": f"P{k:02d}",
                    "hour": hour,
                    "temperature": round(60 + 15 * wear + rng.normal(), 2),
                    "vibration": round(1 + 3 * wear + 0.2 * rng.normal(), 3),
                    # The usual maintenance flag: 1 in the row of the failure, else 0.
                    "failed": int(k < 16 and hour == recorded - 1),
                }
            )
    pl.DataFrame(rows).write_csv(path)


folder = Path("runs")
folder.mkdir(exist_ok=True)
generate_pumps(folder / "pumps.csv")

# The three candidates make the example quick. Without `candidates`, all of them are compared.
model = grace.RULModel(candidates=["median_life", "linear", "boosting"], seed=0)
model.fit(folder / "pumps.csv", unit="pump", time="hour", time_unit="hours", fate="failed")
print(model.summary())

running = pl.read_csv(folder / "pumps.csv").filter(pl.col("pump") >= "P16").drop("failed")
print(model.predict(running).select("unit", "time", "rul", "health"))
print(model.predict_interval(running, coverage=0.9))
print(model.prob_failure_within(running, 24))  # within the next 24 hours

model.save(folder / "pumps")
loaded = grace.RULModel.load(folder / "pumps")
assert loaded.predict(running).equals(model.predict(running))
