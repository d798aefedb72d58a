"""Sentences of the benchmark page, each computed from a results store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, median

from grace.evaluation import FriedmanNemenyi
from grace.evaluation.comparison import MIN_SEEDS
from grace.experiments.benchmark import Cell, Gap, PublishedRow
from grace.experiments.benchmark_tests import FACTORIAL, Effect, Pair, detectable
from grace.experiments.weight_floor import FLOOR, FloorRow
from grace.formatting import count, interval, number, p_value, percent, signed

__all__ = [
    "METRIC_NAMES",
    "decided_sentence",
    "decided_sentences",
    "effect_sentences",
    "family_text",
    "floor_sentence",
    "listed",
    "optimism_sentence",
    "power_sentences",
    "published_sentences",
    "rank_text",
    "unit_interval_sentence",
]

METRIC_NAMES = {
    "rmse_capped": "RMSE",
    "nasa_capped": "NASA score",
    "rmse_raw": "RMSE with raw labels",
}
_QUESTIONS = {
    "balancing": (
        "Does balancing matter?",
        "GABA instead of fixed 0.5/0.5 weights changes",
    ),
    "failure-biased loss": (
        "Does the failure-biased loss matter?",
        "The failure-biased instead of the plain loss changes",
    ),
    "interaction": (
        "Do the two interact?",
        "The interaction (D − C) − (B − A) changes",
    ),
}


def listed(parts: Iterable[str]) -> str:
    """Parts as a list in a sentence: a, b and c."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def family_text(effects: Sequence[Effect]) -> str:
    """The family of Holm's correction of the effects, with its size."""
    tested = [e for e in effects if e.p_holm is not None]
    parts = [
        count(len({e.dataset for e in tested}), "dataset"),
        count(len({e.name for e in tested}), "effect"),
        count(len({e.metric for e in tested}), "metric"),
    ]
    size = tested[0].family if tested else 0
    return f"one family of {count(size, 'test')} ({' × '.join(parts)})"


def effect_sentences(effects: Sequence[Effect]) -> list[str]:
    """An answer per question, over all metrics and datasets."""
    if not effects:
        missing = ", ".join(FACTORIAL.values())
        return [f"The effects of balancing and loss need runs of {missing} with common seeds."]
    return [_answer(name, effects) for name in dict.fromkeys(e.name for e in effects)]


def _answer(name: str, effects: Sequence[Effect]) -> str:
    question, what = _QUESTIONS[name]
    mine = [e for e in effects if e.name == name]
    parts = []
    for metric in dict.fromkeys(e.metric for e in mine):
        means = sorted(e.mean for e in mine if e.metric == metric)
        ends = [signed(means[0])] if len(means) == 1 else [signed(means[0]), signed(means[-1])]
        parts.append(f"the {METRIC_NAMES.get(metric, metric)} by {' to '.join(ends)}")
    where = list(dict.fromkeys(e.dataset for e in mine))
    text = f"**{question}** {what} {listed(parts)} on "
    text += where[0] if len(where) == 1 else count(len(where), "dataset")
    tested = [e for e in mine if e.p_holm is not None]
    if not tested:
        return f"{text}. No test is made: at least five common seeds are needed."
    sure = [e for e in tested if (e.p_holm or 0.0) < 0.05]
    early = [e for e in tested if (e.p or 0.0) < 0.05 and e not in sure]
    family = f"after Holm's correction over one family of {count(tested[0].family, 'test')}"
    if sure:
        text += f"; significant at 5% {family}: {'; '.join(map(_stated, sure))}"
    else:
        text += f"; none of the {len(tested)} differences is significant at 5% {family}"
    if early:
        text += (
            f". Below 5% only before the correction, hence open: {'; '.join(map(_stated, early))}"
        )
    elif not sure:
        text += ", and none is below 5% before it"
    return text + "."


def _stated(e: Effect) -> str:
    change = "lower" if e.mean < 0 else "higher"
    if e.name == "interaction":
        change = "negative" if e.mean < 0 else "positive"
    return (
        f"{METRIC_NAMES.get(e.metric, e.metric)} on {e.dataset} {change}, {signed(e.mean)} "
        f"[{interval(e.low, e.high)}], p = {p_value(e.p)}, {p_value(e.p_holm)} corrected"
    )


