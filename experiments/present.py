"""What every experiment leaves of its rows: table.md, table.csv, the same on the screen, and paired differences."""

import pathlib
import sys

from rich import box
from rich.console import Console
from rich.table import Table

from sam_jax import records, statistics, tables
from sam_jax.verdicts import Verdict


def read(folder: pathlib.Path) -> tuple[dict, list[dict]]:
    """The manifest and the rows; ValueError where no epoch is done yet."""
    manifest, rows = records.read(folder)
    if not rows:
        raise ValueError(f"{folder / records.METRICS} has no rows yet: expected a run that got through an epoch")
    return manifest, rows


def write_tables(folder: pathlib.Path, reference: str | None = None) -> tuple[dict, list[dict]]:
    """Makes and prints the tables, each arm's paired difference from the `reference` arm beside it.

    Returns the manifest and the rows.
    """
    manifest, rows = read(folder)
    (folder / "table.md").write_text(tables.markdown(manifest, rows, reference), encoding="utf-8")
    console = Console() if sys.stdout.isatty() else Console(width=110)
    for measure, measure_title, file_name in tables.MEASURES:
        if summary := tables.summarise(rows, measure):
            tables.write_csv(folder / file_name, summary)
            show(console, summary, measure_title, manifest)
    if reference:
        for line in tables.comparisons(rows, reference):
            console.print(line, highlight=False, markup=False)
    for line in tables.diverged_seeds(rows):
        console.print(line, style="bold", markup=False)
    console.print(f"Records, tables and figures: {folder}", soft_wrap=True, markup=False)
    return manifest, rows


def show(console: Console, summary: list[dict], measure_title: str, manifest: dict) -> None:
    """Prints a table for each data set in the summary."""
    for dataset in dict.fromkeys(entry["dataset"] for entry in summary):
        entries = [entry for entry in summary if entry["dataset"] == dataset]
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
        for i, column in enumerate(tables.HEADER):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for entry in entries:
            table.add_row(*tables.cells(entry))
        console.print(tables.title(entries, measure_title), style="bold", markup=False)
        console.print(table)
        console.print(tables.remarks(dataset, manifest["data"][dataset]), end="\n\n", highlight=False, markup=False)


def setting(manifest: dict, rows: list[dict], dataset: str) -> str:
    """`cifar10 (45,000 training images), 30 epochs, 5 seeds`; `, all rates × 0.5` where the run had that factor."""
    of_dataset = [row for row in rows if row["dataset"] == dataset]
    images = manifest["data"][dataset]["sizes"]["train"]
    epochs, seeds = max(row["epoch"] for row in of_dataset), len({row["seed"] for row in of_dataset})
    factor = manifest.get("flags", {}).get("rate_factor", 1)
    slower = f", all rates × {factor:g}" if factor != 1 else ""
    return f"{dataset} ({images:,} training images), {epochs} epochs, {seeds} seeds{slower}"


def together(outcomes: list[str]) -> str:
    """One outcome for several: a single failure decides, and all must hold; nothing compared decides nothing."""
    for outcome in ("does not hold", "undecided"):
        if outcome in outcomes:
            return outcome
    return "holds" if outcomes else "undecided"


def above(
    claim: str,
    manifest: dict,
    rows: list[dict],
    dataset: str,
    says: str,
    pairs: list[tuple[str, str]],
    margin: float = 0.0,
) -> Verdict:
    """Whether the first arm of each pair is above the second by `margin` points of test accuracy.

    It holds where the whole 95 % interval of the paired difference is at or above the margin, and does
    not where the whole interval is below; a negative margin asks for no more than being as good.
    An arm of which a seed diverged is not found above.
    """
    found = {(a, b): tables.difference(rows, dataset, a, b) for a, b in pairs}
    ours = "; ".join(
        f"{tables.arm_title(a)} − {tables.arm_title(b)}: {statistics.describe(paired)}"
        for (a, b), paired in found.items()
    )
    outcomes = [statistics.outcome(paired.low, paired.high, margin) for paired in found.values()]
    if any(None in tables.final(rows, dataset, a).values() for a, _ in pairs):  # what diverges is not shown to be above
        outcomes = ["undecided" if outcome == "holds" else outcome for outcome in outcomes]
    return Verdict(claim, setting(manifest, rows, dataset), says, ours, together(outcomes))
