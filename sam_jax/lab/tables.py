"""Tables of results, made from a run's rows alone.

A summary has one entry for each data set and arm: mean and sample standard deviation over the
seeds that did not diverge, at the last epoch that all have, in percent; how many diverged stands beside it.
"""

import csv
import math
import pathlib
import sys
from collections.abc import Callable, Iterable

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from sam_jax.inputs import SPLITS
from sam_jax.lab import statistics, tune
from sam_jax.lab.results import Results

COLUMNS = (
    *("dataset", "arm", "runs", "diverged", "epochs", "train_mean", "train_sd", "val_mean", "val_sd"),
    *("test_mean", "test_sd", "paper", "seconds"),
)


def summarise(results: Results, measure: str = "accuracy") -> list[dict]:
    """One dict of COLUMNS for each data set and arm that has rows, in the order of the run.

    Args:
      results: of a run.
      measure: "accuracy" or "auc"; data sets without that measure are left out.

    `paper` is the published mean where there is one; a mean over no run is None. `seconds` is the time
    of all the arm's runs together, compilation and evaluation included.
    """
    summary = []
    for dataset in results.datasets:
        published = results.manifest["data"][dataset]["published"].get(measure, {})
        for arm in results.arms(dataset):
            group = [row for row in results.of(dataset, arm) if f"test_{measure}" in row]
            if not group:
                continue
            final = results.ends(dataset, arm)
            entry = {
                "dataset": dataset,
                "arm": arm,
                "runs": len(final),
                "diverged": sum(row["diverged"] for row in final),
                "epochs": final[-1]["epoch"],
                "paper": published.get(arm),
                "seconds": sum(row["seconds"] for row in group),
            }
            for split in SPLITS:
                finished = [100 * row[name] for row in final if row.get(name := f"{split}_{measure}") is not None]
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


def cells(entry: dict, arm_title: str) -> list[str]:
    """A summary's entry as the cells under HEADER; `4/5` runs means that one of five diverged."""
    compared = None not in (entry["paper"], entry["test_mean"])
    return [
        arm_title,
        spread(entry["test_mean"], entry["test_sd"]),
        spread(entry["train_mean"], entry["train_sd"]),
        "" if entry["paper"] is None else f"{entry['paper']:.2f}",
        f"{entry['test_mean'] - entry['paper']:+.2f}" if compared else "",
        f"{entry['runs'] - entry['diverged']}/{entry['runs']}" if entry["diverged"] else f"{entry['runs']}",
        clock(entry["seconds"]),
    ]


def spread(mean: float | None, sd: float | None) -> str:
    """`52.31 ± 0.14`; without a spread for one run; a dash where every run diverged, or it is undefined."""
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


MEASURES = (("accuracy", "accuracy", "table.csv"), ("auc", "macro AUC × 100", "auc.csv"))  # key, title, file


def title(summary: list[dict], measure_title: str) -> str:
    """The heading of one data set's table; arms that an interruption stopped earlier are named by a range."""
    epochs = sorted({entry["epochs"] for entry in summary})
    count = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    return f"{summary[0]['dataset']}: {measure_title}, mean ± sd over seeds after {count} epochs"


def comparisons(results: Results, reference: str) -> list[str]:
    """A line for each data set and arm: its paired difference from the reference arm, in the data set's measure."""
    return [
        f"{dataset}: {results.title(arm)} − {results.title(reference)}: "
        + statistics.describe(results.difference(dataset, arm, reference))
        for dataset in results.datasets
        for arm in results.arms(dataset)
        if arm != reference and reference in results.arms(dataset)
    ]


def markdown(results: Results, reference: str | None = None) -> str:
    """The whole of `table.md`: for each data set its accuracy, its AUC where it has one, and remarks.

    With a `reference` arm, also every other arm's paired difference from it on the test split.
    """
    manifest = results.manifest
    commands = in_turn(manifest, lambda stint: f"`{stint['command']}`")
    parts = [f"Made by {commands}, {about(manifest)}.\n"]
    compared = comparisons(results, reference) if reference else []
    for dataset in results.datasets:
        for measure, measure_title, _ in MEASURES:
            if summary := [entry for entry in summarise(results, measure) if entry["dataset"] == dataset]:
                parts.append(f"### {title(summary, measure_title)}\n")
                parts.append(grid(HEADER, (cells(entry, results.title(entry["arm"])) for entry in summary)))
        parts.append(f"{remarks(results, dataset)}\n")
        if lines := [line for line in compared if line.startswith(f"{dataset}: ")]:
            name = "accuracy" if results.measure(dataset) == "accuracy" else "macro AUC"
            parts.append(f"Paired differences of test {name}, with 95 % intervals:\n")
            parts.append("\n".join(f"- {line}" for line in lines) + "\n")
    parts += [f"- {line}\n" for line in results.diverged_seeds()]
    return "\n".join(parts)


