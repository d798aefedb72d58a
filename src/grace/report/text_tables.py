"""Frames of text as Markdown and LaTeX tables."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

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


def markdown_table(frame: pl.DataFrame) -> str:
    """A frame of text as a Markdown table."""
    with pl.Config(
        tbl_formatting="ASCII_MARKDOWN",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=-1,
        fmt_str_lengths=10_000,
    ):
        return str(frame)


def latex_table(frame: pl.DataFrame) -> str:
    r"""A frame of text as a LaTeX ``tabular``; null is an empty cell.

    Example:
        >>> print(latex_table(pl.DataFrame({"rmse_raw": ["1.0 ± 0.1"]})))
        \begin{tabular}{l}
        \hline
        rmse\_raw \\
        \hline
        1.0 $\pm$ 0.1 \\
        \hline
        \end{tabular}
    """
    rows = [frame.columns, *(["" if v is None else str(v) for v in row] for row in frame.rows())]
    head, *body = (" & ".join(map(_escaped, row)) + r" \\" for row in rows)
    return "\n".join(
        [
            f"\\begin{{tabular}}{{{'l' * frame.width}}}",
            *(r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}"),
        ]
    )


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
