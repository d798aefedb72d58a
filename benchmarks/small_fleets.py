"""Rules that combine candidates, compared on fleets of 6 to 20 units.

    python benchmarks/small_fleets.py fit --store runs/small_fleets   # continues where it stopped
    python benchmarks/small_fleets.py rules --store runs/small_fleets

``fit`` draws small fleets from fleets of nine kinds and fits all candidates but the network on each
(the network would take hours and gets little weight with so few units). It keeps the out-of-fold
predictions, and predictions of up to 40 other units of the same kind by candidates fitted on the
whole small fleet. ``rules`` combines them by several rules and compares each with the best single
candidate, which is chosen with hindsight on the units that the figure is about.

Results go to ``benchmarks/results/small_fleets.json``; ``docs/any_fleet.md`` shows them.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from document import markdown

RESULTS = Path(__file__).parent / "results" / "small_fleets.json"
NAMES = ("constant", "median_life", "group_median_life", "age_only", "linear", "boosting",
         "boosting_log", "similarity")  # fmt: skip
KINDS = ("valves", "FD001", "cutters", "sim", "bearings_all", "cells", "FD003", "fuses",
         "compressors")  # fmt: skip
SIZES, DRAWS = (6, 10, 14, 20), 6
ALLOWED = 1.02
PRESENT = "errors, with the prior (`RULModel`)"
Array = np.ndarray


def fit_one(tag: str, train: Any, rest: Any, seed: int, store: Path) -> None:
    """Out-of-fold table of ``train``, and predictions of its candidates for ``rest``."""
    from grace import RULModel
    from grace.candidates import evaluation_rows, fit_each, predict_each
    from grace.data.labels import capped_rul

    model = RULModel(seed=seed, candidates=list(NAMES)).fit(train)
    assert model.oof_ is not None
    names = [e.name for e in model.stack_.errors_]
    fitted = fit_each(names, train, model.labels_, seed=seed)
    rows = evaluation_rows(rest, per_unit=5, seed=1)
    found = predict_each(fitted, rest, rows)
    owner = np.repeat(np.arange(rest.n_units), rest.lengths())[rows]
    labels = capped_rul(rest, model.labels_)[rows]
    model.oof_.write_parquet(store / f"{tag}.oof.parquet")
    pl.DataFrame({"unit": owner, "rul_capped": labels, **found}).write_parquet(
        store / f"{tag}.parquet"
    )


def fit(store: Path) -> None:
    """Fill the store."""
    from fleets import training_units

    from grace.data import DataError

    store.mkdir(parents=True, exist_ok=True)
    for draw in range(DRAWS):
        for kind in KINDS:
            fleet = training_units(kind, draw)
            for size in SIZES:
                tag = f"{kind}-{size}-{draw}"
                if size > fleet.n_units - 3 or (store / f"{tag}.parquet").exists():
                    continue
                ids = list(fleet.unit_ids)
                np.random.default_rng([draw, size]).shuffle(ids)
                few, rest = fleet.select(ids[:size]), fleet.select(ids[size : size + 40])
                try:
                    fit_one(tag, few, rest, draw, store)
                except DataError as error:  # fewer than two of these units failed
                    print(f"{tag}: left out, {error}", flush=True)
                else:
                    print(tag, flush=True)


def per_unit_products(x: Array, y: Array, w: Array, unit: Array) -> Array:
    """Mean products of the candidates' errors, unit by unit: (U, F, F)."""
    gap = x - y[:, None]
    found = np.zeros((unit.max() + 1, x.shape[1], x.shape[1]))
    np.add.at(found, unit, w[:, None, None] * gap[:, :, None] * gap[:, None, :])
    return found[np.trace(found, axis1=1, axis2=2) > 0]


def bagged(x: Array, y: Array, w: Array, unit: Array, prior: Array) -> Array:
    """Mean of least-squares weights, with a small penalty towards the prior, over 100 draws.

    Units are drawn by the Bayesian bootstrap: D. B. Rubin, Annals of Statistics 9, 1981.
    """
    from scipy.optimize import nnls

    products = per_unit_products(x, y, w, unit)
    products = products / np.diag(products.mean(axis=0)).min()
    first, size = prior / prior.sum(), x.shape[1]
    total = np.zeros(size)
    for draw in np.random.default_rng(0).dirichlet(np.ones(len(products)), 100):
        c = np.tensordot(draw, products, 1)
        root = np.linalg.cholesky(c + 0.1 * np.eye(size)).T
        scale = 1e3 * np.sqrt(np.trace(c) / size)  # makes the sum 1
        target = np.linalg.solve(root.T, 0.1 * first)
        found, _ = nnls(np.vstack([root, np.full(size, scale)]), np.append(target, scale))
        total += found / found.sum()
    return total / total.sum()


