"""Figures of results, made from a run's rows alone."""

import pathlib

import numpy as np

from sam_jax.rules import RULES

# Okabe and Ito's colour-blind-safe palette; dashes tell the rules apart without colour.
STYLE = {
    "sgd": ("#000000", "--"),
    "fa": ("#E69F00", "-."),
    "wm": ("#009E73", ":"),
    "kp": ("#56B4E9", (0, (5, 1, 1, 1, 1, 1))),
    "sam": ("#D55E00", "-"),
}


def curves(path: pathlib.Path, rows: list[dict]) -> None:
    """Accuracy against epochs: a column for each data set, test above train, mean ± sd over seeds."""
    from matplotlib.figure import Figure  # no global state: works beside a user's own figures

    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    figure = Figure(figsize=(1.8 + 3.4 * len(datasets), 6.2), layout="constrained")
    axes = figure.subplots(2, len(datasets), squeeze=False, sharex="col", sharey="col")
    for column, dataset in enumerate(datasets):
        for axis, split in zip(axes[:, column], ("test", "train"), strict=True):
            lows = []
            for rule in RULES:
                chosen = [row for row in rows if row["dataset"] == dataset and row["rule"] == rule]
                if chosen:
                    lows.append(_curve(axis, rule, chosen, f"{split}_accuracy"))
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0, column].set_title(dataset)
        axes[0, column].set_ylim(bottom=_floor(lows), top=None)
        axes[1, column].set_xlabel("epoch")
    for axis, split in zip(axes[:, 0], ("test", "train"), strict=True):
        axis.set_ylabel(f"{split} accuracy (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=150)


def _curve(axis, rule, rows, column):
    """Draws one rule's mean and spread; a diverged run is in it up to its last finite epoch."""
    colour, dashes = STYLE[rule]
    epochs = sorted({row["epoch"] for row in rows})
    by_epoch = [[100 * r[column] for r in rows if r["epoch"] == e and r[column] is not None] for e in epochs]
    alive = [(epoch, values) for epoch, values in zip(epochs, by_epoch, strict=True) if values]
    x = [epoch for epoch, _ in alive]
    mean = np.array([np.mean(values) for _, values in alive])
    sd = np.array([np.std(values, ddof=1) if len(values) > 1 else 0.0 for _, values in alive])
    axis.plot(x, mean, color=colour, linestyle=dashes, linewidth=1.8, label=RULES[rule].title)
    axis.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0)
    # Early epochs would squeeze the rest: the axis starts below the first trained epoch's mean.
    return mean[1] if len(mean) > 1 else mean[0]


def _floor(lows):
    return max(0.0, 5 * np.floor((min(lows) - 1) / 5))
