"""Tables of results, made from a run's rows alone.

A summary has one entry for each data set and arm: mean and sample standard deviation over the
seeds that did not diverge, at the last epoch that all have, in percent; how many diverged stands beside it.
"""

import csv
import math
import pathlib
from collections.abc import Iterable

import numpy as np

from sam_jax import paper, records, statistics
from sam_jax.catalogue import SPLITS
from sam_jax.rules import RULES

COLUMNS = (
    *("dataset", "arm", "runs", "diverged", "epochs", "train_mean", "train_sd", "val_mean", "val_sd"),
    *("test_mean", "test_sd", "paper", "seconds"),
)


def arm_title(arm: str) -> str:
    """An arm's name in tables and figures: a rule's title, or the name itself."""
    return RULES[arm].title if arm in RULES else arm


def summarise(rows: list[dict], measure: str = "accuracy") -> list[dict]:
    """One dict of COLUMNS for each data set and arm that has rows, in the order of the rows.

    Args:
      rows: as `records.read` returns them.
      measure: "accuracy" or "auc"; data sets without that measure are left out.

    `paper` is the paper's mean where it prints one; a mean over no run is None. `seconds` is the time
    of all the arm's runs together, compilation and evaluation included.
    """
    groups = {}
    for row in rows:
        if f"test_{measure}" in row:
            groups.setdefault((row["dataset"], row["arm"]), []).append(row)
    summary = []
    for (dataset, arm), group in groups.items():
        seeds = {row["seed"] for row in group}
        last = min(max(row["epoch"] for row in group if row["seed"] == seed) for seed in seeds)
        final = [row for row in group if row["epoch"] == last]
        entry = {
            "dataset": dataset,
            "arm": arm,
            "runs": len(seeds),
            "diverged": len({row["seed"] for row in group if row["diverged"]}),
            "epochs": last,
            "paper": (paper.table1(dataset, arm, measure) or (None,))[0],
            "seconds": sum(row["seconds"] for row in group),
        }
        for split in SPLITS:
            finished = [100 * row[f"{split}_{measure}"] for row in final if row[f"{split}_{measure}"] is not None]
            entry[f"{split}_mean"] = float(np.mean(finished)) if finished else None
            entry[f"{split}_sd"] = float(np.std(finished, ddof=1)) if len(finished) > 1 else None
        summary.append({column: entry[column] for column in COLUMNS})
    return summary


def write_csv(path: pathlib.Path, summary: list[dict]) -> None:
    """COLUMNS with a header; four decimals; an empty cell where there is no number."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for entry in summary:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in entry.items()})


HEADER = ("", "test %", "train %", "paper %", "diff.", "runs", "time")  # diff.: test minus paper


def cells(entry: dict) -> list[str]:
    """A summary's entry as the cells under HEADER; `4/5` runs means that one of five diverged."""
    compared = None not in (entry["paper"], entry["test_mean"])
    return [
        arm_title(entry["arm"]),
        spread(entry["test_mean"], entry["test_sd"]),
        spread(entry["train_mean"], entry["train_sd"]),
        "" if entry["paper"] is None else f"{entry['paper']:.2f}",
        f"{entry['test_mean'] - entry['paper']:+.2f}" if compared else "",
        f"{entry['runs'] - entry['diverged']}/{entry['runs']}" if entry["diverged"] else f"{entry['runs']}",
        clock(entry["seconds"]),
    ]


def spread(mean: float | None, sd: float | None) -> str:
    """`52.31 ± 0.14`; without a spread for one run; a dash where every run diverged."""
    if mean is None:
        return "–"
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def clock(seconds: float) -> str:
    """`1:05:09`, `5:09` or `9 s`."""
    seconds = math.ceil(seconds)
    hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def diverged_seeds(rows: list[dict]) -> list[str]:
    """A line for each run that diverged, with its epoch: `cifar10, SAM, seed 3 diverged at epoch 7`."""
    first = {}
    for row in rows:
        if row["diverged"]:
            run = records.run_of(row)
            first[run] = min(row["epoch"], first.get(run, row["epoch"]))
    return [f"{d}, {arm_title(a)}, seed {s} diverged at epoch {e}" for (d, a, s), e in first.items()]


