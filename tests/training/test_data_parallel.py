"""Two processes on half a batch each equal one process on the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from grace.core.methods import OUTER_METHODS, build_method
from grace.data.windows import Batch
from grace.models import DualTaskModel
from grace.training.averaging import weight_average
from grace.training.step import NonFiniteLossError, TrainState, training_step

STEPS, SIZE = 5, 12
# One method per signal and site, and the two forms in which ``.grad`` is filled.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("fixed", {}),
    ("uncertainty", {}),
    ("dwa", {}),
    ("gradnorm", {}),
    ("gaba", {"warmup_steps": 1, "beta": 0.5}),
    ("gaba", {"warmup_steps": 1, "beta": 0.5, "site": "feature"}),
    ("gaba", {"warmup_steps": 1, "beta": 0.5, "site": "last_layer"}),
    ("nash_mtl", {}),
    ("nash_mtl", {"site": "feature", "normalise": "initial_loss"}),
    ("pcgrad", {}),
]


def network(*, batch_norm: bool) -> DualTaskModel:
    torch.manual_seed(0)
    model = DualTaskModel(
        c_in=3, lstm_hidden=4, num_heads=2, shared_dim=6, conv_channels=(4, 6, 4),
        funnel_hidden=(8, 6), dropout_scale=0.0,
    )  # fmt: skip
    if not batch_norm:  # its statistics are those of the local batch
        for i, layer in enumerate(model.cnn.layers):
            if isinstance(layer, nn.BatchNorm1d):
                model.cnn.layers[i] = nn.Identity()
    model.rul_head.start_at(40.0)
    return model.double()


def batch(step: int, part: slice) -> Batch:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(SIZE, 7, 3, generator=generator).double()
    rul = 60.0 * torch.rand(SIZE, generator=generator).double()
    health = (rul < 40).long() + (rul < 15).long()
    return Batch(x[part], rul[part], health[part], torch.arange(SIZE)[part])


def train(case: int, part: slice, *, parallel: bool, batch_norm: bool = False) -> dict[str, Tensor]:
    """Weights, buffers, average and balancer state after some steps."""
    name, options = CASES[case]
    model = network(batch_norm=batch_norm)
    method = build_method(f"mse+{name}", outer_options=options)
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if own := list(method.outer.parameters()):
        groups.append({"params": own})
    wrapped: nn.Module = DistributedDataParallel(model) if parallel else model
    average = weight_average(model, 0.5)
    s = TrainState(wrapped, method, torch.optim.SGD(groups, lr=1e-3), average)
    for step in range(STEPS):
        log = training_step(s, batch(step, part), diagnose=step == 3)
        method.outer.on_epoch_end(log.losses.float())
    modules = {"model": model, "average": average, "outer": method.outer}
    state = {f"{m}.{k}": v for m, part_ in modules.items() for k, v in part_.state_dict().items()}
    return {**state, "loss": log.loss, "losses": log.losses, "weights": log.weights}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    # Shares of a third and two thirds: a mean of rank means would be wrong.
    part = slice(0, SIZE // 3) if rank == 0 else slice(SIZE // 3, SIZE)
    torch.manual_seed(rank)
    results: dict[str, Any] = {}
    for case in available():
        results[f"{case}"] = train(case, part, parallel=True)
        results[f"{case} batch norm"] = train(case, part, parallel=True, batch_norm=True)
    bad = batch(0, part)
    if rank == 1:
        bad.x[2] = float("nan")
    model = network(batch_norm=False)
    s = TrainState(
        DistributedDataParallel(model),
        build_method("grace"),
        torch.optim.SGD(model.parameters()),
    )
    try:
        training_step(s, bad)
    except NonFiniteLossError as error:
        results["units"] = list(error.units)
    torch.save(results, Path(folder) / f"{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def available() -> list[int]:
    found = []
    for case, (name, options) in enumerate(CASES):
        try:
            OUTER_METHODS[name].build(**options)
            found.append(case)
        except ImportError:
            continue
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("gloo is not available")
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(worker, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("case", available(), ids=lambda i: f"{CASES[i][0]}-{i}")
class TestTwoProcesses:
    def test_agree_with_one(self, ranks: list[dict[str, Any]], case: int) -> None:
        torch.manual_seed(0)  # as the first rank, for methods that draw random numbers
        want = train(case, slice(0, SIZE), parallel=False)
        assert ranks[0][f"{case}"].keys() == want.keys()
        for key, value in ranks[0][f"{case}"].items():
            torch.testing.assert_close(value, want[key], rtol=1e-5, atol=1e-7, msg=key)
        assert not torch.equal(
            want["model.cnn.layers.0.weight"],
            network(batch_norm=False).state_dict()["cnn.layers.0.weight"],
        )

    @pytest.mark.parametrize("suffix", ["", " batch norm"])
    def test_are_identical(self, ranks: list[dict[str, Any]], case: int, suffix: str) -> None:
        first, second = (r[f"{case}{suffix}"] for r in ranks)
        for key, value in first.items():
            assert torch.equal(value, second[key]), key


@pytest.mark.slow
def test_a_bad_value_stops_all_ranks_and_is_located(ranks: list[dict[str, Any]]) -> None:
    assert [r["units"] for r in ranks] == [[], [SIZE // 3 + 2]]