def pseudo_bma(x: Array, y: Array, w: Array, unit: Array, prior: Array) -> Array:
    """Prior times the likelihood of the errors, one normal error per unit, mean over 400 draws.

    After pseudo-BMA+: Y. Yao, A. Vehtari, D. Simpson, A. Gelman,
    Bayesian Analysis 13, 2018.
    """
    products = per_unit_products(x, y, w, unit)
    draws = np.random.default_rng(0).dirichlet(np.ones(len(products)), 400)
    error = draws @ np.diagonal(products, axis1=1, axis2=2)
    log = -0.5 * len(products) * np.log(error) + np.log(prior)
    likelihood = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray((likelihood / likelihood.sum(axis=1, keepdims=True)).mean(axis=0))


def rules() -> dict[str, Callable[..., Array]]:
    """Weights (F,) from predictions (M, F), labels (M,), row weights, unit numbers and prior."""
    from grace.candidates.weights import error_weights, least_squares_weights, only_best

    return {
        PRESENT: error_weights,
        "errors, uniform prior": lambda x, y, w, u, prior: error_weights(x, y, w, u),
        "pseudo-BMA+, with the prior": pseudo_bma,
        "least squares over bootstrap draws, with the prior": bagged,
        "least squares": least_squares_weights,
        "the candidate with the least error": only_best,
        "the prior": lambda x, y, w, u, prior: prior / prior.sum(),
    }


def tables(store: Path) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
    """Tag, out-of-fold rows and rows of new units with known labels, of each small fleet."""
    for path in sorted(store.glob("*.oof.parquet")):
        tag = path.name.removesuffix(".oof.parquet")
        new = pl.read_parquet(store / f"{tag}.parquet")
        oof = pl.read_parquet(path).filter(pl.col("rul_capped").is_not_null())
        yield tag, oof, new.filter(pl.col("rul_capped").is_finite())