MEASURES = (("accuracy", "accuracy", "table.csv"), ("auc", "macro AUC × 100", "auc.csv"))  # key, title, file


def title(summary: list[dict], measure_title: str) -> str:
    """The heading of one data set's table; arms that an interruption stopped earlier are named by a range."""
    epochs = sorted({entry["epochs"] for entry in summary})
    count = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    return f"{summary[0]['dataset']}: {measure_title}, mean ± sd over seeds after {count} epochs"


def final(rows: list[dict], dataset: str, arm: str, column: str = "test_accuracy") -> dict[int, float | None]:
    """Each seed's last value of a column; accuracies and AUCs in percent; None where the run diverged."""
    chosen = sorted((r for r in rows if r["dataset"] == dataset and r["arm"] == arm), key=lambda r: r["epoch"])
    factor = 100 if column.endswith(("_accuracy", "_auc")) else 1
    return {r["seed"]: None if r["diverged"] or r.get(column) is None else factor * r[column] for r in chosen}


def difference(rows: list[dict], dataset: str, a: str, b: str, column: str = "test_accuracy") -> statistics.Paired:
    """Arm `a` minus arm `b`, paired by seed: the same seed means the same initial W and the same batches."""
    return statistics.paired(final(rows, dataset, a, column), final(rows, dataset, b, column))


def comparisons(rows: list[dict], reference: str, measure: str = "accuracy") -> list[str]:
    """A line for each data set and arm: its paired difference in test accuracy from the reference arm."""
    cells = dict.fromkeys((row["dataset"], row["arm"]) for row in rows)
    return [
        f"{dataset}: {arm_title(arm)} − {arm_title(reference)}: "
        + statistics.describe(difference(rows, dataset, arm, reference, f"test_{measure}"))
        for dataset, arm in cells
        if arm != reference and (dataset, reference) in cells
    ]


def markdown(manifest: dict, rows: list[dict], reference: str | None = None) -> str:
    """The whole of `table.md`: for each data set its accuracy, its AUC where it has one, and remarks.

    With a `reference` arm, also every other arm's paired difference from it in test accuracy.
    """
    commands = dict.fromkeys(stint["command"] for stint in (manifest, *manifest.get("continued", ())))
    parts = [f"Made by {', then '.join(f'`{command}`' for command in commands)}, {about(manifest)}.\n"]
    for dataset, facts in manifest["data"].items():
        of_dataset = [row for row in rows if row["dataset"] == dataset]
        for measure, measure_title, _ in MEASURES:
            if summary := summarise(of_dataset, measure):
                parts.append(f"### {title(summary, measure_title)}\n")
                parts.append(grid(HEADER, map(cells, summary)))
        parts.append(f"{remarks(dataset, facts)}\n")
        if reference and (lines := comparisons(of_dataset, reference)):
            parts.append("Paired differences of test accuracy, with 95 % intervals:\n")
            parts.append("\n".join(f"- {line}" for line in lines) + "\n")
    parts += [f"- {line}\n" for line in diverged_seeds(rows)]
    return "\n".join(parts)


def about(manifest: dict) -> str:
    """The machine and the versions in one phrase."""
    versions, device, processor = manifest["versions"], manifest["device"], manifest["processor"]
    where = device["kind"] if device["platform"] != "cpu" else f"{processor['name']}, {processor['cores']} cores"
    return f"on {where}, with jax {versions['jax']} and Python {versions['python']}, started {manifest['started']}"


def remarks(dataset: str, facts: dict) -> str:
    """What a reader of a data set's numbers has to know: its size, the trivial predictor, the paper's column."""
    sizes = ", ".join(f"{facts['sizes'][split]:,} {split}" for split in SPLITS)
    trivial = f"Always answering the most frequent label is right for {facts['trivial_test']:.2f} % of the test set."
    return " ".join(filter(None, (f"Images: {sizes}.", trivial, paper.REMARKS.get(dataset))))


def grid(header: Iterable[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    lines = [list(header), ["---"] + ["---:"] * (len(tuple(header)) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
