"""The panels that comparisons of arms share: accuracy against epochs, and each seed's last accuracy."""

import numpy as np

from sam_jax import figures, statistics, tables

BARRED = {"W̄": r"$\mathregular{\bar{W}}$", "V̄": r"$\mathregular{\bar{V}}$", "d̄": r"$\mathregular{\bar{d}}$"}


def label(arm: str) -> str:
    """An arm's title with its bars where matplotlib can place them."""
    title = tables.arm_title(arm)
    for plain, drawn in BARRED.items():
        title = title.replace(plain, drawn)
    return title


def lost(rows: list[dict], dataset: str, arm: str) -> str:
    """` (2 of 5 diverged)`, or nothing where none did."""
    values = tables.final(rows, dataset, arm).values()
    count = sum(value is None for value in values)
    return f" ({count} of {len(values)} diverged)" if count else ""


def grid(figure, count: int):
    """Two panels for each data set, the right one with room for the arms' names."""
    return figure.subplots(count, 2, squeeze=False, gridspec_kw={"width_ratios": (1.25, 1)})


def curves(axis, rows: list[dict], dataset: str, looks: dict[str, dict]) -> None:
    """Test accuracy against epochs, mean ± sd over the seeds that have not diverged; `looks` by arm."""
    low, high = [], []
    for arm, look in looks.items():
        chosen = [row for row in rows if (row["dataset"], row["arm"]) == (dataset, arm)]
        look = {**look, "label": label(arm) + lost(rows, dataset, arm)}
        _, mean, sd = figures.band(axis, chosen, figures.percent("test_accuracy"), **look)
        if not len(mean):
            continue
        low.append(mean[min(len(mean) - 1, 1 + len(mean) // 10)])
        high.append(max(mean + sd))
    if low:  # chance level, where all begin, would squeeze the rest
        bottom = max(0.0, 5 * np.floor((min(low) - 1) / 5))
        axis.set_ylim(bottom, max(high) + 0.04 * (max(high) - bottom) + 0.1)
    axis.set(xlabel="epoch", ylabel="test accuracy (%)")
    axis.xaxis.get_major_locator().set_params(integer=True)
    plain(axis)


def points(axis, rows: list[dict], dataset: str, looks: dict[str, dict], ordered: bool = True) -> None:
    """Each seed's last test accuracy, an arm a line, the best on top; its mean with its 95 % interval."""
    final = {arm: tables.final(rows, dataset, arm) for arm in looks}
    estimates = {arm: statistics.estimate(values.values()) for arm, values in final.items()}
    arms = list(looks)[::-1]
    if ordered:
        arms.sort(key=lambda arm: -np.inf if estimates[arm].mean is None else estimates[arm].mean)
    for y, arm in enumerate(arms):
        kept, estimate = [value for value in final[arm].values() if value is not None], estimates[arm]
        colour = looks[arm]["color"]
        axis.scatter(kept, np.full(len(kept), y - 0.2), s=14, facecolors="none", edgecolors=colour, linewidths=0.9)
        if estimate.mean is not None:
            spread = None if estimate.low is None else [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
            axis.errorbar(estimate.mean, y + 0.12, xerr=spread, fmt="o", markersize=6, capsize=3, color=colour)
    names = [label(arm) + lost(rows, dataset, arm).replace(" (", "\n(") for arm in arms]
    axis.set_yticks(range(len(arms)), names)
    axis.set(
        xlabel="test accuracy after the last epoch (%)\nrings: seeds; dots: mean, 95 % interval",
        ylim=(-0.6, len(arms) - 0.4),
    )
    plain(axis)


def plain(axis) -> None:
    """A faint grid and no frame above and on the right."""
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
