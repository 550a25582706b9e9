"""Table 1 of the paper: test accuracy of SAM beside SGD, Feedback Alignment, Weight Mirroring and Kolen-Pollack.

Claim: SAM is at least as good as SGD on six of seven data sets, and better than FA, WM and KP on all.

    python experiments/table1.py                                   # digits, a minute on two cores
    python experiments/table1.py --dataset=mnist,fashion_mnist,cifar10 --epochs=20
    python experiments/table1.py --remake=runs/FOLDER              # its tables and figure again

Prints the table and leaves in `--out_dir`: manifest.json, metrics.jsonl, table.md, table.csv (and
auc.csv where a data set has an AUC), curves.png.
"""

import pathlib

import common
from absl import app, flags, logging
from rich import box
from rich.console import Console
from rich.table import Table

from sam_jax import figures, records, tables

REMAKE = flags.DEFINE_string("remake", None, "make the tables and the figure of this run's folder again, and stop")


def make(folder: pathlib.Path) -> None:
    """Makes the tables and the figure from the folder's rows, and prints the tables."""
    manifest, rows = records.read(folder)
    if not rows:
        raise ValueError(f"{folder / records.METRICS} has no rows yet: expected a run that got through an epoch")
    (folder / "table.md").write_text(tables.markdown(manifest, rows))
    console = Console()
    for measure, name in (("accuracy", "table.csv"), ("auc", "auc.csv")):
        summary = tables.summarise(rows, measure)
        if summary:
            tables.write_csv(folder / name, summary)
            show(console, summary, "accuracy" if measure == "accuracy" else "macro AUC × 100", manifest)
    for line in tables.diverged_seeds(rows):
        console.print(line, style="bold")
    figures.curves(folder / "curves.png", rows)
    console.print(f"Records, tables and curves: {folder}")


def show(console: Console, summary: list[dict], measure: str, manifest: dict) -> None:
    """Prints a table for each data set in the summary."""
    for dataset in dict.fromkeys(entry["dataset"] for entry in summary):
        entries = [entry for entry in summary if entry["dataset"] == dataset]
        title = f"{dataset}: {measure}, mean ± sd over seeds, {entries[0]['epochs']} epochs"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for i, column in enumerate(tables.HEADER):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for entry in entries:
            table.add_row(*tables.cells(entry))
        console.print(table)
        console.print(tables.remarks(manifest["data"][dataset]), end="\n\n", highlight=False)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag: flags begin with --, as in --dataset=cifar10")
    logging.set_verbosity(logging.WARNING)
    with common.one_line_errors():
        if REMAKE.value:
            folder = pathlib.Path(REMAKE.value)
        else:
            common.check()
            folder = common.run_rules()
        make(folder)


if __name__ == "__main__":
    app.run(main)
