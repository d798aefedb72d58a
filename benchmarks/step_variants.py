"""What ``training_step.py`` times: one step by each form, and the parts of ours."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from data_feed import PerSampleWindows
from harness import matrix_products
from reference import ReferenceGaba, ReferenceModel, ReferenceTrainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from grace.core.inner import health_loss
from grace.core.methods import build_method
from grace.core.weighted_mse import moderate_weighted_mse_loss
from grace.data.windows import Batch, WindowSet
from grace.models import DualTaskModel
from grace.training.averaging import weight_average
from grace.training.config import TrainingConfig
from grace.training.step import TrainState, training_step
from grace.training.trainer import make_optimizer as make_optimizer

__all__ = ["FEEDS_PER_CALL", "LOADS_PER_CALL", "PRODUCT_ROWS", "Variants", "build_variants"]

Variants = dict[str, Callable[[], Any]]
FEEDS_PER_CALL, LOADS_PER_CALL = 20, 4
PRODUCT_ROWS = 1024  # of the square product by which the machine's matrix rate is measured
GABA: dict[str, dict[str, Any]] = {
    "GRACE exact": {},
    "GRACE between updates": {"update_every": 1_000_000},  # measures once, in the untimed round
    "GRACE at z": {"site": "feature"},
}


def _autocast(bf16: bool, device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def build_variants(
    windows: WindowSet,
    batch: int,
    precision: str,
    *,
    peers: bool,
    sizes: Mapping[str, Any],
    device: torch.device,
) -> tuple[Variants, dict[str, str]]:
    """Name → what to call, and name → why a peer is missing.

    All steps of ours share one network, optimiser and weight average, as made by the trainer.
    ``sizes`` are options of the network that differ from the reference. On a GPU the windows live
    there; form (a)'s loader reads them from the host's memory, as it would.
    """
    bf16 = precision == "bf16"
    model = DualTaskModel(c_in=windows.n_channels, **sizes).to(device)
    model.rul_head.start_at(float(windows.rul.mean()))
    plain = ReferenceModel(c_in=windows.n_channels, **sizes).to(device)
    plain.load_state_dict(model.state_dict())
    loader = DataLoader(PerSampleWindows(windows), batch, shuffle=True)
    windows = windows.to(device)
    loaded = itertools.chain.from_iterable(itertools.repeat(loader))
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(windows), generator=generator)
    # The data repeats where there is little of it, so that every batch is full.
    order = order.repeat(1 + FEEDS_PER_CALL * batch // len(order))
    indices = list(order.to(device).split(batch))[:FEEDS_PER_CALL]
    supply = itertools.cycle([windows.batch(index) for index in indices[:4]])

    def feed() -> None:
        for index in indices:
            windows.batch(index)

    dtype = torch.bfloat16 if bf16 else torch.float32
    products = matrix_products(dtype, size=PRODUCT_ROWS, device=device)
    trainer = ReferenceTrainer(plain, ReferenceGaba(warmup_steps=0), bf16=bf16)
    variants: Variants = {
        **{f"product {name}": call for name, call in products.items()},
        "form (a)": lambda: trainer.step(*next(supply)[:3]),
        "feed": feed,
        "form (a) feed": lambda: [next(loaded) for _ in range(LOADS_PER_CALL)],
        **_ours(model, lambda: next(supply), bf16),
        **_blocks(model, windows.batch(indices[0]), bf16),
    }
    missing: dict[str, str] = {}
    for name, call in _peers(model, trainer, lambda: next(supply)).items() if peers else ():
        try:
            call()
            variants[name] = call
        except Exception as error:  # a peer that cannot do it is a result, not a failure
            missing[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    return variants, missing


def _ours(model: DualTaskModel, supply: Callable[[], Batch], bf16: bool) -> Variants:
    config = TrainingConfig()
    average = weight_average(model, config.ema_decay)
    methods = {"plain": build_method("amnl")}
    for name, options in GABA.items():
        methods[name] = build_method("grace", outer_options={"warmup_steps": 0, **options})
    optimizer = make_optimizer(model, methods["plain"], config)
    variants: Variants = {}
    for name, method in methods.items():
        state = TrainState(model, method, optimizer, average, config.grad_clip, bf16)
        variants[name] = lambda state=state: training_step(state, supply())  # type: ignore[misc]

    def loss() -> Tensor:
        batch = supply()
        model.train()
        with _autocast(bf16, batch.x.device):
            rul, logits = model(batch.x)
        task = moderate_weighted_mse_loss(rul.float(), batch.rul)
        return 0.5 * task + 0.5 * health_loss(logits.float(), batch.health)

    def forward_backward() -> None:
        model.zero_grad(set_to_none=True)
        loss().backward()

    return {"forward": loss, "forward+backward": forward_backward, **variants}


def _blocks(model: DualTaskModel, batch: Batch, bf16: bool) -> Variants:
    """Forward and one backward of each block of the network, by itself."""

    def both(
        block: nn.Module, apply: Callable[[Tensor], Tensor], given: Tensor
    ) -> Callable[[], Any]:
        def call() -> Any:
            with _autocast(bf16, given.device):
                out = apply(given)
            wanted = [*block.parameters(), *([given] if given.requires_grad else [])]
            return torch.autograd.grad(out, wanted, torch.ones_like(out))

        return call

    model.train()
    with torch.no_grad():
        after_cnn = model.cnn(batch.x)
        after_lstm = model.lstm(after_cnn)
        after_attn = model.attn.last_step(after_lstm)
    for tensor in (after_cnn, after_lstm, after_attn):
        tensor.requires_grad_(True)
    top = nn.ModuleList([model.funnel, model.rul_head, model.health_head])

    def heads(h: Tensor) -> Tensor:
        rul, logits = model.heads(model.funnel(h))
        return rul.float() + logits.float().sum(dim=1)

    return {
        "block cnn": both(model.cnn, model.cnn, batch.x),
        "block lstm": both(model.lstm, model.lstm, after_cnn),
        "block attn": both(model.attn, model.attn.last_step, after_lstm),
        "block funnel+heads": both(top, heads, after_attn),
    }


def _peers(
    model: DualTaskModel, trainer: ReferenceTrainer, supply: Callable[[], Batch]
) -> Variants:
    """TorchJD in fp32. IMTL-G has, for two tasks, the weights of GABA without average and floor."""
    try:
        from torchjd import autojac
        from torchjd.aggregation import IMTLG
    except ImportError:
        return {}
    aggregator = IMTLG()
    ours = ReferenceTrainer(model, ReferenceGaba())  # for its optimiser and average

    def step(
        t: ReferenceTrainer, backward: Callable[[nn.Module, list[Tensor], Tensor], None]
    ) -> None:
        batch = supply()
        network = t.model
        network.train()
        z = network.features(batch.x)
        rul, logits = network.heads(z)
        losses = [
            moderate_weighted_mse_loss(rul, batch.rul),
            health_loss(logits, batch.health),
        ]
        t.optimizer.zero_grad()
        backward(network, losses, z)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        t.optimizer.step()
        assert t.average is not None
        t.average.update_parameters(network)

    def everything(network: nn.Module, losses: list[Tensor], z: Tensor) -> None:
        autojac.backward(losses)
        autojac.jac_to_grad(list(network.parameters()), aggregator)

    def multitask(network: nn.Module, losses: list[Tensor], z: Tensor) -> None:
        autojac.mtl_backward(losses, features=z, parallel_chunk_size=1)
        shared = [p for n, p in network.named_parameters() if "head" not in n.split(".")[0]]
        autojac.jac_to_grad(shared, aggregator)

    return {
        "peer: TorchJD backward": lambda: step(trainer, everything),
        "peer: TorchJD mtl_backward": lambda: step(trainer, multitask),
        "peer: mtl_backward, our network": lambda: step(ours, multitask),
    }
