"""Predictions of a partitioned table, one file at a time, on this machine or on a Ray cluster."""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from grace._version import __version__
from grace.data.errors import DataError
from grace.data.table.issue_log import IssueLog
from grace.data.table.parts import TableFiles
from grace.data.table.sources import find_files
from grace.estimator import RULModel
from grace.estimator.scoring import predict_file
from grace.experiments.ray_engine import ATTEMPTS, check_nodes, connected, thread_limits
from grace.experiments.user_message import user_message
from grace.files import atomic_writer, read_json, sha256_file, write_json

__all__ = ["Partition", "PartitionEvent", "predict_partitions"]

_RECORD = "predictions.json"
_POLL = 0.2  # seconds
_CHUNK = 1_000_000  # identifiers read at a time


class Partition(NamedTuple):
    """A file of the table, with what is needed to predict it anywhere."""

    name: str
    file: Path
    output: Path
    model: Path
    root: Path
    every_row: bool
    coverage: float
    chunk_rows: int | None


class PartitionEvent(NamedTuple):
    """``kind`` is "finished", "already finished", "failed" or "again" (its worker was lost)."""

    name: str
    kind: str
    text: str = ""
    rows: int = 0


def predict_partitions(
    model: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    engine: str = "local",
    every_row: bool = False,
    coverage: float = 0.9,
    chunk_rows: int | None = None,
    parallel: int | None = None,
    threads: int = 1,
    on_event: Callable[[PartitionEvent], None] | None = None,
) -> list[PartitionEvent]:
    """Predict every file of a folder of Parquet files into a file of its own.

    Every file must hold whole units. A file that is done is not repeated: ``predictions.json`` in
    the output folder records the digests of model, input and output. On a cluster all nodes must
    see the folders under the same paths; a file whose worker is lost is given to another one, at
    most three times in all. Files and numbers are the same with both engines.

    Args:
        model: folder of a model trained on a table.
        source: folder of Parquet files, also partitioned into folders, or a pattern.
        output: folder for one Parquet file per partition; or a ``.parquet`` file that joins them,
            next to which the parts are kept until all are done.
        engine: ``local``, or ``ray`` (extra ``ray``): the cluster that ``RAY_ADDRESS`` names,
            else one started on this machine.
        every_row: one prediction per row instead of per unit.
        coverage: of the intervals.
        chunk_rows: rows held at a time; None chooses by memory.
        parallel: with ray: most files at the same time.
        threads: with ray: threads of each file.
        on_event: called with everything that happens.

    Returns:
        How each partition ended, in the order of the files.

    Raises:
        DataError: there is no such file, a file is no Parquet, or a unit is in two files.
        ConfigError: Ray is not installed, or no node has so many threads.
        WorkerError: a node does not see the folder, or has another version of grace.
        ValueError: the engine is unknown.
    """
    if engine not in ("local", "ray"):
        raise ValueError(f"engine={engine!r} is unknown: choose local or ray")
    model, output, root = Path(model).absolute(), Path(output).absolute(), Path(source).absolute()
    joined = output if output.suffix == ".parquet" else None
    folder = output.with_name(f".{output.name}.partitions") if joined else output
    loaded = _load(model, _digest(model))
    files = [f.absolute() for f in find_files(source, IssueLog(source))]
    base = root if root.is_dir() else _common(files)
    tasks = [
        Partition(
            f.relative_to(base).as_posix(), f,
            (folder / f.relative_to(base)).with_suffix(".parquet"), model, base,
            every_row, coverage, chunk_rows,
        )
        for f in files
    ]  # fmt: skip
    _check_files(tasks, loaded)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "grace": __version__, "model": _digest(model), "every_row": every_row, "coverage": coverage,
    }  # fmt: skip
    record = _read_record(folder, settings)
    ended: dict[str, PartitionEvent] = {}

    def end(event: PartitionEvent, task: Partition) -> None:
        if event.kind == "finished":
            record[task.name] = {
                "input": sha256_file(task.file),
                "output": sha256_file(task.output),
                "rows": event.rows,
            }
            write_json(folder / _RECORD, {"settings": settings, "partitions": record})
        if event.kind != "again":
            ended[task.name] = event
        if on_event:
            on_event(event)

    waiting = []
    for task in tasks:
        if _is_done(task, record.get(task.name)):
            rows = int(record[task.name]["rows"])
            end(PartitionEvent(task.name, "already finished", rows=rows), task)
        else:
            waiting.append(task)
    if waiting:
        run = _on_ray if engine == "ray" else _here
        for event, task in run(waiting, parallel, threads):
            end(event, task)
    outcome = [ended[task.name] for task in tasks]
    if joined and not any(e.kind == "failed" for e in outcome):
        _join([task.output for task in tasks], joined, folder)
    return outcome


def _digest(model: Path) -> str:
    """Of the artifact file, which holds the digests of all others."""
    file = model / "artifact.json"
    return sha256_file(file) if file.is_file() else ""


