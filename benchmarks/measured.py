"""Write the table of measured figures into the README from finished runs, so that none is typed.

python benchmarks/measured.py runs/FD001-grace-fast-seed* runs/FD002-grace-fast-seed*
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from document import replace_between

from grace.evaluation import Evaluation
from grace.experiments import read_metrics

README = Path(__file__).parents[1] / "README.md"
BASELINES = ("gradient_boosting_all_inputs", "gradient_boosting", "age_only", "constant")
HEADS = ("run", "seeds", "RMSE, capped", "RMSE, raw", "NASA")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds, or the one value."""
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    return f"{statistics.mean(values):,.{digits}f} ± {statistics.stdev(values):,.{digits}f}"


def row(name: str, runs: Sequence[Evaluation]) -> str:
    """One line of the table: the runs of one dataset, method and preset."""
    last = [run.model.last_cycle for run in runs]
    seeds = ", ".join(str(s) for run in runs for s in run.protocol.seeds)
    cells = [
        name,
        seeds,
        spread([pair.capped.rmse for pair in last]),
        spread([pair.raw.rmse for pair in last]),
        spread([pair.capped.nasa_sum for pair in last], digits=0),
    ]
    for baseline in BASELINES:
        compared = [run.baselines[baseline] for run in runs if baseline in run.baselines]
        cells.append(spread([b.last_cycle.capped.rmse for b in compared]) if compared else "")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Replace the text between the markers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    groups: dict[str, list[Evaluation]] = defaultdict(list)
    for folder in parser.parse_args().runs:
        evaluation, _ = read_metrics(folder)
        config = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))["config"]
        mark = f" ({evaluation.protocol.mark})" if evaluation.protocol.mark else ""
        name = f"{evaluation.protocol.dataset}, `{config['method']['name']}`, `{config['preset']}`"
        groups[name + mark].append(evaluation)
    heads = [*HEADS, *(name.replace("_", " ") for name in BASELINES)]
    table = [
        "Unit: cycles. The checkpoint is selected on held-out engines; the results are for the",
        "last cycle of all test engines. Mean ± standard deviation over seeds; each seed holds out",
        "other engines. The last four columns are the capped RMSE of trivial baselines trained on",
        "the same engines; `gradient boosting all inputs` has the same inputs as the network.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *(row(name, runs) for name, runs in groups.items()),
        "",
        "The standard deviation does not include the sampling variability of the test engines; the",
        "reports give intervals for it.",
    ]
    replace_between(README, "measured", table)


if __name__ == "__main__":
    main()