def in_turn(manifest: dict, words: Callable[[dict], str]) -> str:
    """What is to be said of a run's command and, where it was continued, of the others: each once, in their order."""
    return ", then ".join(dict.fromkeys(words(stint) for stint in (manifest, *manifest.get("continued", ()))))


def machine(stint: dict) -> str:
    """The accelerator, if there was one, and the processor."""
    device, processor, cores = stint["device"], stint["processor"]["name"], stint["processor"]["cores"]
    accelerator = f"{device['count']} × {device['kind']}, " if device["platform"] != "cpu" else ""
    return f"{accelerator}{processor}, {cores} core{'s' if cores != 1 else ''}"


def about(manifest: dict) -> str:
    """The machines and the versions in one phrase."""
    versions = in_turn(
        manifest, lambda stint: f"jax {stint['versions']['jax']} and Python {stint['versions']['python']}"
    )
    return f"on {in_turn(manifest, machine)}, with {versions}, started {manifest['started']}"


def remarks(results: Results, dataset: str) -> str:
    """What a reader of a data set's numbers has to know: its size, the trivial predictor, the paper's column."""
    facts = results.manifest["data"][dataset]
    sizes = ", ".join(f"{facts['sizes'][split]:,} {split}" for split in SPLITS)
    if "class_sizes" in facts:  # older folders do not say
        fewest, most = facts["class_sizes"]
        what = "classes" if facts["task"] == "single-label" else "labels, several an image"
        sizes += f"; {facts['classes']} {what}, of {fewest:,} to {most:,} training images each"
    chance = results.chance(dataset, "accuracy")
    trivial = f"Always answering the most frequent label is right for {chance:.2f} % of the test set."
    tuned = tune.remark(results.manifest.get("tuned", {}).get(dataset, {}))
    return " ".join(filter(None, (f"Images: {sizes}.", trivial, facts["remark"], tuned)))


def grid(header: Iterable[str], rows: Iterable[list[str]], numbers: bool = True) -> str:
    """A Markdown table, its first column to the left; the others, where they are numbers, to the right."""
    lines = [list(header), ["---"] + ["---:" if numbers else "---"] * (len(tuple(header)) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def leave(results: Results, reference: str | None = None) -> None:
    """Makes table.md, table.csv (and auc.csv) in the run's folder, and prints the same.

    With a `reference` arm, each arm's paired difference from it stands below.
    """
    folder = results.folder
    (folder / "table.md").write_text(markdown(results, reference), encoding="utf-8")
    console = Console() if sys.stdout.isatty() else Console(width=110)
    for measure, measure_title, file_name in MEASURES:
        if summary := summarise(results, measure):
            write_csv(folder / file_name, summary)
            _show(console, results, summary, measure_title)
    for line in comparisons(results, reference) if reference else ():
        console.print(line, highlight=False, markup=False)
    for line in results.diverged_seeds():
        console.print(line, style="bold", markup=False)
    console.print(f"Records, tables and figures: {folder}", soft_wrap=True, markup=False)


def _show(console: Console, results: Results, summary: list[dict], measure_title: str) -> None:
    """Prints a table for each data set in the summary."""
    for dataset in dict.fromkeys(entry["dataset"] for entry in summary):
        entries = [entry for entry in summary if entry["dataset"] == dataset]
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
        for i, column in enumerate(HEADER):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for entry in entries:
            table.add_row(*cells(entry, results.title(entry["arm"])))
        console.print(title(entries, measure_title), style="bold", markup=False)
        console.print(table)
        console.print(remarks(results, dataset), end="\n\n", highlight=False, markup=False)
