"""What is done to the files of a run: to any file, and to those of a known format."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import load, save

from grace.files import canonical_json, sha256_bytes, sha256_file
from grace.training.checkpoint import save_checkpoint


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def wrong_value(rng: random.Random) -> Any:
    values: list[Any] = [
        None, True, False, 0, -1, 3, 10**30, -(10**400), 2**63, 1e308, -1e308, 5e-324,
        float("nan"), float("inf"), "", "text", "nan", "\x1b[31mred\n\r\x07", "[bold]x[/bold][/]",
        "\ud800", "x" * 100_000, "../../etc/passwd", [], [[]], {}, {"": 1}, [None] * 5, [1, "a"],
        {"a": {"b": {"c": [1]}}}, json.loads(nested(300)), -0.5, 1e200, 100_000, 10**9,
    ]  # fmt: skip
    return rng.choice(values)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a tree of mappings and lists."""
    items: Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list | tuple):
        items = enumerate(value)
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def change(tree: Any, rng: random.Random) -> Any:
    """The tree with one entry replaced, removed or added; or another value altogether."""
    found = [p for p in places(tree) if p]
    if not found or rng.random() < 0.03:
        return wrong_value(rng)
    depth = rng.choice(sorted({len(p) for p in found}))  # few places are near the root
    *parents, last = rng.choice([p for p in found if len(p) == depth])
    holder = tree
    for key in parents:
        holder = holder[key]
    if not isinstance(holder, dict | list):
        return wrong_value(rng)
    action = rng.random()
    if action < 0.2:
        del holder[last]
    elif action < 0.3 and isinstance(holder, dict):
        holder[
            rng.choice(["", "extra", "\x1b[2J", last + "x" if isinstance(last, str) else "k"])
        ] = wrong_value(rng)
    else:
        holder[last] = wrong_value(rng)
    return tree


def resign(folder: Path, *names: str) -> None:
    """Record the digests of changed files, as somebody who edits a run on purpose would."""
    path = folder / "artifact.json"
    with suppress(ValueError, OSError, TypeError, KeyError, AttributeError, RecursionError):
        content = json.loads(path.read_text())
        content.pop("sha256")
        content["files"].update({n: sha256_file(folder / n) for n in names})
        content["sha256"] = sha256_bytes(canonical_json(content))
        path.write_text(json.dumps(content))


# What is done to any file.


def cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) + 1)])


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes() or b"x")
    for _ in range(rng.choice([1, 1, 3, 30])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def noise(path: Path, rng: random.Random) -> None:
    kinds = [
        b"", b"\0" * 100, rng.randbytes(500), b"\xff\xfe" + rng.randbytes(50), b"null", b"[]",
        b"{}", b'"x"', b"1e999", b"NaN", b"PAR1PAR1", b"\x1b[31m\r\n[bold]",
        nested(200_000).encode(), b'{"a":' * 5000, b"9" * 10_000, b"\n" * 1000,
        b"\x80\x04\x95cposix\nsystem\n(S'echo'\ntR.",
    ]  # fmt: skip
    path.write_bytes(rng.choice(kinds))


def insert(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    at = rng.randrange(len(content) + 1)
    path.write_bytes(content[:at] + rng.randbytes(rng.choice([1, 10, 1000])) + content[at:])


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def folder_instead(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / "inside").write_text("x")


def link_instead(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(rng.choice([path.name, "nowhere", "/dev/null", "..", "artifact.json"]))


ANY_FILE: tuple[Callable[[Path, random.Random], None], ...] = (
    cut, flip, noise, insert, remove, folder_instead, link_instead,
)  # fmt: skip


# What is done to a file of a known format.


def change_json(path: Path, rng: random.Random) -> None:
    content = json.loads(path.read_text())
    for _ in range(rng.choice([1, 1, 2, 5])):
        content = change(content, rng)
    path.write_text(json.dumps(content))
    if rng.random() < 0.85:
        resign(path.parent, *([] if path.name == "artifact.json" else [path.name]))


def change_lines(path: Path, rng: random.Random) -> None:
    lines: list[Any] = [json.loads(line) for line in path.read_text().splitlines()]
    for _ in range(rng.choice([1, 3, 10])):
        at = rng.randrange(len(lines))
        lines[at] = change(lines[at], rng)
    rng.random() < 0.2 and rng.shuffle(lines)  # type: ignore[func-returns-value]
    path.write_text("\n".join(json.dumps(line) for line in lines))


def change_table(path: Path, rng: random.Random) -> None:
    frame = pl.read_parquet(io.BytesIO(path.read_bytes()))
    for _ in range(rng.choice([1, 1, 2])):
        frame = _change_frame(frame, rng)
    frame.write_parquet(path)
    resign(path.parent, path.name)


def _change_frame(frame: pl.DataFrame, rng: random.Random) -> pl.DataFrame:
    if not frame.width:
        return frame
    name = rng.choice(frame.columns)
    column = pl.col(name)
    number = rng.choice([float("nan"), float("inf"), -1e300, 1e308, -1.0, 0.0])
    first = pl.int_range(pl.len()) == rng.randrange(max(frame.height, 1))
    changes: list[Callable[[], pl.DataFrame]] = [
        lambda: frame.drop(name),
        lambda: frame.head(rng.choice([0, 1, 2])),
        lambda: frame.with_columns(column.cast(pl.String)),
        lambda: frame.with_columns(pl.lit(None).alias(name)),
        lambda: frame.with_columns(pl.when(first).then(None).otherwise(column).alias(name)),
        lambda: frame.with_columns(pl.when(first).then(number).otherwise(column).alias(name)),
        lambda: frame.with_columns(pl.lit(number).alias(name)),
        lambda: frame.with_columns(pl.lit("\x1b[31m[bold]\n").alias(name)),
        lambda: frame.with_columns(pl.concat_list(column).alias(name)),
        lambda: frame.with_columns(column.cast(pl.Int8, strict=False)),
        lambda: frame.with_columns(pl.lit(rng.randbytes(5)).alias(name)),
        lambda: frame.sample(fraction=1.0, shuffle=True, seed=rng.randrange(99)),
        lambda: pl.concat([frame, frame]),
        lambda: frame.rename({name: name + " "}),
        lambda: frame.with_columns(pl.lit(True).alias(name)),
        lambda: frame.with_columns(pl.lit("2020-01-01").str.to_date().alias(name)),
        lambda: frame.reverse(),
    ]  # fmt: skip
    return rng.choice(changes)()


def change_weights(path: Path, rng: random.Random) -> None:
    tensors = load(path.read_bytes())
    name = rng.choice(sorted(tensors))
    value = tensors[name]
    large = 1e38 if value.is_floating_point() else 10**6
    floats = [k for k, v in tensors.items() if v.is_floating_point()]
    kinds: list[Callable[[], Any]] = [
        lambda: tensors.pop(name),
        lambda: tensors.update({name: value.flatten()[:1].clone()}),
        lambda: tensors.update({name: torch.full_like(value, large)}),
        lambda: tensors.update({name: value.double() * float("nan")}),
        lambda: tensors.update({name: value.to(torch.complex64)}),
        lambda: tensors.update({name: value.bool()}),
        lambda: tensors.update({name + ".extra": value.clone()}),
        lambda: tensors.update({"\x1b[31m": value.clone()}),
        lambda: [tensors.update({k: v.half()}) for k, v in list(tensors.items())],
        lambda: [tensors.update({k: tensors[k] * 1e20}) for k in floats],
        lambda: tensors.clear(),
    ]  # fmt: skip
    rng.choice(kinds)()
    path.write_bytes(save(tensors))
    resign(path.parent, path.name)


def change_checkpoint(path: Path, rng: random.Random) -> None:
    payload = path.read_bytes().partition(b"\n")[2]
    state = torch.load(io.BytesIO(payload), weights_only=True)
    fingerprint = state["fingerprint"]
    for _ in range(rng.choice([1, 1, 2])):
        state = change(state, rng)
    if isinstance(state, dict) and rng.random() < 0.9:
        state["fingerprint"] = fingerprint
    save_checkpoint(path, state)


KNOWN: dict[str, Callable[[Path, random.Random], None]] = {
    ".json": change_json,
    ".jsonl": change_lines,
    ".parquet": change_table,
    ".safetensors": change_weights,
    ".pt": change_checkpoint,
}


FINISHED = (
    "artifact.json", "artifact.json", "metrics.json", "metrics.json", "predictions.parquet",
    "predictions.parquet", "validation_predictions.parquet", "weights.safetensors",
    "history.jsonl", "telemetry.jsonl", ".grace-run.json",
)  # fmt: skip


UNFINISHED = (
    "checkpoint.pt", "checkpoint.pt", "checkpoint.pt", "history.jsonl", "telemetry.jsonl",
    ".grace-run.json",
)  # fmt: skip


def damage(folder: Path, files: tuple[str, ...], rng: random.Random) -> str:
    """Damage one or two files of a run; what was done, in words."""
    done = []
    for name in dict.fromkeys(rng.choices(files, k=rng.choice([1, 1, 1, 2]))):
        path = folder / name
        if not path.is_file():
            continue
        known = KNOWN[path.suffix]
        action = known if rng.random() < 0.6 else rng.choice(ANY_FILE)
        try:
            action(path, rng)
        except (TypeError, ValueError, OSError, pl.exceptions.PolarsError, RecursionError,
                OverflowError, AttributeError, KeyError):  # fmt: skip
            action = noise  # what cannot be written is no threat
            noise(path, rng)
        if rng.random() < 0.3 and action in ANY_FILE and name != "artifact.json" and path.is_file():
            resign(folder, name)
        done.append(f"{name}: {action.__name__}")
    return ", ".join(done)
