"""The rows of a run's folder, asked by data set and arm: all that tables, figures and verdicts are made of."""

import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from sam_jax.circuit import SYMBOLS
from sam_jax.lab import records, statistics


class Results(NamedTuple):
    """A run's folder, its manifest and its rows. Accuracies and AUCs come in percent."""

    folder: pathlib.Path
    manifest: dict
    rows: list[dict]

    @classmethod
    def read(cls, folder: str | os.PathLike) -> "Results":
        """A folder's results; ValueError where no epoch is done yet, FileNotFoundError where it is no run's."""
        manifest, rows = records.read(folder)
        if not rows:
            path = pathlib.Path(folder) / records.METRICS
            raise ValueError(f"{path} has no rows yet: expected a run that got through an epoch")
        return cls(pathlib.Path(folder), manifest, rows)

    @property
    def datasets(self) -> list[str]:
        """The data sets that have rows, in the order of the run."""
        present = {row["dataset"] for row in self.rows}
        return [name for name in self.manifest["data"] if name in present]

    def cells(self, dataset: str) -> dict[str, dict]:
        """What each arm was, by name: title, rule, tags, circuit, protocol, numbers, images."""
        return self.manifest["cells"][dataset]

    def arms(self, dataset: str) -> list[str]:
        """The arms that have rows, in the order of the run."""
        present = {row["arm"] for row in self.rows if row["dataset"] == dataset}
        return [arm for arm in self.cells(dataset) if arm in present]

    def tagged(self, dataset: str, **tags) -> list[str]:
        """The arms with rows that carry all of these tags."""
        cells = self.cells(dataset)
        return [arm for arm in self.arms(dataset) if tags.items() <= cells[arm]["tags"].items()]

    def title(self, arm: str) -> str:
        """An arm's name in tables and figures."""
        found = (cells[arm]["title"] for cells in self.manifest["cells"].values() if arm in cells)
        return next(found, arm)

    def of(self, dataset: str, arm: str) -> list[dict]:
        """An arm's rows, by epoch."""
        chosen = (row for row in self.rows if (row["dataset"], row["arm"]) == (dataset, arm))
        return sorted(chosen, key=lambda row: row["epoch"])

    def ends(self, dataset: str, arm: str) -> list[dict]:
        """An arm's rows of the last epoch that any of its seeds has reached."""
        rows = self.of(dataset, arm)
        return [row for row in rows if row["epoch"] == rows[-1]["epoch"]]

    def measure(self, dataset: str) -> str:
        """What the data set's results are judged by: accuracy or auc."""
        return self.manifest["data"][dataset]["measure"]

    def chance(self, dataset: str, measure: str | None = None) -> float:
        """The percent of the measure that needs no input: what a diverged run counts as, where it counts."""
        return self.manifest["data"][dataset]["chance"][measure or self.measure(dataset)]

    def final(self, dataset: str, arm: str, column: str | None = None) -> dict[int, Any]:
        """Each seed's last value of a column, by default the test measure; None where the run diverged.

        Seeds that were not trained as far as the furthest are left out: no arm mixes epochs.
        """
        column = column or f"test_{self.measure(dataset)}"
        factor = 100 if column.endswith(("_accuracy", "_auc")) else 1
        last = {row["seed"]: row for row in self.ends(dataset, arm)}
        lost = {seed: row["diverged"] or row.get(column) is None for seed, row in last.items()}
        return {seed: None if lost[seed] else factor * row[column] for seed, row in last.items()}

    def by_seed(self, dataset: str, arm: str, column: str, of_layers: Callable) -> dict[int, float | None]:
        """As `final`, for a probe's column with an entry for each layer: `of_layers` of them."""
        found = self.final(dataset, arm, column)
        return {
            seed: None if value is None or None in value else float(of_layers(value)) for seed, value in found.items()
        }

    def difference(self, dataset: str, a: str, b: str, column: str | None = None) -> statistics.Paired:
        """Arm `a` minus arm `b`, paired by seed: the same seed means the same initial W and the same batches."""
        return statistics.paired(self.final(dataset, a, column), self.final(dataset, b, column))

    def lost(self, dataset: str | None, arm: str) -> str:
        """` (2 of 5 diverged)`, or nothing where none did; of a data set's runs, or of all."""
        chosen = [row for row in self.rows if row["arm"] == arm and dataset in (None, row["dataset"])]
        ends = {records.run_of(row): row["diverged"] for row in sorted(chosen, key=lambda row: row["epoch"])}
        return f" ({sum(ends.values())} of {len(ends)} diverged)" if any(ends.values()) else ""

    def diverged_seeds(self, dataset: str | None = None, arm: str | None = None) -> list[str]:
        """A line for each run that diverged: `cifar10, SAM, seed 3 diverged at epoch 7, V̄ first`."""
        first: dict[tuple, dict] = {}
        for row in self.rows:
            if row["diverged"] and dataset in (None, row["dataset"]) and arm in (None, row["arm"]):
                held = first.setdefault(records.run_of(row), row)
                if row["epoch"] < held["epoch"]:
                    first[records.run_of(row)] = row
        lines = []
        for (name, arm, seed), row in first.items():  # older folders do not say where
            where = f", {SYMBOLS[row['diverged_pathway']]} first" if "diverged_pathway" in row else ""
            epoch = row.get("diverged_epoch", row["epoch"])
            lines.append(f"{name}, {self.title(arm)}, seed {seed} diverged at epoch {epoch}{where}")
        return lines

    def setting(self, dataset: str, but: tuple[str, ...] = ()) -> str:
        """`cifar10 (45,000 training images), 30 epochs, 5 seeds`, and any recipe and --rate_factor of the run."""
        rows = [row for arm in self.arms(dataset) if arm not in but for row in self.ends(dataset, arm)]
        images = self.manifest["data"][dataset]["sizes"]["train"]
        epochs, seeds = max(row["epoch"] for row in rows), len({row["seed"] for row in rows})
        flags = self.manifest.get("flags", {})
        factor, recipe = flags.get("rate_factor", 1), flags.get("recipe", "")
        slower = f", all rates × {factor:g}" if factor != 1 else ""
        named, plural = f", {recipe}" if recipe else "", "" if seeds == 1 else "s"
        return f"{dataset} ({images:,} training images), {epochs} epochs, {seeds} seed{plural}{named}{slower}"
