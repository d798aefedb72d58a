"""The artifact: all that is needed to predict, nothing that runs, and errors with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import torch

from grace._version import __version__
from grace.data import Dataset
from grace.files import write_json
from grace.prediction import Artifact, ArtifactError, Predictor
from grace.prediction.artifact import FORMAT, write_artifact_json


def test_round_trip_to_the_bit(artifact: Artifact, folder: Path, data: Dataset) -> None:
    again = Artifact.load(folder)
    for (name, a), (other, b) in zip(
        artifact.model.state_dict().items(), again.model.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(a, b)
    assert again.config == artifact.config
    assert again.provenance == artifact.provenance
    assert not again.model.training
    want = Predictor(artifact).predict(data.test, every_row=True)
    assert Predictor(again).predict(data.test, every_row=True).equals(want)
    assert want["rul"].n_unique() > 10


def test_saving_what_was_loaded_changes_nothing(folder: Path, tmp_path: Path) -> None:
    Artifact.load(folder).save(tmp_path / "second")
    for name in ("weights.safetensors",):
        assert (folder / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    first, second = (
        json.loads((f / "artifact.json").read_text()) for f in (folder, tmp_path / "second")
    )
    for content in (first, second):
        del content["created"], content["sha256"]  # the digest covers the time
    assert first == second
    Artifact.load(tmp_path / "second")


def test_nothing_in_it_is_a_pickle(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {"artifact.json", "weights.safetensors"}
    for path in folder.iterdir():
        head = path.read_bytes()[:4]
        assert not head.startswith((b"\x80", b"PK"))  # pickle, or a zip of torch.save


def test_loading_neither_moves_randomness_nor_needs_it(folder: Path) -> None:
    before = torch.get_rng_state()
    Artifact.load(folder)
    assert torch.equal(before, torch.get_rng_state())


def test_it_says_what_it_is(folder: Path, artifact: Artifact) -> None:
    content = json.loads((folder / "artifact.json").read_text())
    assert content["format"] == FORMAT
    assert content["grace"] == __version__
    assert content["model"]["parameters"] == sum(p.numel() for p in artifact.model.parameters())
    assert content["environment"]["torch"] == torch.__version__
    assert content["config"]["labels"]["cap"] == 125.0


def test_no_artifact_here(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="give the folder of a finished run"):
        Artifact.load(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="unfinished"):
        Artifact.load(tmp_path)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "artifact.json"
    content = json.loads(path.read_text())
    content |= changes
    content.pop("sha256")
    write_artifact_json(folder, {k: v for k, v in content.items() if v is not None})
    assert path.exists()


def test_a_newer_format_is_refused(folder: Path) -> None:
    edit(folder, format=FORMAT + 1, grace="9.9")
    with pytest.raises(ArtifactError, match=rf"format {FORMAT + 1} is not {FORMAT}.*9\.9"):
        Artifact.load(folder)


@pytest.mark.parametrize("key", ["config", "preprocessor", "model", "provenance", "format"])
def test_a_missing_part_is_an_artifact_error(folder: Path, key: str) -> None:
    edit(folder, **{key: None})
    with pytest.raises(ArtifactError, match="Remedy"):
        Artifact.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}'])
def test_a_corrupt_description_is_an_artifact_error(folder: Path, text: str) -> None:
    (folder / "artifact.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"artifact\.json|cannot be read"):
        Artifact.load(folder)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text", "other shape"])
def test_corrupt_weights_are_an_artifact_error(folder: Path, damage: str) -> None:
    path = folder / "weights.safetensors"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other shape":
        config = json.loads((folder / "artifact.json").read_text())["config"]
        config["model"]["lstm_hidden"] = 8
        edit(folder, config=config)
    else:
        path.write_bytes(
            {"empty": b"", "cut": content[: len(content) // 2], "text": b"x" * 99}[damage]
        )
    expected = "cannot be read" if damage == "other shape" else r"weights\.safetensors: (is m|SHA)"
    with pytest.raises(ArtifactError, match=expected):
        Artifact.load(folder)


def test_an_unknown_setting_is_an_artifact_error(folder: Path) -> None:
    config = json.loads((folder / "artifact.json").read_text())["config"]
    config["training"]["lookahead"] = 3
    edit(folder, config=config)
    with pytest.raises(ArtifactError, match="lookahead"):
        Artifact.load(folder)


def test_a_half_written_artifact_does_not_look_complete(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grace.prediction import artifact as module

    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        artifact.save(tmp_path)
    assert not (tmp_path / "artifact.json").exists()
    with pytest.raises(ArtifactError):
        Artifact.load(tmp_path)


def test_json_with_nan_is_not_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1.0}


def test_a_fleet_without_settings_makes_the_round_trip(tmp_path: Path, data: Dataset) -> None:
    from grace.data import Fleet, FleetSchema
    from grace.data.preprocessing import Preprocessor
    from grace.training.config import RunConfig

    schema = FleetSchema(unit="machine", time="hour", sensors=("s2", "s3"), time_unit="hours")
    frame = data.train.frame.select(
        pl.col("unit").alias("machine"), pl.col("cycle").alias("hour"), "s2", "s3"
    )
    fleet = Fleet.from_frame(frame, schema)
    config = RunConfig.load(preset="fast")
    prep = Preprocessor(config.features).fit(fleet)
    model = config.model.build(len(prep.transform(fleet).names), 3).eval()
    Artifact(model, prep, config, {}).save(tmp_path)
    want = Predictor(Artifact(model, prep, config, {})).predict(fleet)
    assert Predictor.load(tmp_path).predict(fleet).equals(want)
