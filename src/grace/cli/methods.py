"""``grace methods``: what can be named where a method is asked for."""

from __future__ import annotations

from rich.table import Table

from grace.cli.shared import out


def methods() -> None:
    """List the methods: named pairs, inner losses, outer balancers."""
    from grace.core.inner import INNER_LOSSES
    from grace.core.methods import NAMED_METHODS, OUTER_METHODS

    named = Table("name", "inner", "outer", "what it is", title="Named methods")
    for name, method in NAMED_METHODS.items():
        named.add_row(name, method.inner, method.outer, method.summary)
    inner = Table("inner loss", "what it is", title="Inner axis: how samples are weighed")
    for name, function in INNER_LOSSES.items():
        inner.add_row(name, (function.__doc__ or "").splitlines()[0])
    outer = Table("outer method", "what it is", title="Outer axis: how tasks are weighed")
    for name, outer_method in OUTER_METHODS.items():
        outer.add_row(name, outer_method.summary)
    for table in (named, inner, outer):
        out.print(table)
    out.print("Any pair works: --method huber+gradnorm, --method weighted_mse+fixed:0.0477")
