"""Results of many runs in one SQLite file: scores, predictions at the last row, task weights."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import polars as pl

from grace.experiments.predictions_file import read_predictions
from grace.experiments.run_artifact import read_run_artifact
from grace.experiments.table import run_rows
from grace.files import atomic_writer
from grace.prediction.artifact import ArtifactError
from grace.training.jsonl_logger import read_jsonl

__all__ = ["EXPORTED", "STORE_NAME", "ResultsStore", "open_results"]

STORE_NAME = "results.sqlite"
EXPORTED = ("scores.csv", "predictions.parquet", "weights.parquet")
"""Files of an export."""
_VERSION = 1
_TABLES = ("scores", "predictions", "weights")
# Text and whole numbers; every other column of ``scores`` is REAL.
_TEXT = (
    *("run", "folder", "dataset", "method", "preset", "settings", "mark", "group", "protocol"),
    *("version", "code", "data_train", "data_test", "device", "precision", "recorded"),
)
_WHOLE = ("seed", "epochs", "threads")
_REMEDY = (
    "Remedy: give the folder of a grid, its results.sqlite, a folder written by `grace results "
    "export`, or a new file to which `grace results add` writes the runs again."
)
_OTHER = "rul_validation_selected"  # column of predictions.parquet in a test-selected run
_PREDICTIONS: dict[str, Any] = {
    "run": pl.String,
    "unit": pl.String,
    "rul_true": pl.Float64,
    "rul_true_capped": pl.Float64,
    "rul": pl.Float64,
}
_WEIGHTS: dict[str, Any] = {
    "run": pl.String,
    "epoch": pl.Int64,
    "step": pl.Int64,
    "weights": pl.List(pl.Float64),
}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (
  run TEXT NOT NULL, protocol TEXT NOT NULL, dataset TEXT NOT NULL, method TEXT NOT NULL,
  seed INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (run, protocol)
) STRICT;
CREATE TABLE IF NOT EXISTS predictions (
  run TEXT NOT NULL, protocol TEXT NOT NULL, unit TEXT NOT NULL,
  rul_true REAL, rul_true_capped REAL, rul REAL NOT NULL, PRIMARY KEY (run, protocol, unit)
) STRICT;
CREATE TABLE IF NOT EXISTS weights (
  run TEXT NOT NULL, epoch INTEGER NOT NULL, step INTEGER NOT NULL, weights TEXT NOT NULL,
  PRIMARY KEY (run, epoch)
) STRICT;
"""


