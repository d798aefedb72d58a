"""Frames of text as Markdown and LaTeX tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl
from rich.cells import cell_len

__all__ = ["latex_table", "markdown_rows", "markdown_table"]

# Characters that LaTeX reads as commands, and the minus sign, which not every font has.
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "±": r"$\pm$",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def markdown_table(frame: pl.DataFrame, *, right: Collection[str] = ()) -> str:
    """A frame of text as a Markdown table; null is an empty cell.

    Args:
        frame: columns of text.
        right: columns that are aligned to the right.

    Example:
        >>> frame = pl.DataFrame({"method": ["gaba"], "RMSE": ["9.0"]})
        >>> print(markdown_table(frame, right=["RMSE"]))
        | method | RMSE |
        |--------|-----:|
        | gaba   |  9.0 |
    """
    heads, *rows = _cells(frame)
    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    is_right = [head in right for head in heads]
    rule = [("-" * (w + 1) + (":" if r else "-")) for w, r in zip(widths, is_right, strict=True)]
    lines = [
        " | ".join(
            " " * (w - cell_len(cell)) + cell if r else cell + " " * (w - cell_len(cell))
            for cell, w, r in zip(row, widths, is_right, strict=True)
        )
        for row in (heads, *rows)
    ]
    head, *body = (f"| {line} |" for line in lines)
    return "\n".join([head, f"|{'|'.join(rule)}|", *body])


def latex_table(frame: pl.DataFrame, *, right: Collection[str] = ()) -> str:
    r"""A frame of text as a LaTeX ``tabular`` with the rules of booktabs; null is an empty cell.

    Args:
        frame: columns of text.
        right: columns that are aligned to the right.

    Example:
        >>> print(latex_table(pl.DataFrame({"rmse_raw": ["1.0 ± 0.1"]}), right=["rmse_raw"]))
        \begin{tabular}{r}
        \toprule
        rmse\_raw \\
        \midrule
        1.0 $\pm$ 0.1 \\
        \bottomrule
        \end{tabular}
    """
    head, *body = (" & ".join(map(_escaped, row)) + r" \\" for row in _cells(frame))
    alignment = "".join("r" if c in right else "l" for c in frame.columns)
    return "\n".join(
        [
            f"\\begin{{tabular}}{{{alignment}}}",
            *(r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"),
        ]
    )


def _cells(frame: pl.DataFrame) -> list[list[str]]:
    """Heads and rows as text."""
    return [frame.columns, *(["" if v is None else str(v) for v in row] for row in frame.rows())]


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def markdown_rows(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows of cells as a Markdown table."""
    frame = pl.DataFrame(
        [list(map(str, row)) for row in rows],
        schema=[(head, pl.String) for head in heads],
        orient="row",
    )
    return markdown_table(frame)
