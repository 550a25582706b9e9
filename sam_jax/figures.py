"""Figures of results, made from a run's rows alone."""

import pathlib
from collections.abc import Callable

import numpy as np

from sam_jax.tables import arm_title

# Okabe and Ito's colour-blind-safe palette; dashes tell the rules apart without colour.
STYLE = {
    "sgd": ("#000000", "--"),
    "fa": ("#E69F00", "-."),
    "wm": ("#009E73", ":"),
    "kp": ("#56B4E9", (0, (5, 1, 1, 1, 1, 1))),
    "sam": ("#D55E00", "-"),
}


_CYCLE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)))
_PAIRS = [(_CYCLE[i % len(_CYCLE)], _DASHES[i % len(_DASHES)]) for i in range(len(_CYCLE) * len(_DASHES))]
_LOOKS = [look for look in _PAIRS if look not in STYLE.values()]  # the rules keep theirs


def style(arm: str, place: int) -> dict:
    """How an arm is drawn: a rule always alike, any other by its place; no two alike among the first forty."""
    colour, dashes = STYLE.get(arm, _LOOKS[place % len(_LOOKS)])
    return {"color": colour, "linestyle": dashes}


def band(axis, rows: list[dict], value: Callable, **look) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Draws mean ± sd over the seeds against epochs; returns epochs, mean, sd.

    Args:
      axis: matplotlib's.
      rows: an arm's rows.
      value: a row's number, or None: a seed that diverged is drawn no further.
      look: of the line.
    """
    by_epoch: dict[int, list[float]] = {}
    for row in rows:
        if (number := value(row)) is not None:
            by_epoch.setdefault(row["epoch"], []).append(number)
    epochs = sorted(by_epoch)
    mean = np.array([np.mean(by_epoch[epoch]) for epoch in epochs])
    sd = np.array([np.std(by_epoch[epoch], ddof=1) if len(by_epoch[epoch]) > 1 else 0.0 for epoch in epochs])
    axis.plot(epochs, mean, **({"linewidth": 1.8} | look))
    axis.fill_between(epochs, mean - sd, mean + sd, color=look["color"], alpha=0.15, linewidth=0)
    return epochs, mean, sd


def percent(column: str) -> Callable:
    """A `value` for `band`: the column in percent."""
    return lambda row: None if row[column] is None else 100 * row[column]


def curves(path: pathlib.Path, rows: list[dict], splits: tuple[str, ...] = ("test", "train")) -> None:
    """Accuracy against epochs: a column for each data set, a row for each split, mean ± sd over seeds."""
    from matplotlib.figure import Figure  # no global state: works beside a user's own figures

    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    size = (max(5.2, 0.6 + 3.6 * len(datasets)), 0.4 + 3 * len(splits) + 0.1 * len(arms))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(splits), len(datasets), squeeze=False, sharex="col")
    for column, dataset in enumerate(datasets):
        of_dataset = [row for row in rows if row["dataset"] == dataset]
        for axis, split in zip(axes[:, column], splits, strict=True):
            seen = []
            for place, arm in enumerate(arms):
                chosen = [row for row in of_dataset if row["arm"] == arm]
                if chosen:
                    look = style(arm, place) | {"label": arm_title(arm)}
                    mean = band(axis, chosen, percent(f"{split}_accuracy"), **look)[1]
                    seen += [mean[len(mean) // 7], max(mean)]
            # Starts at chance level would squeeze the rest: the axis leaves out most of the first seventh.
            low, high = max(0.0, 5 * np.floor((min(seen) - 1) / 5)), max(seen)
            axis.set_ylim(low, high + 0.04 * (high - low) + 0.1)
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
        lost = len({(row["arm"], row["seed"]) for row in of_dataset if row["diverged"]})
        axes[0, column].set_title(dataset + (f" ({lost} diverged)" if lost else ""))
        axes[-1, column].set_xlabel("epoch")
    for axis, split in zip(axes[:, 0], splits, strict=True):
        axis.set_ylabel(f"{split} accuracy (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 1 + 2 * len(datasets)), frameon=False
    )
    figure.savefig(path, dpi=150)
