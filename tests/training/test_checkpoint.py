"""Checkpoints: whole or not at all, and only for the run they belong to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from grace.training import checkpoint
from grace.training.callbacks import StepEnd
from grace.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from grace.training.history import EpochRecord
from grace.training.jsonl_logger import JSONLLogger, read_jsonl
from grace.training.step import StepLog

STATE = {"fingerprint": "f", "x": torch.arange(5), "nested": {"a": [1.5, None], "b": "text"}}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "checkpoint.pt"
    save_checkpoint(path, STATE)
    state = load_checkpoint(path, fingerprint="f")
    assert torch.equal(state["x"], STATE["x"])
    assert state["nested"] == STATE["nested"]
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("where", ["replace", "fsync", "save"])
def test_a_crash_while_writing_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)

    def crash(*args: object) -> None:
        if where == "save":
            args[1].write(b"half a file")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    owner, name = (checkpoint.torch, "save") if where == "save" else (os, where)
    monkeypatch.setattr(owner, name, crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {**STATE, "x": torch.zeros(1)})
    monkeypatch.undo()
    assert torch.equal(load_checkpoint(path, fingerprint="f")["x"], STATE["x"])
    save_checkpoint(path, {**STATE, "x": torch.ones(1)})  # and the leftovers do not disturb
    assert torch.equal(load_checkpoint(path, fingerprint="f")["x"], torch.ones(1))


def test_the_file_is_on_disk_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b))[1])
    save_checkpoint(tmp_path / "c.pt", STATE)
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder's entry


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, STATE)
    with pytest.raises(CheckpointError, match="another configuration or other data") as caught:
        load_checkpoint(path, fingerprint="g")
    assert "c.pt" in str(caught.value)
    assert "Remedy" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"c\.pt: is damaged"):
        load_checkpoint(path, fingerprint="f")


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> object:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    save_checkpoint(tmp_path / "c.pt", {"fingerprint": "f", "x": Trap()})  # its digest is right
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "c.pt", fingerprint="f")
    assert not (tmp_path / "sprung").exists()


def test_a_log_cut_short_is_read_up_to_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"st')
    assert read_jsonl(path) == [{"step": 0}, {"step": 1}]
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_rewinding_drops_what_will_be_logged_again(tmp_path: Path) -> None:
    (tmp_path / "telemetry.jsonl").write_text(
        "".join(f'{{"step": {i}}}\n' for i in range(7)) + '{"s'
    )
    (tmp_path / "history.jsonl").write_text('{"epoch": 0, "step": 4}\n{"epoch": 1, "step": 8}\n')
    JSONLLogger(tmp_path).rewind(4, [{"epoch": 0, "step": 4}])
    assert [r["step"] for r in read_jsonl(tmp_path / "telemetry.jsonl")] == [0, 1, 2, 3]
    assert read_jsonl(tmp_path / "history.jsonl") == [{"epoch": 0, "step": 4}]


def test_logs_are_json_whatever_the_values(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    one = torch.tensor(1.0)
    diagnostics = {
        "norm_ratio": torch.tensor(float("inf")),
        "task_grad_norms": torch.tensor([3.0, float("nan")]),
    }
    (tmp_path / "telemetry.jsonl").write_text('{"step": 0, "cosine": NaN}\n')  # of an old run
    logger = JSONLLogger(tmp_path)
    logger.rewind(1, [{"epoch": 0, "step": 1, "rmse": {"validation": float("nan")}}])
    log = StepLog(one, torch.ones(2), one, torch.ones(2), diagnostics)
    logger.on_step_end(StepEnd(1, 1, 1, log, logged=True))
    infinite = float("-inf")
    logger.on_epoch_end(EpochRecord(1, 2, 1e-3, infinite, 1.0, 1.0, 1.0, [0.5, 0.5], {}, 0.1))
    for name in ("telemetry.jsonl", "history.jsonl"):
        for line in (tmp_path / name).read_text().splitlines():
            json.loads(line, parse_constant=refuse)
    before, logged = read_jsonl(tmp_path / "telemetry.jsonl")
    assert before == {"step": 0, "cosine": None}
    assert logged["norm_ratio"] is None
    assert logged["task_grad_norms"] == [3.0, None]
    first, second = read_jsonl(tmp_path / "history.jsonl")
    assert first["rmse"] == {"validation": None}
    assert (second["epoch"], second["step"], second["loss"]) == (1, 2, None)
    assert second["weights"] == [0.5, 0.5]
