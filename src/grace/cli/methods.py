"""``grace methods``: the names that ``--method`` accepts."""

from __future__ import annotations

from rich.table import Table

from grace.cli.shared import out


def methods() -> None:
    """List the methods: named pairs, inner losses and outer balancers."""
    from grace.core.inner import INNER_LOSSES
    from grace.core.methods import NAMED_METHODS, OUTER_METHODS

    named = Table("name", "inner", "outer", "description", title="Named methods")
    for name, method in NAMED_METHODS.items():
        named.add_row(name, method.inner, method.outer, method.summary)
    inner = Table("inner loss", "description", title="Inner axis: weights of samples")
    for name, function in INNER_LOSSES.items():
        inner.add_row(name, (function.__doc__ or "").splitlines()[0].replace("``", ""))
    outer = Table("outer balancer", "description", title="Outer axis: weights of tasks")
    for name, outer_method in OUTER_METHODS.items():
        outer.add_row(name, outer_method.summary)
    for table in (named, inner, outer):
        out.print(table)
    out.print("Any pair can be used: --method huber+gradnorm, --method weighted_mse+fixed:0.0477")
