"""An MLflow client that keeps in memory what it is asked to store, within MLflow's limits."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any


class FakeClient:
    """Stores what an ``mlflow.MlflowClient`` is asked to store."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}

    def get_experiment_by_name(self, name: str) -> Any:
        known = self.experiments.get(name)
        return None if known is None else SimpleNamespace(experiment_id=known)

    def create_experiment(self, name: str) -> str:
        self.experiments[name] = f"experiment {len(self.experiments)}"
        return self.experiments[name]

    def create_run(self, experiment_id: str, run_name: str | None = None) -> Any:
        run_id = f"run {len(self.runs)}"
        self.runs[run_id] = {"name": run_name, "status": "RUNNING", "params": {}, "metrics": []}
        self.runs[run_id]["experiment"] = experiment_id
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def update_run(self, run_id: str, status: str | None = None) -> None:
        self.runs[run_id]["status"] = status

    def set_terminated(self, run_id: str, status: str | None = None) -> None:
        self.runs[run_id]["status"] = status

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        """Refuses what MLflow refuses, and a parameter that is logged twice."""
        assert len(params) <= 100
        stored = self.runs[run_id]["params"]
        for param in params:
            assert re.fullmatch(r"[\w\-. /]{1,250}", param.key)
            assert isinstance(param.value, str)
            assert len(param.value) <= 6000
            assert param.key not in stored
            stored[param.key] = param.value

    def log_metric(self, run_id: str, key: str, value: float, step: int | None = None) -> None:
        self.runs[run_id]["metrics"].append((key, value, step))

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [SimpleNamespace(step=s) for k, _, s in self.runs[run_id]["metrics"] if k == key]
