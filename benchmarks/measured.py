"""Write the table of measured figures into the README from finished runs, so that none is typed.

python benchmarks/measured.py runs/FD001-grace-fast-seed42 runs/FD002-grace-fast-seed42
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from grace.evaluation import Evaluation, LabelPair
from grace.experiments import read_metrics

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def figure(pair: LabelPair) -> str:
    """RMSE against capped labels with its interval."""
    interval = pair.capped.intervals["rmse"]
    return f"{pair.capped.rmse:.2f} ({interval.low:.1f} to {interval.high:.1f})"


def row(folder: Path) -> str:
    """One line of the table."""
    evaluation, _ = read_metrics(folder)
    config = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))["config"]
    last, protocol = evaluation.model.last_cycle, evaluation.protocol
    name = f"{protocol.dataset}, `{config['method']['name']}`, `{config['preset']}`"
    name += f", seed {config['seed']}" + (f" ({protocol.mark})" if protocol.mark else "")
    cells = [name, figure(last), f"{last.raw.rmse:.2f}", f"{last.capped.nasa_sum:,.0f}"]
    return "| " + " | ".join(cells + [beside(evaluation, k) for k in BASELINES]) + " |"


BASELINES = ("gradient_boosting_all_inputs", "gradient_boosting", "age_only", "constant")


def beside(evaluation: Evaluation, name: str) -> str:
    """RMSE of a baseline against capped labels, or nothing."""
    judged = evaluation.baselines.get(name)
    return "" if judged is None else f"{judged.last_cycle.capped.rmse:.2f}"


def main() -> None:
    """Replace what stands between the markers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    runs = parser.parse_args().runs
    heads = ["run", "RMSE, capped (95 %)", "RMSE, raw", "NASA"]
    heads += [f"{name.replace('_', ' ')}" for name in BASELINES]
    table = [
        "Measured, one seed each, checkpoint chosen on held-out engines, all test engines, last",
        "cycle, in cycles (beside it the RMSE of the trivial baselines; `gradient boosting all",
        "inputs` sees what the network sees):",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *(row(folder) for folder in runs),
        "",
        "The intervals are over test engines; they do not cover the luck of the seed.",
    ]
    text = README.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    README.write_text(head + BEGIN + "\n" + "\n".join(table) + "\n" + END + tail, encoding="utf-8")


if __name__ == "__main__":
    main()
