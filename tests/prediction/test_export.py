from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from grace.data import Dataset
from grace.data.preprocessing import Preprocessor
from grace.prediction import Artifact, ArtifactError, Predictor

onnx = pytest.importorskip("onnx", reason="needs pip install '.[export]'")
pytest.importorskip("onnxscript", reason="needs pip install '.[export]'")
ort = pytest.importorskip("onnxruntime", reason="needs pip install '.[export]'")

from grace.prediction import export  # noqa: E402
from grace.prediction.export import OnnxExport, export_onnx  # noqa: E402


@pytest.fixture(scope="module")
def exported(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> OnnxExport:
    folder = tmp_path_factory.mktemp("export")
    artifact.save(folder / "run")
    loaded = Artifact.load(folder / "run")
    before = copy.deepcopy(loaded.model.state_dict())
    done = export_onnx(loaded, folder / "new" / "model.onnx")
    assert list(before) == [*loaded.model.state_dict()]
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[name]), f"exporting changed {name}"
    return done


@pytest.fixture
def changed(artifact: Artifact) -> Artifact:
    """The artifact with another weight."""
    other = copy.deepcopy(artifact.model)
    with torch.no_grad():
        other.rul_head.layers[-2].bias.add_(1.0)
    return replace(artifact, model=other)


def test_it_is_one_file(exported: OnnxExport) -> None:
    assert [p.name for p in exported.path.parent.iterdir()] == ["model.onnx"]
    onnx.checker.check_model(exported.path)


def test_the_batch_is_dynamic_and_the_length_is_not(
    exported: OnnxExport, artifact: Artifact
) -> None:
    session = ort.InferenceSession(exported.path)
    (given,) = session.get_inputs()
    assert (given.name, given.shape) == ("windows", ["batch", 12, artifact.model.c_in])
    assert [o.name for o in session.get_outputs()] == ["rul", "health"]
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.InvalidArgument):
        session.run(None, {"windows": np.zeros((2, 13, artifact.model.c_in), np.float32)})


def test_it_serves_without_grace(exported: OnnxExport, artifact: Artifact) -> None:
    session = ort.InferenceSession(exported.path)
    for batch in (1, 3, 300):
        x = (
            np.random.default_rng(batch)
            .normal(size=(batch, 12, artifact.model.c_in))
            .astype(np.float32)
        )
        rul, health = session.run(None, {"windows": x})
        with torch.inference_mode():
            rul0, logits0 = artifact.model(torch.from_numpy(x))
        np.testing.assert_allclose(rul, rul0, atol=1e-3)
        np.testing.assert_allclose(health, logits0.softmax(-1), atol=1e-4)


def test_the_file_says_what_it_is(exported: OnnxExport) -> None:
    found = {p.key: p.value for p in onnx.load(exported.path).metadata_props}
    assert found == exported.metadata
    assert found["window_length"] == "12"
    assert found["time_unit"] == "cycles"
    assert len(found["preprocessing_sha256"]) == len(found["weights_sha256"]) == 64
    assert exported.max_rul_difference <= 1e-3
    assert exported.parity_batches == (1, 7, 64)


def test_a_file_of_another_model_is_refused(
    exported: OnnxExport, artifact: Artifact, changed: Artifact, data: Dataset
) -> None:
    with pytest.raises(ArtifactError, match=r"weights_sha256.*export it again"):
        Predictor(changed, runtime="onnxruntime", model_file=exported.path)
    elsewhere = Preprocessor(
        artifact.config.features, default_sensors=data.default_sensors, default_conditions=3
    ).fit(data.test)
    with pytest.raises(ArtifactError, match="preprocessing_sha256"):
        Predictor(
            replace(artifact, preprocessor=elsewhere),
            runtime="onnxruntime",
            model_file=exported.path,
        )


def test_a_broken_or_missing_file_is_told(artifact: Artifact, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff" * 40)
    for file in (broken, tmp_path / "none.onnx"):
        with pytest.raises(ArtifactError, match="cannot be read as ONNX"):
            Predictor(artifact, runtime="onnxruntime", model_file=file)


def test_a_model_that_differs_is_not_written(
    exported: OnnxExport, changed: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_to_onnx", lambda artifact: exported.path.read_bytes())
    with pytest.raises(ArtifactError, match="differs from the original by 1 in RUL"):
        export_onnx(changed, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_length_that_was_not_frozen_right_is_not_written(
    exported: OnnxExport, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_to_onnx", lambda artifact: exported.path.read_bytes())
    windows = artifact.config.windows.model_copy(update={"length": 13})
    longer = replace(artifact, config=artifact.config.model_copy(update={"windows": windows}))
    with pytest.raises(ArtifactError, match=r"not \(batch, 13, "):
        export_onnx(longer, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_something_to_quantise() -> None:
    node = onnx.helper.make_node("Relu", ["windows"], ["rul"])
    values = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 2])
        for n in ("windows", "rul")
    ]
    graph = onnx.helper.make_graph([node], "toy", values[:1], values[1:])
    opset = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    with pytest.raises(ArtifactError, match="no LSTM to quantise"):
        export.quantize_int8(model.SerializeToString())
