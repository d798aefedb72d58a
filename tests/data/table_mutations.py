"""A small table of histories and a thousand ways to damage its file."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable

Cells = list[list[str]]
HEADER = ["pump", "when", "load", "temp", "flow", "failed"]


def healthy(rng: random.Random) -> Cells:
    """Header and rows of four pumps, three of which fail."""
    rows = [list(HEADER)]
    for unit in range(4):
        length = rng.randint(4, 12)
        for i in range(length):
            dead = int(unit < 3 and i == length - 1)
            temp, flow = rng.gauss(60.0, 3.0) + i, rng.gauss(1200.0, 40.0)
            cells = [f"P{unit}", str(i), str(unit % 2), f"{temp:.3f}", f"{flow:.2f}", str(dead)]
            rows.append(cells)
    return rows


def _column(rng: random.Random, rows: Cells) -> int:
    return rng.randrange(max(len(rows[0]), 1))


def drop_column(rng: random.Random, rows: Cells) -> Cells:
    at = _column(rng, rows)
    return [r[:at] + r[at + 1 :] for r in rows]


def swap_columns(rng: random.Random, rows: Cells) -> Cells:
    a, b = _column(rng, rows), _column(rng, rows)
    for row in rows[1:]:
        if max(a, b) < len(row):
            row[a], row[b] = row[b], row[a]
    return rows


def retype_column(rng: random.Random, rows: Cells) -> Cells:
    at = _column(rng, rows)
    makers: list[Callable[[], str]] = [
        lambda: rng.choice(["on", "off", "idle"]),
        lambda: rng.choice(["TRUE", "false", "yes"]),
        lambda: f"2024-0{rng.randint(1, 9)}-{rng.randint(1, 28):02d}",
        lambda: "1e200",
        lambda: str(rng.randint(-(2**70), 2**70)),
        lambda: "[1, 2]",
        lambda: "",
    ]
    make = rng.choice(makers)
    for row in rows[1:]:
        if at < len(row):
            row[at] = make()
    return rows


def storm_of_missing(rng: random.Random, rows: Cells) -> Cells:
    share, mark = rng.choice([0.05, 0.5, 0.95, 1.0]), rng.choice(["", "NaN", "n/a", "-999", "?"])
    return [rows[0], *([mark if rng.random() < share else c for c in r] for r in rows[1:])]


def odd_cells(rng: random.Random, rows: Cells) -> Cells:
    odd = ["inf", "-inf", "1e30", "1e200", "1e999", "4294967295", "abc", '"', "'", "é\u00a0µ", "\t"]
    for _ in range(rng.randint(1, 12)):
        row = rng.choice(rows)
        if row:
            row[rng.randrange(len(row))] = rng.choice(odd)
    return rows


def decimal_commas(rng: random.Random, rows: Cells) -> Cells:
    return [rows[0], *([c.replace(".", ",") for c in r] for r in rows[1:])]


def thousands(rng: random.Random, rows: Cells) -> Cells:
    mark = rng.choice([",", ".", " ", "\u202f", "'"])
    return [rows[0], *([c[:-3] + mark + c[-3:] if len(c) > 4 else c for c in r] for r in rows[1:])]


def shuffle_rows(rng: random.Random, rows: Cells) -> Cells:
    body = rows[1:]
    rng.shuffle(body)
    return [rows[0], *body]


def duplicate_units(rng: random.Random, rows: Cells) -> Cells:
    copy = [list(r) for r in rows[1:] if r and r[0] == f"P{rng.randrange(4)}"]
    if rng.random() < 0.5:
        for row in copy:
            row[0] = row[0].lower() + " "
    return rows + copy


def timestamps(rng: random.Random, rows: Cells) -> Cells:
    style = rng.choice(
        [
            "2024-10-27T{h:02d}:30:00",
            "2024-10-27T{h:02d}:30:00Z",
            "2024-10-27 {h:02d}:30:00+0{z}:00",
            "27.10.2024 {h:02d}:30",
            "10/{h}/2024",
            "2024-03-31 {h:02d}:30",
            "{h:02d}:30",
        ]
    )
    for row in rows[1:]:
        if len(row) > 1:
            digits = "".join(ch for ch in row[1] if ch.isdigit())
            row[1] = style.format(h=int(digits or 0) % 24, z=rng.randint(0, 3))
    return rows


def rename_columns(rng: random.Random, rows: Cells) -> Cells:
    at = _column(rng, rows)
    rows[0][at] = rng.choice(["", "temp", "unit", "failed", "rul_at_end", " pump ", "Ä", "\0file"])
    return rows


def ragged(rng: random.Random, rows: Cells) -> Cells:
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(rows))
        rows[at] = rows[at] + ["9"] * rng.randint(1, 3) if rng.random() < 0.5 else rows[at][:-1]
    return rows


def few_rows(rng: random.Random, rows: Cells) -> Cells:
    return rows[: rng.randint(0, 4)]


CELL_MUTATIONS = (
    drop_column, swap_columns, retype_column, storm_of_missing, odd_cells, decimal_commas,
    thousands, shuffle_rows, duplicate_units, timestamps, rename_columns, ragged, few_rows,
)  # fmt: skip


def damaged_file(seed: int) -> bytes:
    """The file of one seed: up to three damages of the cells, then of their encoding."""
    rng = random.Random(seed)
    rows = healthy(rng)
    for mutate in rng.choices(CELL_MUTATIONS, k=rng.randint(0, 3)):
        if rows and rows[0]:
            rows = mutate(rng, rows)
    separator = rng.choice([",", ";", "\t", "|", " "])
    text = rng.choice(["\n", "\r\n", "\r"]).join(separator.join(r) for r in rows)
    raw = text.encode(
        rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252"]),
        errors="replace",
    )
    damage = rng.random()
    if damage < 0.1:
        raw = raw[: rng.randint(0, len(raw))]
    elif damage < 0.15:
        raw = gzip.compress(raw)[: rng.choice([-1, None, 10])]
    elif damage < 0.2:
        raw = bytes(rng.randrange(256) for _ in range(200)) + raw
    elif damage < 0.25:
        raw = rng.choice([b"PAR1", b"ARROW1", b"PK\x03\x04", b"\x1f\x8b"]) + raw
    return raw
