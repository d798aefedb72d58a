from __future__ import annotations

import copy
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from grace.data import Dataset
from grace.prediction import Artifact, Predictor
from grace.prediction.runtime import RUNTIMES, TorchRuntime, make_runtime

NEEDS = {
    "torch": (),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "onnxruntime", "openvino"),
}
# Largest |ΔRUL| in cycles of a toy network whose RUL spans 9 cycles, three times what was seen.
LIMITS = {"fp32": 1e-3, "bf16": 1.2, "int8": 1.0}
FACTOR = 1.5
COMBINATIONS = [(name, p) for name, kind in RUNTIMES.items() for p in kind.precisions]


def need(name: str) -> None:
    missing = [m for m in NEEDS[name] if importlib.util.find_spec(m) is None]
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}: pip install '.[export,openvino]'")


@pytest.fixture(scope="module")
def artifact(artifact: Artifact) -> Artifact:
    """The shared artifact with a RUL that spans several cycles, so that errors would show."""
    model = copy.deepcopy(artifact.model)
    with torch.no_grad():
        for layer in (*model.funnel.modules(), *model.rul_head.modules()):
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(FACTOR)
    return replace(artifact, model=model)


@pytest.fixture(scope="module")
def model_file(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from grace.prediction.export import export_onnx

    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return export_onnx(artifact, path).path


def predictor(
    artifact: Artifact, name: str, request: pytest.FixtureRequest, **options: object
) -> Predictor:
    need(name)
    file = None if name == "torch" else request.getfixturevalue("model_file")
    return Predictor(artifact, runtime=name, model_file=file, **options)


@pytest.mark.parametrize(("name", "precision"), COMBINATIONS)
def test_every_runtime_predicts_what_the_network_predicts(
    name: str,
    precision: str,
    artifact: Artifact,
    data: Dataset,
    request: pytest.FixtureRequest,
) -> None:
    reference = Predictor(artifact).predict(data.test, every_row=True)
    assert reference["rul"].std() > 1
    found = predictor(artifact, name, request, precision=precision, batch_size=50).predict(
        data.test, every_row=True
    )
    assert found.columns == reference.columns
    assert found.schema == reference.schema
    assert found.select("unit", "time").equals(reference.select("unit", "time"))
    assert np.abs(found["rul"] - reference["rul"]).max() < LIMITS[precision]
    total = found.select(pl.sum_horizontal("^p_health_.*$")).to_series()
    np.testing.assert_allclose(total, 1.0, atol=1e-5)
    assert (found["health"] == reference["health"]).mean() > 0.9


@pytest.mark.parametrize(("name", "precision"), COMBINATIONS)
def test_numpy_and_tensor_inputs_agree_and_results_are_float32(
    name: str, precision: str, artifact: Artifact, request: pytest.FixtureRequest
) -> None:
    run = predictor(artifact, name, request, precision=precision).runtime
    x = torch.randn(3, 12, artifact.model.c_in, generator=torch.Generator().manual_seed(0))
    for given in (x, x.numpy(), x.numpy().repeat(2, axis=0)[::2]):
        rul, health = run(given)
        assert rul.shape == (3,)
        assert health.shape == (3, 3)
        assert rul.dtype == health.dtype == np.float32
    first = run(x)[0]
    kept = first.copy()
    run(x + 1)
    np.testing.assert_array_equal(first, kept, err_msg="a later call overwrote an earlier result")


@pytest.mark.parametrize(("name", "precision"), COMBINATIONS)
def test_wrong_sizes_are_refused(
    name: str, precision: str, artifact: Artifact, request: pytest.FixtureRequest
) -> None:
    run = predictor(artifact, name, request, precision=precision).runtime
    C = artifact.model.c_in
    with pytest.raises(ValueError, match=rf"input has shape \(2, 12, {C + 1}\)"):
        run(torch.zeros(2, 12, C + 1))
    if name != "torch":  # whose network takes any length
        with pytest.raises(ValueError, match=rf"takes \(B, 12, {C}\)"):
            run(torch.zeros(2, 13, C))


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_batch_size_does_not_change_fp32_predictions(
    name: str, artifact: Artifact, data: Dataset, request: pytest.FixtureRequest
) -> None:
    whole = predictor(artifact, name, request).predict(data.test, every_row=True)
    parts = predictor(artifact, name, request, batch_size=7).predict(data.test, every_row=True)
    np.testing.assert_allclose(whole["rul"], parts["rul"], atol=1e-3)


def test_bf16_does_not_put_the_rul_on_a_grid(artifact: Artifact, data: Dataset) -> None:
    rul = Predictor(artifact, precision="bf16").predict(data.test, every_row=True)["rul"].to_numpy()
    rounded = torch.tensor(rul).bfloat16().double().numpy()
    assert np.mean(rounded == rul) < 0.1


def test_bf16_leaves_the_artifact_as_it_was(artifact: Artifact) -> None:
    Predictor(artifact, precision="bf16")
    assert {p.dtype for p in artifact.model.parameters()} == {torch.float32}


def test_a_thread_count_is_put_back(artifact: Artifact) -> None:
    before = torch.get_num_threads()
    run = TorchRuntime(artifact, device=torch.device("cpu"), threads=before + 1)
    run(torch.zeros(2, 12, artifact.model.c_in))
    assert torch.get_num_threads() == before


def test_mistakes_name_the_argument_and_the_remedy(artifact: Artifact) -> None:
    with pytest.raises(ValueError, match="runtime='tvm' is unknown; choose one of torch"):
        make_runtime(artifact, "tvm")
    with pytest.raises(ValueError, match="'int8' is not offered by runtime='torch'"):
        make_runtime(artifact, "torch", precision="int8")
    with pytest.raises(ValueError, match=r"fp64.*takes fp32 or bf16$"):
        make_runtime(artifact, precision="fp64")
    with pytest.raises(ValueError, match="computes on the CPU"):
        make_runtime(artifact, "onnxruntime", device=torch.device("cuda"))
    with pytest.raises(ValueError, match="threads=0"):
        make_runtime(artifact, threads=0)
    with pytest.raises(ValueError, match="batch_size=0"):
        Predictor(artifact, batch_size=0)


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("onnxruntime", "onnxruntime", "export"), ("openvino", "openvino", "export,openvino")],
)
def test_a_missing_package_is_one_line_with_the_extra(
    module: str, name: str, extra: str, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError) as caught:
        make_runtime(artifact, name)
    assert f"pip install '.[{extra}]'" in str(caught.value)
    assert "\n" not in str(caught.value)
