"""The registry of methods: a method is an inner loss and an outer balancer, found by name.

Names:

* the named cells and their kin: ``baseline, amnl, gaba, grace, uncertainty, gradnorm, dwa``;
* ``fixed:<w>``: RUL weight w, health weight 1 − w, plain MSE; with a third task, it and health
  share 1 − w evenly (``fixed`` alone: all tasks count alike);
* any pair ``<inner>+<outer>``: ``huber+gradnorm``, ``weighted_mse+fixed:0.0477``,
  ``mse+upgrad`` (gradient surgery; extra ``surgery``).
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from grace.core.baselines import (
    DWALoss,
    FixedWeightLoss,
    GradNormLoss,
    LossBalancer,
    UncertaintyLoss,
)
from grace.core.gaba import GABALoss
from grace.core.inner import INNER_LOSSES, InnerLoss, build_inner_loss
from grace.core.surgery import GRADIENT_SURGERY, SurgeryLoss

__all__ = [
    "NAMED_METHODS",
    "OUTER_METHODS",
    "Method",
    "NamedMethod",
    "OuterMethod",
    "build_method",
    "parse_method",
]


def _fixed(argument: str | None = None, *, n_tasks: int = 2, **options: Any) -> LossBalancer:
    """Constant weights; further tasks share evenly what the RUL task leaves."""
    if argument is None:
        if n_tasks > 2 and not options:
            even = 1.0 / n_tasks
            return FixedWeightLoss(even, even, other_weights=(even,) * (n_tasks - 2))
        return FixedWeightLoss(**options)
    try:
        weight = float(argument)
    except ValueError:
        weight = -1.0
    if not 0.0 <= weight <= 1.0:
        raise ValueError(
            f"fixed:{argument}: the RUL weight must be a number in [0, 1], e.g. fixed:0.0477"
        )
    if n_tasks == 2:
        return FixedWeightLoss(weight, 1.0 - weight, **options)
    rest = (1.0 - weight) / (n_tasks - 1)
    return FixedWeightLoss(weight, rest, other_weights=(rest,) * (n_tasks - 2), **options)


@dataclass(frozen=True)
class OuterMethod:
    """How a balancer is made, and one line on what it does.

    Example:
        >>> OUTER_METHODS["fixed"].build("0.1").weights
        tensor([0.1000, 0.9000])
    """

    build: Callable[..., LossBalancer]
    summary: str
    takes_argument: bool = False


OUTER_METHODS: dict[str, OuterMethod] = {
    "fixed": OuterMethod(_fixed, "constant weights; fixed:<w> sets the RUL weight", True),
    "uncertainty": OuterMethod(UncertaintyLoss, "homoscedastic uncertainty (Kendall et al. 2018)"),
    "gradnorm": OuterMethod(GradNormLoss, "gradient normalisation (Chen et al. 2018)"),
    "dwa": OuterMethod(DWALoss, "dynamic weight average (Liu et al. 2019)"),
    "gaba": OuterMethod(GABALoss, "weights counter the ratio of the task gradient norms"),
    **{
        name: OuterMethod(functools.partial(SurgeryLoss, name), summary)
        for name, summary in GRADIENT_SURGERY.items()
    },
}


@dataclass(frozen=True)
class NamedMethod:
    """A pair with a name of its own.

    Example:
        >>> NAMED_METHODS["grace"].inner, NAMED_METHODS["grace"].outer
        ('weighted_mse', 'gaba')
    """

    inner: str
    outer: str
    summary: str


NAMED_METHODS: dict[str, NamedMethod] = {
    "baseline": NamedMethod("mse", "fixed", "plain MSE, fixed 0.5/0.5 (cell A)"),
    "amnl": NamedMethod("weighted_mse", "fixed", "failure-biased MSE, fixed 0.5/0.5 (cell B)"),
    "gaba": NamedMethod("mse", "gaba", "plain MSE, gradient-adaptive balancing (cell C)"),
    "grace": NamedMethod("weighted_mse", "gaba", "failure-biased MSE and GABA (cell D)"),
    "uncertainty": NamedMethod("mse", "uncertainty", "homoscedastic uncertainty, Kendall 2018"),
    "gradnorm": NamedMethod("mse", "gradnorm", "gradient normalisation, Chen 2018, α = 1.5"),
    "dwa": NamedMethod("mse", "dwa", "dynamic weight average, Liu 2019, temperature 2"),
}


def parse_method(name: str) -> tuple[str, str, str | None]:
    """Split a method's name into inner loss, outer balancer and the outer's argument.

    Raises:
        ValueError: the name is not of a known form; the message says what is near it.

    Example:
        >>> parse_method("grace")
        ('weighted_mse', 'gaba', None)
        >>> parse_method("huber+fixed:0.0477")
        ('huber', 'fixed', '0.0477')
    """
    text = name.strip().lower()
    if text in NAMED_METHODS:
        named = NAMED_METHODS[text]
        return named.inner, named.outer, None
    inner, plus, outer = text.partition("+")
    if not plus:
        inner, outer = "mse", text
    outer, colon, argument = outer.partition(":")
    if inner in INNER_LOSSES and outer in OUTER_METHODS:
        if colon and not OUTER_METHODS[outer].takes_argument:
            raise ValueError(f"{name!r}: only 'fixed' takes an argument after a colon")
        return inner, outer, argument if colon else None
    known = [*NAMED_METHODS, *OUTER_METHODS, *INNER_LOSSES]
    wrong = inner if inner not in INNER_LOSSES else outer
    near = difflib.get_close_matches(wrong, known, n=1)
    raise ValueError(
        f"unknown method {name!r}" + (f" (did you mean {near[0]!r}?)" if near else "") + ": use "
        f"{', '.join(NAMED_METHODS)}, fixed:<w>, or <inner>+<outer> with inner from "
        f"{', '.join(INNER_LOSSES)} and outer from {', '.join(OUTER_METHODS)}"
    )


@dataclass(frozen=True, eq=False)
class Method:
    """An inner loss for the RUL task and a balancer for all tasks.

    Example:
        >>> method = build_method("grace", outer_options={"warmup_steps": 10})
        >>> method.inner_name, type(method.outer).__name__
        ('weighted_mse', 'GABALoss')
    """

    name: str
    inner_name: str
    inner: InnerLoss
    outer: LossBalancer
    inner_options: dict[str, Any] = field(default_factory=dict)


def build_method(
    name: str,
    *,
    inner_options: dict[str, Any] | None = None,
    outer_options: dict[str, Any] | None = None,
    n_tasks: int = 2,
) -> Method:
    """Build the method called ``name`` (see the module for the forms a name can take).

    Args:
        name: e.g. ``"grace"``, ``"fixed:0.0477"``, ``"huber+gradnorm"``.
        inner_options: options of the inner loss, e.g. ``{"max_rul": 150.0}``.
        outer_options: options of the balancer, e.g. ``{"beta": 0.999}``.
        n_tasks: number of tasks K that the balancer weighs: RUL, health, and further ones.

    Raises:
        ValueError: the name or an option is unknown or out of range.

    Example:
        >>> method = build_method("weighted_mse+fixed:0.1", inner_options={"max_rul": 150.0})
        >>> method.outer.weights
        tensor([0.1000, 0.9000])
        >>> build_method("grace").outer.n_tasks  # failure-biased MSE, balanced by GABA
        2
    """
    inner, outer, argument = parse_method(name)
    try:
        arguments = () if argument is None else (argument,)
        given: dict[str, Any] = {} if n_tasks == 2 else {"n_tasks": n_tasks}
        balancer = OUTER_METHODS[outer].build(*arguments, **{**given, **(outer_options or {})})
    except TypeError as error:
        raise ValueError(f"outer balancer {outer!r}: {error}") from error
    options = dict(inner_options or {})
    return Method(name, inner, build_inner_loss(inner, **options), balancer, options)
