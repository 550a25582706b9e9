"""Table 1 of the paper: test accuracy of SAM beside SGD, Feedback Alignment, Weight Mirroring and Kolen-Pollack.

Claim: SAM is at least as good as SGD on six of seven data sets, and better than FA, WM and KP on all.

    python experiments/table1.py                                   # digits, a minute on two cores
    python experiments/table1.py --dataset=mnist,fashion_mnist,cifar10 --epochs=20
    python experiments/table1.py --remake=runs/FOLDER              # its tables and figure again

Prints the table and leaves in `--out_dir`: manifest.json, metrics.jsonl, table.md, table.csv (and
auc.csv where a data set has an AUC), curves.png.
"""

import pathlib
import sys

import options
import runner
from absl import app, flags, logging
from rich import box
from rich.console import Console
from rich.table import Table

from sam_jax import figures, records, tables

flags.adopt_module_key_flags(options)
REMAKE = flags.DEFINE_string("remake", None, "make the tables and the figure of this run's folder again, and stop")


def make(folder: pathlib.Path) -> None:
    """Makes the tables and the figure from the folder's rows, and prints the tables."""
    manifest, rows = records.read(folder)
    if not rows:
        raise ValueError(f"{folder / records.METRICS} has no rows yet: expected a run that got through an epoch")
    (folder / "table.md").write_text(tables.markdown(manifest, rows), encoding="utf-8")
    console = Console() if sys.stdout.isatty() else Console(width=100)
    for measure, measure_title, file_name in tables.MEASURES:
        if summary := tables.summarise(rows, measure):
            tables.write_csv(folder / file_name, summary)
            show(console, summary, measure_title, manifest)
    for line in tables.diverged_seeds(rows):
        console.print(line, style="bold", markup=False)
    figures.curves(folder / "curves.png", rows)
    console.print(f"Records, tables and curves: {folder}", soft_wrap=True, markup=False)


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


def main(argv):
    logging.set_verbosity(logging.WARNING)
    if len(argv) > 1:
        sys.exit(f"table1.py: {argv[1]!r} is no flag: flags begin with --, as in --dataset=cifar10")
    with options.one_line_errors():
        if REMAKE.value:
            make(pathlib.Path(REMAKE.value).expanduser())
            return
        options.check()
    make(runner.run_rules())


if __name__ == "__main__":
    app.run(main)
