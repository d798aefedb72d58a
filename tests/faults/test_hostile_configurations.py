"""Any configuration is accepted or refused with one ConfigError, whatever it holds."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from grace.cli.shared import load_config
from grace.data import DataError
from grace.data.plain_values import MAX_DEPTH
from grace.experiments import run_name
from grace.experiments.training_data import load_data
from grace.training import ConfigError, RunConfig
from grace.training.device import resolve_device
from grace.training.memory_estimate import check_fits_in_memory

_VALID = RunConfig.load().model_dump(mode="json")


def _paths(section: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a configuration, sections included."""
    found = []
    for key, value in section.items():
        found.append((*prefix, key))
        if isinstance(value, dict):
            found += _paths(value, (*prefix, key))
    return found


KEYS = [
    *_paths(_VALID),
    ("dataset_options", "seed"),
    ("dataset_options", "n_train"),
    ("dataset_options", "onset"),
    ("dataset_options", "config"),
    ("method", "outer_options", "beta"),
    ("method", "inner_options", "max_rul"),
]
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(min_value=-(2**80), max_value=2**80),
    st.sampled_from([2**31, 2**32, 2**53, 2**63 - 1, 2**63, -(2**63), 10**400]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan]),
)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["FD001", "sim", "meta", "cuda:99", "auto", "fixed:nan", "fixed:-1", "gaba+gaba", "grace"]
    ),
    st.sampled_from(["\ud800", "\0", "\x1b[31m", "<script>", "[bold]", "λ", "a" * 20_000, "1e999"]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.dates(), st.binary(max_size=4))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(TEXTS, NUMBERS), inner, max_size=3)
    ),
    max_leaves=6,
)
CHANGES = st.lists(st.tuples(st.sampled_from(KEYS), VALUES), min_size=1, max_size=4)
LINES = st.lists(
    st.one_of(
        st.sampled_from([".".join(path) for path in KEYS]).flatmap(
            lambda key: TEXTS.map(lambda text: f"{key}={text}")
        ),
        st.sampled_from([".".join(path) for path in KEYS]).flatmap(
            lambda key: NUMBERS.map(lambda number: f"{key}={number}")
        ),
        st.sampled_from(
            [
                "=1", ".=1", "training..lr=1", "training=&a [*a]", "training=&a {b: *a}",
                "a=" + "[" * 999,
                ".".join(["a"] * 999) + "=1", "seed=0x" + "f" * 99, "seed=" + "9" * 5000,
                "seed=!!binary x",
                "seed=2020-13-45", "training.lr={<<: 3}", "training.lr=.inf", "seed.x=1", "seed",
                "training.lr=!!python/name:os.system", "dataset_options=!!set {1, 2}",
            ]
        ),
    ),
    min_size=1,
    max_size=3,
)  # fmt: skip
YAML_TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="&*a{}[]:,-<>!|%@ \n\"'?#1", max_size=40),
    st.builds("{}: {}".format, st.sampled_from(list(_VALID)), st.text(max_size=30)),
)