def ratios(oof: pl.DataFrame, new: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """RMSE of each rule over that of the best candidate: out of fold, and on new units."""
    from grace.candidates import priors
    from grace.candidates.stack import MIN_UNITS
    from grace.candidates.weights import only_best

    names = [n for n in NAMES if n in oof.columns and n in new.columns]
    prior = priors(names)
    x, y = oof.select(names).to_numpy(), oof["rul_capped"].to_numpy()
    w, fold = oof["weight"].to_numpy(), oof["fold"].to_numpy()
    unit = oof["unit"].rank("dense").to_numpy().astype(np.int64) - 1
    best = np.sqrt((w @ (x - y[:, None]) ** 2).min() / w.sum())
    nx, ny = new.select(names).to_numpy(), new["rul_capped"].to_numpy()
    best_new = np.sqrt(np.mean((nx - ny[:, None]) ** 2, axis=0)).min()
    found = {}
    for name, rule in rules().items():
        if name == PRESENT and unit.max() + 1 < MIN_UNITS:
            rule = only_best
        held = np.empty(len(y))
        for k in np.unique(fold):
            kept, out = fold != k, fold == k
            number = np.unique(unit[kept], return_inverse=True)[1]
            held[out] = x[out] @ rule(x[kept], y[kept], w[kept], number, prior)
        error = np.sqrt(w @ (held - y) ** 2 / w.sum())
        error_new = np.sqrt(np.mean((nx @ rule(x, y, w, unit, prior) - ny) ** 2))
        found[name] = (float(error / best), float(error_new / best_new))
    return found


def to_first(each: dict[str, dict[str, tuple[float, float]]], rule: str) -> list[float]:
    """RMSE of a rule over that of the first one on new units: mean and 95% interval.

    The geometric mean over the fleets. Fleets of one kind and draw share units, so the bootstrap
    draws such groups.
    """
    groups: dict[tuple[str, str], list[float]] = {}
    for tag, found in each.items():
        kind, _, draw = tag.rsplit("-", 2)
        value = np.log(found[rule][1] / found[PRESENT][1])
        groups.setdefault((kind, draw), []).append(value)
    total = np.array([[sum(v), len(v)] for v in groups.values()])
    rng = np.random.default_rng(0)
    drawn = total[rng.integers(len(total), size=(4000, len(total)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    mean = total[:, 0].sum() / total[:, 1].sum()
    return [round(float(np.exp(v)), 4) for v in (mean, low, high)]


def compare(store: Path) -> None:
    """Write the results of all rules."""
    each = {tag: ratios(oof, new) for tag, oof, new in tables(store)}
    if not each:
        raise SystemExit(f"{store}: no fleets. Remedy: run the fit command first.")

    def mean(values: Array) -> list[float]:
        return [round(float(v), 4) for v in np.exp(np.log(values).mean(axis=0))]

    def of(rule: str, keep: Callable[[list[str]], bool]) -> dict[str, Any]:
        values = np.array([found[rule] for tag, found in each.items() if keep(tag.rsplit("-", 2))])
        within = [round(float(v), 3) for v in (values <= ALLOWED).mean(axis=0)]
        return {"fleets": len(values), "ratio": mean(values), "within": within}

    content = {
        "fleets": len(each),
        "kinds": sorted({tag.rsplit("-", 2)[0] for tag in each}),
        "allowed": ALLOWED,
        "rules": {
            rule: {**of(rule, lambda tag: True), "to_first": to_first(each, rule)}
            for rule in rules()
        },
        "by_units": {
            str(size): of(PRESENT, lambda tag, size=size: tag[1] == str(size)) for size in SIZES
        },
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    RESULTS.write_text(text, encoding="utf-8")
    print("\n".join(section(content)))


def section(content: dict[str, Any]) -> list[str]:
    """The part of docs/any_fleet.md on few units."""
    rows = [
        (
            name,
            *(f"{value:.3f}" for value in found["ratio"]),
            *(f"{value:.0%}" for value in found["within"]),
            "–" if name == PRESENT else "{:.3f} ({:.3f} to {:.3f})".format(*found["to_first"]),
        )
        for name, found in content["rules"].items()
    ]
    limit = content["allowed"]
    heads = ("ratio, out of fold", "ratio, new units", f"≤ {limit}, out of fold",
             f"≤ {limit}, new units")  # fmt: skip
    sizes = [
        (n, str(found["fleets"]), *(f"{value:.3f}" for value in found["ratio"]))
        for n, found in content["by_units"].items()
    ]
    return [
        "## With 6 to 20 units",
        "",
        "Which rule should combine the candidates when units are few? "
        f"{content['fleets']} fleets of {min(SIZES)} to {max(SIZES)} units, failed or still "
        f"running, were drawn from fleets of {len(content['kinds'])} kinds "
        f"({', '.join(content['kinds'])}), and all candidates but the network fitted on each. "
        "*New units* are up to 40 others of the same kind, at five moments each. The ratio is the "
        "RMSE of the combination over that of the best single candidate, which is chosen with "
        "hindsight on the same rows. The table gives the geometric mean over the fleets, the share "
        f"of fleets with a ratio of at most {limit}, and the RMSE on new units over that of the "
        "first rule, with a 95% bootstrap interval over groups of one kind and draw. Pseudo-BMA+ "
        "is a variant of the rule of Yao, Vehtari, Simpson and Gelman (2018). Figures: "
        "`python benchmarks/small_fleets.py rules`.",
        "",
        *markdown(("rule", *heads, "to the first rule, new units"), rows),
        "",
        "The prior was chosen on these fleets. The first rule by number of units:",
        "",
        *markdown(("units", "fleets", *heads[:2]), sizes),
        "",
        "The out-of-fold errors of so few units do not identify the best candidate: choosing the "
        "one with the least error gives larger errors than weighting the candidates by their "
        f"errors. No rule has a ratio of at most {limit} on every fleet.",
    ]


def main() -> None:
    """Fit the fleets, or compare the rules."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=("fit", "rules"))
    parser.add_argument("--store", type=Path, default=Path("runs/small_fleets"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.command == "fit":
        fit(args.store)
    else:
        compare(args.store)


if __name__ == "__main__":
    main()
