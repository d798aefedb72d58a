"""The configuration: one object from Python and YAML, checked at the door."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from grace.data.labels import LabelConfig
from grace.training.config import RunConfig, deep_merge
from grace.training.errors import ConfigError, explain_validation
from grace.training.presets import PRESETS, Preset


def own(
    name: str, inner: dict[str, Any] | None = None, outer: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"name": name, "inner_options": inner or {}, "outer_options": outer or {}}


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets_are_valid_and_say_what_they_are_for(preset: str) -> None:
    config = RunConfig.load(preset=preset)
    assert config.preset == preset
    assert PRESETS[preset].summary
    model = config.model.build(c_in=14, num_classes=config.labels.n_classes)
    config.method.build(config.labels.cap)
    assert model.c_in == 14


def test_the_paper_preset_is_the_published_setting() -> None:
    config = RunConfig.load(preset="paper")
    t = config.training
    assert (t.optimizer, t.lr, t.weight_decay, t.grad_clip) == ("adamw", 1e-3, 1e-4, 1.0)
    assert (t.warmup_epochs, t.warmup_factor, t.epochs, t.ema_decay) == (10, 0.1, 500, 0.999)
    assert (t.plateau_factor, t.plateau_patience, t.min_lr) == (0.5, 30, 5e-6)
    assert (config.windows.length, config.windows.stride, config.windows.min_history) == (
        30,
        1,
        None,
    )
    assert (config.labels.cap, config.labels.health_thresholds) == (125.0, (80.0, 30.0))
    assert config.select_on == "validation"
    f = config.features
    assert not (f.age)
    assert not (f.baseline_deviation)
    assert not (f.ewm_alphas)
    assert not (f.use_settings)
    assert not (f.clip)
    model = config.model.build(14, 3)
    assert sum(p.numel() for p in model.parameters()) == 3_496_900


@given(
    st.fixed_dictionaries(
        {
            "dataset": st.sampled_from(["sim", "FD001"]),
            "seed": st.integers(0, 10**9),
            "method": st.fixed_dictionaries(
                {"name": st.sampled_from(["grace", "fixed:0.0477", "huber+gradnorm"])}
            ),
            "training": st.fixed_dictionaries(
                {
                    "lr": st.floats(1e-9, 1.0),
                    "grad_clip": st.one_of(st.none(), st.floats(0.01, 10)),
                    "epochs": st.integers(1, 1000),
                }
            ),
            "features": st.fixed_dictionaries(
                {"ewm_alphas": st.lists(st.floats(0.01, 1.0), max_size=3).map(tuple)}
            ),
        }
    ),
    st.sampled_from(list(PRESETS)),
)
@settings(max_examples=30)
def test_yaml_round_trip(values: dict[str, object], preset: str) -> None:
    import tempfile

    config = RunConfig.load(preset=preset, overrides=values)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_text(config.to_yaml(), encoding="utf-8")
        again = RunConfig.load(file=path)
    assert again == config
    assert again.fingerprint() == config.fingerprint()
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_later_layers_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"training": {"batch_size": 128, "epochs": 5, "lr": 0.1}}
    monkeypatch.setitem(PRESETS, "fast", Preset("for this test", own))
    file = tmp_path / "c.yaml"
    file.write_text("preset: fast\nseed: 7\ntraining: {epochs: 33, lr: 0.01}\n")
    config = RunConfig.load(file=file, overrides={"training": {"lr": 0.5}})
    assert config.training.lr == 0.5  # override over file
    assert config.training.epochs == 33  # file over preset
    assert config.training.batch_size == 128  # preset over default
    assert config.training.weight_decay == 1e-4  # default
    assert (config.seed, config.preset) == (7, "fast")
    assert RunConfig.load(preset="paper", file=file).preset == "paper"
    assert RunConfig.load(preset="paper", file=file).training.batch_size == 256
    assert RunConfig.load().preset == "fast"


def test_merging_leaves_its_arguments_alone() -> None:
    base, over = {"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3, "z": 4}, "c": 5}
    assert deep_merge(base, over) == {"a": {"x": 1, "y": 3, "z": 4}, "b": 1, "c": 5}
    assert (base, over["a"]) == ({"a": {"x": 1, "y": 2}, "b": 1}, {"y": 3, "z": 4})


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"sed": 1}, "unknown key 'sed'"),
        ({"training": {"epoch": 3}}, "unknown key 'training.epoch'"),
        ({"features": {"agee": True}}, "unknown key 'features.agee'"),
        ({"training": {"lr": -1.0}}, "training.lr = -1.0"),
        ({"training": {"lr": "fast"}}, "training.lr = 'fast'"),
        ({"validation_fraction": 1.0}, "validation_fraction = 1.0"),
        ({"select_on": "train"}, "select_on = 'train'"),
        ({"method": {"name": "grce"}}, "did you mean 'grace'"),
        ({"labels": {"cap": 50.0, "health_thresholds": [80.0, 30.0]}}, "class 0 would be empty"),
        ({"preset": "quick"}, "unknown preset 'quick'"),
        ({"preset": ["fast"]}, "unknown preset ['fast']"),
        (
            {"model": {"num_heads": 7, "lstm_hidden": 12}},
            "model: num_heads = 7 must divide 2 · lstm_hidden = 24: choose num_heads from "
            "1, 2, 3, 4, 6, 8, 12, or another lstm_hidden",
        ),
        (
            {"model": {"conv_channels": []}},
            "model.conv_channels = []: Tuple should have at least 1",
        ),
        (
            {"model": {"conv_channels": [8, 0]}},
            "model.conv_channels.1 = 0: Input should be greater",
        ),
        ({"model": {"funnel_hidden": [-8]}}, "model.funnel_hidden.0 = -8: Input should be greater"),
        ({"features": {"n_conditions": 0}}, "features.n_conditions = 0: it must be 1 or more"),
        ({"features": {"ewm_alphas": [0.1, 0]}}, "each α must lie in (0, 1]"),
        ({"features": {"ewm_alphas": [1.5]}}, "features.ewm_alphas = [1.5]: each α must lie"),
        ({"features": {"sensors": []}}, "features.sensors = []: name at least one sensor"),
        ({"features": {"sensors": ["a", "a"]}}, "a sensor is named twice"),
        ({"seed": 2**32}, "seed = 4294967296: Input should be less than 4294967296"),
        ({"method": own("mse+fixed", outer={"other_weights": [1]})}, "3 tasks, not of 2"),
        ({"method": own("mse+gaba", outer={"n_tasks": 3})}, "3 tasks, not of 2"),
        ({"method": own("quantile+gaba", {"q": 2})}, "method: inner loss 'quantile': q=2 is no"),
        ({"method": own("grace", {"max_rul": 0})}, "max_rul=0 must be a positive number"),
        ({"method": own("grace", {"max_rul": "x"})}, "max_rul='x' must be a positive number"),
        ({"method": own("huber+gaba", {"delta": 0})}, "delta=0 must be a positive number"),
        ({"method": own("nasa+gaba", {"max_error": 0})}, "max_error=0 must be a positive number"),
    ],
)
def test_what_cannot_be_used_is_named(overrides: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.load(overrides=overrides)
    assert named in str(caught.value)
    assert "pydantic.dev" not in str(caught.value)
    assert "Value error" not in str(caught.value)


def test_inner_options_are_checked_where_the_balancers_extra_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    RunConfig.load(overrides={"method": own("huber+cagrad", {"delta": 1})})
    with pytest.raises(ConfigError, match="delta=0"):
        RunConfig.load(overrides={"method": own("huber+cagrad", {"delta": 0})})


def test_a_funnel_may_be_one_layer() -> None:
    config = RunConfig.load(preset="fast", overrides={"model": {"funnel_hidden": []}})
    rul, _ = config.model.build(c_in=3, num_classes=3)(torch.zeros(2, 5, 3))
    assert rul.shape == (2,)


def test_any_validation_error_can_be_told_in_plain_lines() -> None:
    with pytest.raises(ValidationError) as caught:
        LabelConfig.model_validate({"cap": -1, "caps": 2})
    assert explain_validation(caught.value, "labels") == (
        "labels: cap = -1: Input should be greater than 0\nlabels: unknown key 'caps'"
    )
    assert explain_validation(caught.value, hint="see there").endswith("'caps'; see there")
    with pytest.raises(ValidationError) as caught:
        LabelConfig(cap=50, health_thresholds=(80.0, 30.0))
    assert explain_validation(caught.value) == (
        "health threshold 80.0 is not below cap 50.0: class 0 would be empty"
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [("a: [", "not valid YAML"), ("- 1\n- 2\n", "expected keys and values, found list"),
     ("sed: 1\n", "unknown key 'sed'")],
)  # fmt: skip
def test_a_bad_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        RunConfig.load(file=file)
    assert named in str(caught.value)
    assert "c.yaml" in str(caught.value)
    with pytest.raises(ConfigError, match="no such configuration file"):
        RunConfig.load(file=tmp_path / "none.yaml")


def test_what_is_no_text_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path.name}: cannot be read"):
        RunConfig.load(file=tmp_path)
    file = tmp_path / "c.yaml"
    file.write_bytes("seed: 1 # Größe".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"c\.yaml: not a text file in UTF-8"):
        RunConfig.load(file=file)


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("")
    assert RunConfig.load(file=file) == RunConfig.load()


def test_a_configuration_cannot_be_changed_behind_its_back() -> None:
    config = RunConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


def test_fingerprints_tell_configurations_apart() -> None:
    prints = {
        RunConfig.load(overrides=o).fingerprint()
        for o in ({}, {"seed": 1}, {"training": {"lr": 7e-4}}, {"method": {"name": "amnl"}})
    }
    assert len(prints) == 4


def test_the_schedule_counts_and_the_default_is_as_before_there_was_a_choice() -> None:
    plain = RunConfig().fingerprint()
    cosine = RunConfig.model_validate({"training": {"schedule": "cosine"}})
    assert cosine.fingerprint() != plain
    without = RunConfig().model_dump_json(
        exclude={
            "preset": True,
            "survival": True,
            "training": {"log_every", "eval_batch_size", "checkpoint_every", "schedule"},
        }
    )
    assert hashlib.sha256(without.encode()).hexdigest() == plain


def test_what_cannot_change_the_result_leaves_the_fingerprint_alone() -> None:
    quiet = {"log_every": 7, "eval_batch_size": 3, "checkpoint_every": 9}
    plain = RunConfig().fingerprint()
    assert RunConfig.model_validate({"preset": "x", "training": quiet}).fingerprint() == plain
    for training in ({"device": "cuda"}, {"diagnose_every": 1}, {"epochs": 3}):
        assert RunConfig.model_validate({"training": training}).fingerprint() != plain


def test_the_failure_bias_begins_at_the_cap_of_the_labels() -> None:
    config = RunConfig.load(
        overrides={"labels": {"cap": 60, "health_thresholds": [40, 10]}, "method": {"name": "amnl"}}
    )
    loss = config.method.build(config.labels.cap).inner
    assert loss(torch.tensor([61.0]), torch.tensor([60.0])).item() == pytest.approx(1.0)
    own = RunConfig.load(
        overrides={"method": {"name": "amnl", "inner_options": {"max_rul": 120.0}}}
    )
    loss = own.method.build(60.0).inner
    assert loss(torch.tensor([61.0]), torch.tensor([60.0])).item() == pytest.approx(1.5)


def test_yaml_is_plain(tmp_path: Path) -> None:
    overrides = {"features": {"ewm_alphas": (0.1, 0.03)}}
    content = yaml.safe_load(RunConfig.load(overrides=overrides).to_yaml())
    assert content["features"]["ewm_alphas"] == [0.1, 0.03]
    assert list(content)[:2] == ["dataset", "dataset_options"]
