"""A table for terminals of any width: names and numbers are never cut."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

__all__ = ["FittingTable"]

_NAME_WIDTH = 16
_WRAPPED_WIDTHS = (24, 48)  # least and largest width of a wrapped column
_OPTIONS = re.compile(r" \((.+)\)$")
# Where a name may go on in the next line: before the options, before + and after a comma.
_BREAK = re.compile(r" (?=\()|(?=\+)|(?<=,) | (?=\w)")


@dataclass(frozen=True)
class FittingTable:
    """A table that changes its layout where the terminal is too narrow for it.

    Names of methods are whole in every layout. In this order: the heads take two lines; names take
    several lines, at natural places; options of methods are written below the table; columns are
    left out, which is reported; names are folded. With ``one_line``, columns are left out before
    names take several lines, and options stay in their row.

    Args:
        heads: of the columns.
        sections: rows of cells; a line separates the sections.
        title: above the table.
        name_column: index of the column of names.
        left: indices of further columns of text; the others are aligned to the right.
        wrapped: index of a column of long text, which takes several lines; None: there is none.
        optional: indices of columns that may be left out, the first one first.
        one_line: keep names and their options in one line as long as possible.
        box_: lines of the table; None: no lines.
    """

    heads: Sequence[str]
    sections: Sequence[Sequence[Sequence[str]]]
    title: str = ""
    name_column: int = 0
    left: frozenset[int] = frozenset()
    wrapped: int | None = None
    optional: Sequence[int] = ()
    one_line: bool = False
    box_: box.Box | None = field(default=box.SIMPLE_HEAD)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        unlimited = options.update(max_width=10_000)
        for columns, style in self._layouts():
            table, legend = self._table(columns, style)
            needed = Measurement.get(console, unlimited, table).minimum
            if needed <= options.max_width:
                break
        else:  # lines longer than the terminal; to cut numbers would be worse
            table.width = needed
        if self.title:
            yield Text(self.title, style="table.title")
        yield table
        for line in legend:
            yield Text(line, style="dim")
        if len(columns) < len(self.heads):
            left = ", ".join(h for i, h in enumerate(self.heads) if i not in columns)
            yield Text(f"Columns left out, because the terminal is too narrow: {left}", style="dim")

    def _layouts(self) -> Iterator[tuple[list[int], str]]:
        """Columns and style of the names, the best layout first."""
        every = list(range(len(self.heads)))
        yield every, "one line"
        styles = ("two-line heads", "several lines", "legend", "narrow")
        for style in styles[:1] if self.one_line else styles:
            yield every, style
        kept = every
        for dropped in range(1, len(self.optional) + 1):
            kept = [i for i in every if i not in self.optional[:dropped]]
            for style in styles[:1] if self.one_line else styles[-2:]:
                yield kept, style
        yield kept, "several lines" if self.one_line else "folded"

    def _table(self, columns: Sequence[int], style: str) -> tuple[Table, list[str]]:
        rows = [[list(row) for row in section] for section in self.sections]
        legend = self._write(rows, style)
        heads = [h if style == "one line" else _two_lines(h) for h in self.heads]
        table = Table(
            box=self.box_, show_edge=False, pad_edge=False, collapse_padding=self.box_ is not None,
        )  # fmt: skip
        flat = [heads, *(row for section in rows for row in section)]
        for i in columns:
            width = max(len(line) for row in flat for line in row[i].split("\n"))
            is_name = i == self.name_column
            if i == self.wrapped:
                narrow, wide = (min(width, limit) for limit in _WRAPPED_WIDTHS)
                table.add_column(heads[i], min_width=narrow, max_width=wide, overflow="fold")
            elif is_name and style == "folded":
                table.add_column(heads[i], min_width=min(_NAME_WIDTH, width), overflow="fold")
            else:
                justify = "left" if is_name or i in self.left else "right"
                table.add_column(heads[i], min_width=width, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for section in rows:
            for row in section:
                table.add_row(*(escape(row[i]) for i in columns))
            table.add_section()
        return table, legend

    def _write(self, rows: list[list[list[str]]], style: str) -> list[str]:
        """Write the names of ``rows`` in a style; returns the lines below the table."""
        letters: dict[str, str] = {}
        if style in ("one line", "two-line heads"):
            return []
        names = [row[self.name_column] for section in rows for row in section]
        if style in ("legend", "narrow", "folded"):
            options = dict.fromkeys(m[1] for m in map(_OPTIONS.search, names) if m)
            if len(options) <= len(string.ascii_lowercase):
                letters = dict(zip(options, string.ascii_lowercase, strict=False))
        short = {n: _OPTIONS.sub(lambda m: f" ({letters.get(m[1], m[1])})", n) for n in names}
        if style != "folded":
            widest = max((len(p) for n in short.values() for p in _parts(n)), default=0)
            width = widest if style == "narrow" else max(widest, _NAME_WIDTH)
            short = {n: _several_lines(s, width) for n, s in short.items()}
        for section in rows:
            for row in section:
                row[self.name_column] = short[row[self.name_column]]
        return [f"({letter}) {text}" for text, letter in letters.items()]


def _parts(name: str) -> list[str]:
    """Pieces of a name that stay in one line."""
    return [part for part in _BREAK.split(name) if part]


def _several_lines(name: str, width: int) -> str:
    lines = [""]
    rest = name
    for part in _parts(name):
        gap = " " if rest.startswith(" ") else ""
        rest = rest[len(gap) + len(part) :]
        if lines[-1] and len(lines[-1]) + len(gap) + len(part) > width:
            lines.append(part)
        else:
            lines[-1] += gap + part
    return "\n".join(lines)


def _two_lines(head: str) -> str:
    """A head broken at the space that makes it narrowest."""
    spaces = [m.start() for m in re.finditer(" ", head)]
    if not spaces or len(head) <= _NAME_WIDTH // 2:
        return head
    best = min(spaces, key=lambda k: max(k, len(head) - k - 1))
    return f"{head[:best]}\n{head[best + 1 :]}"