@lru_cache(maxsize=1)
def _load(model: Path, digest: str) -> RULModel:
    """A model is read once per process, and again when it was trained again."""
    return RULModel.load(model)


def _common(files: Sequence[Path]) -> Path:
    """The folder above all files."""
    parents = [set(f.parents) for f in files]
    return max(set.intersection(*parents), key=lambda p: len(p.parts))


def _check_files(tasks: Sequence[Partition], model: RULModel) -> None:
    """Refuse what would be wrong in the result: other formats, and units in two files."""
    schema = model._learned.table_schema
    if schema is None:
        raise DataError(
            "the model was fitted on a Fleet, so the roles of a table's columns are not known.",
            remedy="train it with `grace train --data`.",
        )
    owner: dict[str, str] = {}
    for task in tasks:
        if task.file.suffix.lower() not in (".parquet", ".pq"):
            raise DataError(
                "the file is no Parquet, and an engine predicts Parquet files only.",
                source=task.file,
                remedy="convert it, or leave out --engine.",
            )
        table = TableFiles.open(task.file, schema, root=task.root)
        if schema.unit not in table.columns:
            raise DataError(
                f"there is no column {schema.unit!r}.", source=task.file,
                remedy="check the names of the columns, or the schema of the model.",
            )  # fmt: skip
        for chunk in table.chunks(_CHUNK, [schema.unit]):
            for unit in chunk[schema.unit].drop_nulls().unique().cast(pl.String).to_list():
                if owner.setdefault(unit, task.name) != task.name:
                    raise DataError(
                        f"unit {unit} has rows in {owner[unit]} and in {task.name}.",
                        source=task.root,
                        remedy="write the rows of a unit to one file, or leave out --engine, "
                        "which gathers them.",
                    )


def _read_record(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Partitions that were finished with the same model and settings."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = read_json(folder / _RECORD)
        if content["settings"] == settings:
            return dict(content["partitions"])
    return {}


def _is_done(task: Partition, entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and task.output.is_file()
        and entry.get("input") == sha256_file(task.file)
        and entry.get("output") == sha256_file(task.output)
    )


def _do(task: Partition) -> PartitionEvent:
    """Predict one file; the same function here and on a cluster."""
    try:
        model = _load(task.model, _digest(task.model))
        done = predict_file(
            model, task.file, task.output, every_row=task.every_row, coverage=task.coverage,
            chunk_rows=task.chunk_rows, root=task.root,
        )  # fmt: skip
    except Exception as error:  # of one file; the others go on
        text = user_message(error) or f"{type(error).__name__}: {error}"
        return PartitionEvent(task.name, "failed", text)
    return PartitionEvent(task.name, "finished", rows=done.rows)


def _here(
    tasks: Sequence[Partition], parallel: int | None, threads: int
) -> Iterator[tuple[PartitionEvent, Partition]]:
    for task in tasks:
        yield _do(task), task


def _remote(task: Partition, threads: int) -> PartitionEvent:
    import torch

    torch.set_num_threads(threads)
    return _do(task)


def _on_ray(
    tasks: Sequence[Partition], parallel: int | None, threads: int
) -> Iterator[tuple[PartitionEvent, Partition]]:
    with connected() as ray:
        folder = tasks[0].output.parents[len(Path(tasks[0].name).parts) - 1]
        check_nodes(ray, folder, threads, 0.0)
        remote = ray.remote(
            num_cpus=threads,
            max_retries=0,  # lost files are submitted again here, where it can be reported
            runtime_env={"env_vars": thread_limits(threads)},
        )(_remote)
        waiting, running, losses = deque(tasks), dict[Any, Partition](), Counter[str]()
        try:
            while waiting or running:
                while waiting and (parallel is None or len(running) < parallel):
                    task = waiting.popleft()
                    running[remote.remote(task, threads)] = task
                done, _ = ray.wait(list(running), num_returns=1, timeout=_POLL)
                for reference in done:
                    task = running.pop(reference)
                    try:
                        yield ray.get(reference), task
                    except ray.exceptions.RayError as error:
                        losses[task.name] += 1
                        why = f"its worker was lost ({type(error).__name__})"
                        if losses[task.name] < ATTEMPTS:
                            waiting.append(task)
                            yield PartitionEvent(task.name, "again", f"{why}; started again"), task
                        else:
                            text = f"{why} {ATTEMPTS} times"
                            yield PartitionEvent(task.name, "failed", text), task
        finally:
            for reference in running:
                with suppress(Exception):
                    ray.cancel(reference, force=True)


def _join(parts: Sequence[Path], output: Path, folder: Path) -> None:
    """One file of all partitions in their order; the parts are removed."""
    whole = folder / ".whole.parquet"
    scans = [pl.scan_parquet(part, glob=False) for part in parts]
    pl.concat(scans, how="vertical_relaxed").sink_parquet(whole)
    with atomic_writer(output) as file, whole.open("rb") as joined:
        shutil.copyfileobj(joined, file)
    shutil.rmtree(folder)