class ResultsStore:
    """Every finished run of one or more grids, queryable.

    A run is known by its fingerprint (configuration and data) and number of threads, so adding it
    again replaces it. A test-selected run gives two rows of scores: ``protocol`` is ``test`` for
    the checkpoint with the best test RMSE, ``validation`` for the checkpoint of the same training
    that the validation units selected.

    Args:
        path: SQLite file, created if it does not exist.
        read_only: open an existing store without any change to the file; nothing can be added.

    Raises:
        ArtifactError: the file is no results store, or of another version.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with ResultsStore(Path(folder.name) / "results.sqlite") as store:
        ...     store.scores().height
        0
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._db = _connect(self.path, read_only=read_only)
        try:
            with closing(self._db.execute("PRAGMA user_version")) as cursor:
                (version,) = cursor.fetchone()
            names = {n for (n,) in self._db.execute("SELECT name FROM sqlite_master").fetchall()}
            if version != _VERSION and (read_only or version or names):
                what = f"a results store of version {version}, not {_VERSION}"
                raise ArtifactError(
                    f"{self.path}: {what if version and 'scores' in names else 'no results store'}."
                    f" {_REMEDY}"
                )
            if version != _VERSION:  # writes, which an open store of a running grid does not need
                self._db.executescript(_SCHEMA)
                self._db.execute(f"PRAGMA user_version = {_VERSION}")
            elif "scores" not in names:
                raise ArtifactError(f"{self.path}: no results store. {_REMEDY}")
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise ArtifactError(
                f"{self.path}: cannot be read as a results store ({error}). {_REMEDY}"
            ) from error
        except ArtifactError:
            self._db.close()
            raise

    def __enter__(self) -> ResultsStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, folder: str | Path) -> str:
        """Add a finished run, or replace it; returns its name in the store.

        Raises:
            ArtifactError: the folder holds no finished run.
        """
        folder = Path(folder)
        content = read_run_artifact(folder, needed=("fingerprint", "data_hash"))
        made = content["provenance"]
        rows = run_rows(folder)
        # Threads can change the last digits of a sum, and with them a whole training.
        run = f"{made['fingerprint'][:16]}-t{rows[0]['threads']}"
        frame = read_predictions(folder / "predictions.parquet")
        frame = frame.group_by("unit", maintain_order=True).last()
        with self._db:
            for table in _TABLES:
                self._db.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
            for row in rows:
                protocol = "test" if row["mark"] else "validation"
                values = {
                    **row,
                    "run": run,
                    "folder": folder.name,
                    "protocol": protocol,
                    "version": content["grace"],
                    "data_train": made["data_hash"]["train"],
                    "data_test": made["data_hash"]["test"],
                    "recorded": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                }
                self._insert("scores", [
                    (run, protocol, row["dataset"], row["method"], row["seed"], json.dumps(values))
                ])  # fmt: skip
                column = "rul" if len(rows) == 1 or protocol == "test" else _OTHER
                if column in frame.columns:
                    named = frame.select(
                        pl.lit(run),
                        pl.lit(protocol).alias("protocol"),
                        pl.col("unit").cast(pl.String),
                        *(pl.col(c).fill_nan(None) for c in ("rul_true", "rul_true_capped")),
                        pl.col(column).cast(pl.Float64).alias("value"),
                    )
                    self._insert("predictions", named.rows())
            self._insert("weights", list(_epoch_weights(run, folder / "history.jsonl")))
        return run

    def merge(self, other: ResultsStore) -> tuple[int, int]:
        """Add the runs of another store; a run that is in both is replaced by the other's.

        Returns:
            How many runs are new, and how many were replaced.
        """
        known = {run for (run,) in self._db.execute("SELECT DISTINCT run FROM scores")}
        theirs = {run for (run,) in other._db.execute("SELECT DISTINCT run FROM scores")}
        with self._db:
            for table in _TABLES:
                self._db.executemany(
                    f"DELETE FROM {table} WHERE run = ?", [(run,) for run in theirs]
                )
                self._insert(
                    table, other._db.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
                )
        return len(theirs - known), len(theirs & known)

    def subset(self, scores: pl.DataFrame) -> ResultsStore:
        """A store in memory with some rows of :meth:`scores`, their predictions and task weights.

        Args:
            scores: the rows to keep, by their columns ``run`` and ``protocol``.
        """
        kept = scores.select("run", "protocol").unique(maintain_order=True).rows()
        runs = [(run,) for run in dict.fromkeys(run for run, _ in kept)]
        other = ResultsStore(":memory:")
        with other._db:
            for table in _TABLES:
                both = table != "weights"  # these are of the training, whatever the protocol
                query = f"SELECT * FROM {table} WHERE run = ?{' AND protocol = ?' if both else ''}"
                for key in kept if both else runs:
                    other._insert(table, self._db.execute(query, key).fetchall())
        return other

    def scores(
        self,
        *,
        protocol: str | None = None,
        dataset: Sequence[str] = (),
        method: Sequence[str] = (),
        seed: Sequence[int] = (),
    ) -> pl.DataFrame:
        """One row per run and protocol, with the columns of :func:`grace.experiments.runs_table`.

        Further columns: ``protocol``, ``version`` of the package, ``data_train`` and ``data_test``
        (SHA-256 of the data) and ``recorded`` (UTC). Rows are ordered by dataset, method, seed.

        Args:
            protocol: ``validation`` or ``test``; None: both.
            dataset: names to keep; empty: all.
            method: names to keep; empty: all.
            seed: seeds to keep; empty: all.
        """
        parts, values = ["1"], list[Any]()
        for column, wanted in (
            ("protocol", [] if protocol is None else [protocol]),
            ("dataset", list(dataset)),
            ("method", list(method)),
            ("seed", list(seed)),
        ):
            if wanted:
                parts.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted
        query = f"SELECT row FROM scores WHERE {' AND '.join(parts)} ORDER BY dataset, method, seed"
        rows = [json.loads(text) for (text,) in self._db.execute(query, values)]
        return _typed(pl.from_dicts(rows, infer_schema_length=None)) if rows else pl.DataFrame()

    def predictions(self, protocol: str) -> pl.DataFrame:
        """Predictions at each test unit's last row: run, unit, rul_true, rul_true_capped, rul."""
        query = (
            "SELECT run, unit, rul_true, rul_true_capped, rul FROM predictions "
            "WHERE protocol = ? ORDER BY rowid"
        )
        rows = self._db.execute(query, (protocol,)).fetchall()
        return pl.DataFrame(rows, schema=_PREDICTIONS, orient="row")

    def weights(self) -> pl.DataFrame:
        """Task weights at the end of each epoch: run, epoch, step, weights (K values)."""
        query = "SELECT run, epoch, step, weights FROM weights ORDER BY run, epoch"
        rows = [(r, e, s, json.loads(w)) for r, e, s, w in self._db.execute(query)]
        return pl.DataFrame(rows, schema=_WEIGHTS, orient="row")

    def export(self, folder: str | Path) -> list[Path]:
        """Write ``scores.csv``, ``predictions.parquet`` and ``weights.parquet``; returns the paths.

        :meth:`read_export` gives the same store again.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name for name in EXPORTED]
        both = [
            self.predictions(p).with_columns(protocol=pl.lit(p)) for p in ("test", "validation")
        ]
        with atomic_writer(paths[0]) as file:
            self.scores().drop("folder").write_csv(file)
        with atomic_writer(paths[1]) as file:
            pl.concat(both).write_parquet(file, compression="zstd")
        with atomic_writer(paths[2]) as file:
            self.weights().write_parquet(file, compression="zstd")
        return paths

    @classmethod
    def read_export(cls, folder: str | Path, path: str | Path = ":memory:") -> ResultsStore:
        """A store from the files of :meth:`export`.

        Args:
            folder: with the three files.
            path: of the new store.

        Raises:
            ArtifactError: a file is missing or lacks a column.
        """
        folder = Path(folder)
        try:
            scores = _typed(pl.read_csv(folder / "scores.csv", infer_schema=False, glob=False))
            predictions = pl.read_parquet(folder / "predictions.parquet", glob=False)
            weights = pl.read_parquet(folder / "weights.parquet", glob=False)
            store = cls(path)
            with store._db:
                for row in scores.iter_rows(named=True):
                    keys = [row[c] for c in ("run", "protocol", "dataset", "method", "seed")]
                    text = json.dumps({**row, "folder": ""})
                    store._insert("scores", [(*keys, text)])
                columns = ("run", "protocol", *list(_PREDICTIONS)[1:])
                store._insert("predictions", predictions.select(columns).rows())
                store._insert(
                    "weights",
                    [
                        (r, e, s, json.dumps(w))
                        for r, e, s, w in weights.select(list(_WEIGHTS)).rows()
                    ],
                )
        except (OSError, pl.exceptions.PolarsError, KeyError) as error:
            raise ArtifactError(
                f"{folder}: not an export of results ({error}). Remedy: give the folder that "
                "`grace results export` wrote."
            ) from error
        return store

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)


def open_results(place: Path) -> ResultsStore | None:
    """The store in a file, in the folder of a grid or in an export, for reading; None without one.

    Raises:
        ArtifactError: a file of it cannot be read, or the file is no results store.
    """
    if place.is_file():
        return ResultsStore(place, read_only=True)
    if (place / STORE_NAME).is_file():
        return ResultsStore(place / STORE_NAME, read_only=True)
    if (place / EXPORTED[0]).is_file():
        return ResultsStore.read_export(place)
    return None


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    target = str(path)
    if read_only:
        # After a writer was killed, SQLite has to undo its last transaction before it can read.
        mode = "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"
        target = f"{path.resolve().as_uri()}?mode={mode}"
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return sqlite3.connect(target, uri=read_only, timeout=30.0)
    except sqlite3.OperationalError as error:
        raise ArtifactError(f"{path}: cannot be opened ({error}). {_REMEDY}") from error


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    kinds = {c: pl.String for c in _TEXT} | {c: pl.Int64 for c in _WHOLE}
    if "code" not in frame.columns:  # all runs are of versions that did not record it
        frame = frame.with_columns(code=pl.lit(None, pl.String))
    return frame.with_columns(pl.col(c).cast(kinds.get(c, pl.Float64)) for c in frame.columns)


def _epoch_weights(run: str, history: Path) -> Iterator[tuple[str, int, int, str]]:
    """Task weights by epoch; epochs of a damaged log are left out."""
    for record in read_jsonl(history):
        epoch, step, weights = (record.get(k) for k in ("epoch", "step", "weights"))
        if isinstance(epoch, int) and isinstance(step, int) and isinstance(weights, list):
            yield run, epoch, step, json.dumps(weights)