def power_sentences(effects: Sequence[Effect], pairs: Sequence[Pair]) -> list[str]:
    """The smallest difference that could have been found, and what the intervals exclude.

    Args:
        effects: of :func:`~grace.experiments.benchmark_tests.factorial_effects`.
        pairs: of one metric, RMSE with capped labels.
    """
    sentences = []
    if pairs:
        half, needed = detectable(pairs)
        sizes = sorted({p.family for p in pairs})
        family = " to ".join(dict.fromkeys(map(str, (sizes[0], sizes[-1]))))
        seeds = min(p.seeds for p in pairs)
        sentences.append(
            f"**What could have been found?** With {count(seeds, 'seed')} half of the width of the "
            f"paired 95% t interval of two methods is {number(half)} cycles of RMSE (median of "
            f"{count(len(pairs), 'pair')}), and the clearest of the {family} pairs of a dataset "
            f"would need a difference of {number(needed)} cycles (median) to be significant after "
            "Holm's correction. A tie below means *not decided*, not *equal*."
        )
    balancing = [
        e
        for e in effects
        if e.name == "balancing" and e.metric == "rmse_capped" and e.low is not None
    ]
    if balancing:
        limits = {e.dataset: max(abs(e.low or 0.0), abs(e.high or 0.0)) for e in balancing}
        each = ", ".join(f"{number(limit)} on {name}" for name, limit in limits.items())
        sentences.append(
            "**How large could the effect of balancing be?** The 95% intervals over seeds exclude "
            f"effects on the RMSE beyond {number(max(limits.values()))} cycles, lower or higher, "
            f"on {'every dataset' if len(limits) > 1 else 'the dataset'} ({each}; each interval by "
            "itself, for these test units)."
        )
    return sentences


def decided_sentence(pairs: Sequence[Pair], *, alpha: float = 0.05) -> list[str]:
    """How many pairs of methods are decided by each metric, in one sentence."""
    parts = []
    for metric in dict.fromkeys(p.metric for p in pairs):
        mine = [p for p in pairs if p.metric == metric]
        won = sum(p.p_holm < alpha for p in mine)
        parts.append(f"{won} of {len(mine)} by {METRIC_NAMES.get(metric, metric)}")
    if not parts:
        return []
    sizes = sorted({p.family for p in pairs})
    family = " to ".join(dict.fromkeys(map(str, (sizes[0], sizes[-1]))))
    families = len({(p.metric, p.dataset) for p in pairs})
    return [
        f"Pairs of methods that are decided at {percent(alpha)}: {listed(parts)} (Holm over the "
        f"{family} pairs of each dataset and metric; nothing is corrected across these "
        f"{families} families)."
    ]


def decided_sentences(pairs: Sequence[Pair], *, alpha: float = 0.05) -> list[str]:
    """For each metric, how many pairs of methods are decided, and which."""
    found = []
    for metric in dict.fromkeys(p.metric for p in pairs):
        mine = [p for p in pairs if p.metric == metric]
        decided = [p for p in mine if p.p_holm < alpha]
        text = f"{METRIC_NAMES.get(metric, metric)}: {len(decided)} of {len(mine)} pairs decided"
        parts = []
        for dataset in dict.fromkeys(p.dataset for p in decided):
            each = []
            for p in (p for p in decided if p.dataset == dataset):
                better, worse = (p.a, p.b) if p.mean < 0 else (p.b, p.a)
                size = f"{number(abs(p.mean))}, p = {p_value(p.p_holm)}"
                each.append(f"`{better}` lower than `{worse}` ({size})")
            parts.append(f"{dataset}: {', '.join(each)}")
        found.append(text + (f". {'; '.join(parts)}." if parts else "."))
    return found


def optimism_sentence(gaps: Sequence[Gap]) -> list[str]:
    """What selection on the test set changes."""
    if not gaps:
        return []
    parts = [
        f"{signed(g.mean)} ± {number(g.std)} [{interval(g.low, g.high)}] on {g.dataset}"
        for g in gaps
    ]
    return [
        "Selection of the checkpoint on the test set changes the RMSE of the same trainings by "
        f"{', '.join(parts)} (mean over the methods with at least {MIN_SEEDS} seeds; standard "
        "deviation and 95% t interval over seeds). By construction it is never positive: of the "
        "epochs of a training, the test-selected one has the lowest RMSE on the test set."
    ]