def put(changes: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """A configuration with some values replaced."""
    result: dict[str, Any] = {}
    for path, value in changes:
        section = result
        for key in path[:-1]:
            inner = section.get(key)
            if not isinstance(inner, dict):
                inner = section[key] = {}
            section = inner
        section[path[-1]] = value
    return result


def usable(config: RunConfig) -> None:
    """What a run does with a configuration before data is read: all of it must work."""
    text = config.to_yaml()
    assert RunConfig.model_validate(yaml.safe_load(text)) == config
    assert len(config.fingerprint()) == 64
    run_name(config).encode()
    for check in (
        lambda: resolve_device(config.training.device),
        lambda: check_fits_in_memory(config, n_windows=20_000, n_channels=20),
    ):
        try:
            check()
        except ConfigError as error:
            one_message(error)


def one_message(error: Exception) -> None:
    text = str(error)
    assert text
    assert len(text) < 5000
    text.encode()


def as_mapping(changes: list[tuple[tuple[str, ...], Any]]) -> None:
    try:
        config = RunConfig.load(overrides=put(changes))
    except ConfigError as error:
        one_message(error)
    else:
        usable(config)


def as_file(text: str, path: Path) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        config = RunConfig.load(file=path)
    except ConfigError as error:
        one_message(error)
    else:
        usable(config)


def as_settings(lines: list[str]) -> None:
    try:
        config = load_config(None, None, lines)
    except ConfigError as error:
        one_message(error)
    else:
        usable(config)


def as_dumped_file(changes: list[tuple[tuple[str, ...], Any]], path: Path) -> None:
    try:
        text = yaml.safe_dump(put(changes), allow_unicode=True)
    except (yaml.YAMLError, UnicodeError, ValueError):
        assume(False)
    as_file(text, path)


# GRACE_TEST_CASES=500 tries as many of each kind.
_CASES = int(os.environ.get("GRACE_TEST_CASES", "80"))
RANDOM = settings(max_examples=_CASES, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configurations") / "config.yaml"


@RANDOM
@given(CHANGES)
def test_a_mapping_is_accepted_or_refused(changes: Any) -> None:
    as_mapping(changes)


@RANDOM
@given(changes=CHANGES)
def test_a_dumped_file_is_accepted_or_refused(path: Path, changes: Any) -> None:
    as_dumped_file(changes, path)


@RANDOM
@given(text=YAML_TEXTS)
def test_any_text_is_accepted_or_refused(path: Path, text: str) -> None:
    as_file(text, path)


@RANDOM
@given(LINES)
def test_settings_are_accepted_or_refused(lines: list[str]) -> None:
    as_settings(lines)


# --- cases that were tracebacks or accepted once ------------------------------------------------


@pytest.mark.parametrize(
    ("path_of_key", "value"),
    [
        (("training", "grad_clip"), math.inf),
        (("training", "lr"), math.nan),
        (("labels", "cap"), math.inf),
        (("labels", "health_thresholds"), [math.nan, 3.0]),
        (("features", "epsilon"), math.inf),
        (("dataset_options", "onset"), [5, math.nan]),
        (("training", "epochs"), 2**70),
        (("windows", "length"), 2**70),
        (("dataset_options", "seed"), 2**70),
        (("features", "sensors"), ["\ud800"]),
        (("method", "outer_options", "x"), object()),
        (("dataset_options", "x"), {1, 2}),
    ],
)
def test_the_key_of_an_impossible_value_is_named(path_of_key: tuple[str, ...], value: Any) -> None:
    with pytest.raises(ConfigError, match=path_of_key[-1]):
        RunConfig.load(overrides=put([(path_of_key, value)]))


@pytest.mark.parametrize(
    "text",
    [
        "dataset_options: " + "[" * 100_000 + "]" * 100_000,
        "dataset_options: " + "{a: " * 300 + "1" + "}" * 300,
        "dataset_options: &a {x: *a}",
        "dataset_options: &a [*a]",
        "seed: 2020-13-45",
        "seed: " + "9" * 5000,
        "x: &a {k: 1}\ny: &b {<<: [" + ", ".join(["*a"] * 200) + "]}\n" * 1 + "seed: .nan",
        "# " + "x" * (2 << 20),
        "a: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + "".join(f"b{i}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9)),
        "a: &a0 {k: 1}\n"
        + "".join(f"b{i}: &a{i + 1} {{<<: [{', '.join([f'*a{i}'] * 9)}]}}\n" for i in range(9)),
    ],
    ids=[
        "deep",
        "deep map",
        "self",
        "self list",
        "date",
        "digits",
        "nan",
        "long",
        "laughs",
        "merge",
    ],
)
def test_yaml_that_exhausts_a_parser_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        RunConfig.load(file=file)


def test_self_reference_in_a_mapping_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["x"] = loop
    with pytest.raises(ConfigError, match=f"more than {MAX_DEPTH} levels"):
        RunConfig.load(overrides={"dataset_options": loop})


@pytest.mark.parametrize("seed", [-1, 2**63, "x", None, 1.5])
def test_seeds_of_the_simulation_are_checked(seed: Any) -> None:
    with pytest.raises(ConfigError, match="seed"):
        load_data(RunConfig.load(overrides={"dataset_options": {"seed": seed}}))


@pytest.mark.parametrize(
    "name", ["meta", "privateuseone", "hpu", "", "\0", "cuda:99", "cuda:" + "9" * 30]
)
def test_devices_that_cannot_train_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="Remedy: --device cpu"):
        resolve_device(name)


@pytest.mark.parametrize(
    "options",
    [{"n_train": 10**12}, {"onset": [0, 10**15]}, {"wear_out": [10, 1e300]}, {"n_test": 2**63 - 1}],
)
def test_a_fleet_too_large_for_memory_is_refused_with_the_estimate(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"at least \S+ GB of memory"):
        load_data(RunConfig.load(overrides={"dataset_options": options}))


@pytest.mark.parametrize(
    "options",
    [
        {"model": {"lstm_hidden": 10**6}},
        {"model": {"lstm_hidden": 10**12}},
        {"model": {"funnel_hidden": [10**9, 10**9]}},
        {"windows": {"length": 10**6}, "training": {"batch_size": 10**9}},
    ],
)
def test_a_network_too_large_for_memory_is_refused_with_the_estimate(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grace.training.memory_estimate.available_memory", lambda: 64e9)
    with pytest.raises(ConfigError, match=r"at least \S+ GB of memory"):
        check_fits_in_memory(RunConfig.load(overrides=options), n_windows=20_000, n_channels=20)


def test_the_reference_network_fits_in_two_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grace.training.memory_estimate.available_memory", lambda: 2e9)
    check_fits_in_memory(RunConfig(), n_windows=20_000, n_channels=20)
