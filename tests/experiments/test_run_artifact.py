"""``artifact.json`` of a run is checked in every part that tables and reports read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grace.data import Dataset
from grace.experiments import run
from grace.experiments.run_artifact import read_run_artifact
from grace.prediction.artifact import ArtifactError, write_artifact_json
from grace.training.config import RunConfig


@pytest.fixture(scope="module")
def done(
    tiny: Callable[..., RunConfig], data: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    return run(tiny(), tmp_path_factory.mktemp("run") / "a", dataset=data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("provenance", "computed"), {"precision": "fp32"}),
        (("provenance", "computed", "device"), 3),
        (("provenance", "data_hash"), {"train": "x"}),
        (("provenance", "selection_rmse", "validation"), "low"),
        (("environment", "threads"), "two"),
        (("model", "c_in"), "14"),
    ],
    ids=lambda x: ".".join(x) if isinstance(x, tuple) else "",
)
def test_a_part_of_the_wrong_kind_is_named(
    done: Any, tmp_path: Path, path: tuple[str, ...], value: object
) -> None:
    content = json.loads((done.folder / "artifact.json").read_text(encoding="utf-8"))
    content.pop("sha256")
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    write_artifact_json(tmp_path, content)
    with pytest.raises(ArtifactError, match=path[-1]) as caught:
        read_run_artifact(tmp_path)
    assert str(tmp_path / "artifact.json") in str(caught.value)
    assert "Remedy" in str(caught.value)