def published_sentences(rows: Sequence[PublishedRow], presets: Sequence[str]) -> list[str]:
    """Published figures against ours: leads that selection explains, leads that are ours."""
    if not rows:
        return []
    parts = []
    for dataset in dict.fromkeys(r.dataset for r in rows):
        mine = [r for r in rows if r.dataset == dataset]
        clear = [r for r in mine if r.share is not None]
        worse = [r for r in mine if r.lead < 0]
        of = count(len(mine), "method")
        if clear:
            lead = fmean(r.lead for r in clear)
            gain = fmean(r.validation - r.test for r in clear)
            parts.append(
                f"on {dataset} the published RMSE is lower by {number(lead)} ({len(clear)} of "
                f"{of}), of which selection on the test set explains {percent(gain / lead)}"
            )
        if worse:
            each = ", ".join(f"{number(-r.lead)} for `{r.method}`" for r in worse)
            parts.append(
                f"on {dataset} the published RMSE is higher than ours for {len(worse)} of {of} "
                f"({each})"
            )
        small = [r for r in mine if r.share is None and r.lead >= 0]
        if small:
            each = listed(f"`{r.method}`" for r in small)
            parts.append(
                f"on {dataset} the lead of {each} is within two standard errors of our mean over "
                "seeds, and no share is given"
            )
    networks = listed(f"`{p}`" for p in presets)
    return [
        f"Published figures of the same methods, compared with the validation-selected ones here: "
        f"{'; '.join(parts)}. The network here is that of preset {networks}, not the published "
        "one: what selection does not explain includes the network, the training and a protocol "
        "that is not known in full."
    ]


def unit_interval_sentence(found: Sequence[Cell]) -> str:
    """How far other test units would change the RMSE."""
    parts = []
    for dataset in dict.fromkeys(c.dataset for c in found):
        halves = [
            (c.interval.high - c.interval.low) / 2.0
            for c in found
            if c.dataset == dataset and c.interval is not None and c.seeds >= MIN_SEEDS
        ]
        if halves:
            parts.append(f"{number(median(halves))} on {dataset}")
    if not parts:
        return ""
    return (
        "Half of the width of the 95% bootstrap interval of the RMSE over test units is, in "
        f"cycles, {listed(parts)} (median over the methods with at least {MIN_SEEDS} seeds)."
    )


def rank_text(ranks: FriedmanNemenyi) -> str:
    """Result of the test behind the rank diagram."""
    k = len(ranks.names)
    apart = sum(ranks.p_values[i][j] < ranks.alpha for i in range(k) for j in range(i))
    pairs = "no pair of methods differs" if not apart else f"{apart} of the pairs differ"
    return (
        f"Friedman's test of equal ranks of {k} methods over {count(ranks.n_blocks, 'dataset')}: "
        f"χ² = {number(ranks.statistic)}, p = {p_value(ranks.p_value)}. Nemenyi's critical "
        f"difference of mean ranks at {percent(ranks.alpha)} is "
        f"{number(ranks.critical_difference)} of at most {k - 1}; {pairs} by more."
    )


def floor_sentence(rows: Sequence[FloorRow]) -> list[str]:
    """How long GABA rests on its floor, and how often the checkpoint is of an earlier epoch."""
    if not rows:
        return []
    shares = sorted(r.share for r in rows)
    names = listed(f"`{name}`" for name in dict.fromkeys(r.method for r in rows))
    known, before = sum(r.known for r in rows), sum(r.before for r in rows)
    text = (
        f"{names} end {percent(shares[0])} to {percent(shares[-1])} of their epochs on the floor "
        f"of GABA (applied RUL weight below {FLOOR:g}; by method and dataset)"
    )
    if known:
        text += (
            f"; in {before} of {known} runs the selected checkpoint is of an epoch before the "
            "first on the floor"
        )
    return [text + "."]
