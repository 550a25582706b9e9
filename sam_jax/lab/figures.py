"""What the figures of results share: looks, bands over seeds, and the panels that compare arms."""

import io
import math
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from sam_jax.lab import statistics
from sam_jax.lab.results import Results
from sam_jax.rule import NONE
from sam_jax.rules import RULES

# Okabe and Ito's colour-blind-safe palette; dashes tell the rules apart without colour. One look a rule, in order.
_OF_RULES = (
    ("#000000", "--"),
    ("#E69F00", "-."),
    ("#009E73", ":"),
    ("#56B4E9", (0, (5, 1, 1, 1, 1, 1))),
    ("#D55E00", "-"),
    ("#0072B2", "--"),
    ("#0072B2", ":"),
    ("#CC79A7", "-."),
    ("#56B4E9", "-"),
    ("#56B4E9", ":"),
    ("#009E73", "-"),
    ("#999999", "-"),
)
STYLE = dict(zip(RULES, _OF_RULES, strict=True))
BARRED = {"W̄": r"$\mathregular{\bar{W}}$", "V̄": r"$\mathregular{\bar{V}}$", "d̄": r"$\mathregular{\bar{d}}$"}
MATHTEXT = {"w": "W", "w_bar": "\\bar{W}", "v": "V", "v_bar": "\\bar{V}"}  # the pathways' symbols between two $

OF_PAPER = {"marker": "D", "markersize": 5, "markerfacecolor": "white", "color": "#777777", "linestyle": "none"}

PALETTE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)))
_PAIRS = [(PALETTE[i % len(PALETTE)], _DASHES[i % len(_DASHES)]) for i in range(len(PALETTE) * len(_DASHES))]
_LOOKS = [look for look in _PAIRS if look not in STYLE.values()]  # the rules keep theirs


def style(arm: str, place: int) -> dict:
    """How an arm is drawn: our rules always alike, any other by its place; no two alike among the first forty."""
    colour, dashes = STYLE.get(arm, _LOOKS[place % len(_LOOKS)])
    return {"color": colour, "linestyle": dashes}


def looks(results: Results, dataset: str, known: dict[str, dict]) -> dict[str, dict]:
    """The looks of a data set's arms: those known, and any other arm's, a rule beside them, by its place."""
    return {arm: known.get(arm) or style(arm, place) for place, arm in enumerate(results.arms(dataset))}


def epoch(row: dict) -> float:
    """A row's place on a figure's x axis, where nothing else is said."""
    return row["epoch"]


def band(axis, rows: list[dict], value: Callable, along: Callable = epoch, **look):
    """Draws mean ± sd over the seeds against epochs, or what else rows lie along; returns x, mean, sd.

    Args:
      axis: matplotlib's.
      rows: an arm's rows.
      value: a row's number, or None: a seed that diverged is drawn no further.
      along: a row's place on the x axis, the same for all seeds.
      look: of the line.
    """
    at: dict[float, list[float]] = {}
    for row in rows:
        if (number := value(row)) is not None:
            at.setdefault(along(row), []).append(number)
    x = sorted(at)
    mean = np.array([np.mean(at[place]) for place in x])
    sd = np.array([np.std(at[place], ddof=1) if len(at[place]) > 1 else 0.0 for place in x])
    axis.plot(x, mean, **({"linewidth": 1.8} | look))
    axis.fill_between(x, mean - sd, mean + sd, color=look["color"], alpha=0.15, linewidth=0)
    return x, mean, sd


def percent(column: str) -> Callable:
    """A `value` for `band`: the column in percent."""
    return lambda row: None if row[column] is None else 100 * row[column]


def label(title: str) -> str:
    """A title with its bars where matplotlib can place them."""
    for plain_text, drawn in BARRED.items():
        title = title.replace(plain_text, drawn)
    return title


def save(figure, path, dpi: int = 120, shades: bool = False):
    """As a PNG that is sharp on a page and small enough for the report to hold all: of 256 colours, unless `shades`."""
    from PIL import Image

    whole = io.BytesIO()
    figure.savefig(whole, dpi=dpi)
    image = Image.open(whole).convert("RGB")
    (image if shades else image.quantize(256, dither=Image.Dither.NONE)).save(path, optimize=True)


def plain(axis) -> None:
    """A faint grid and no frame above and on the right."""
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def panels(figure, count: int):
    """Two panels for each data set, the right one with room for the arms' names."""
    return figure.subplots(count, 2, squeeze=False, gridspec_kw={"width_ratios": (1.25, 1)})


def compared(
    figure, results: Results, known: dict[str, dict], ordered: bool = True, paper: Mapping[str, Mapping] = NONE
) -> list[tuple]:
    """For each data set (left, right, its name): `accuracy` drawn on the left, `points` on the right.

    `paper` holds the paper's values by data set and arm.
    """
    found = []
    for (left, right), dataset in zip(panels(figure, len(results.datasets)), results.datasets, strict=True):
        of_arms = looks(results, dataset, known)
        accuracy(left, results, dataset, of_arms)
        points(right, results, dataset, of_arms, ordered, paper.get(dataset, NONE))
        left.set_title(results.setting(dataset), fontsize=10)
        found.append((left, right, dataset))
    return found


def accuracy(axis, results: Results, dataset: str, looks: dict[str, dict], split: str = "test") -> None:
    """Accuracy against epochs, mean ± sd over the seeds that have not diverged; `looks` by arm."""
    drawn = []
    for arm, look in looks.items():
        look = {**look, "label": label(results.title(arm)) + results.lost(None, arm)}  # one legend for all panels
        x, mean, sd = band(axis, results.of(dataset, arm), percent(f"{split}_accuracy"), **look)
        if len(x) > 1:
            drawn.append((x[-1], mean[1 + len(mean) // 10 :] if len(x) > 2 else mean[1:], max(mean + sd)))
    if drawn:  # chance level, where all begin and the diverged end, would squeeze the rest
        last = max(end for end, *_ in drawn)
        low = [min(values) if end == last else max(values) for end, values, _ in drawn]
        high = [top for *_, top in drawn]
        bottom = max(0.0, 5 * np.floor((min(low) - 1) / 5))
        highest = min(100.0, max(high))  # a band may end above
        axis.set_ylim(bottom, highest + 0.04 * (highest - bottom) + 0.1)
    axis.set(xlabel="epoch", ylabel=f"{split} accuracy (%)")
    axis.xaxis.get_major_locator().set_params(integer=True)
    plain(axis)


def legend(figure, axes, **look) -> None:
    """One legend below the figure for several panels, each label once."""
    handles = {name: handle for axis in axes for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, **{"loc": "outside lower center", "frameon": False} | look)


def far_below(means: list[float]) -> float | None:
    """The highest of a few means that lie far below all others, which would squeeze these; None where none does."""
    ordered = sorted(means)
    for place in range(min(len(ordered) // 3, len(ordered) - 2)):
        gap, rest = ordered[place + 1] - ordered[place], ordered[-1] - ordered[place + 1]
        if gap > 10 + 5 * rest:
            return ordered[place]
    return None


def points(
    axis, results: Results, dataset: str, looks: dict[str, dict], ordered: bool = True, paper: Mapping = NONE
) -> None:
    """Each seed's last test accuracy, an arm a line, the best on top; its mean with its 95 % interval; the paper's."""
    final = {arm: results.final(dataset, arm, "test_accuracy") for arm in looks}
    estimates = {arm: statistics.estimate(values.values()) for arm, values in final.items()}
    arms = list(looks)[::-1]
    if ordered:
        arms.sort(key=lambda arm: float("-inf" if (mean := estimates[arm].mean) is None else mean))
    for y, arm in enumerate(arms):
        kept, estimate = [value for value in final[arm].values() if value is not None], estimates[arm]
        colour = looks[arm]["color"]
        axis.scatter(kept, np.full(len(kept), y - 0.2), s=14, facecolors="none", edgecolors=colour, linewidths=0.9)
        if estimate.mean is not None:
            spread = None
            if estimate.low is not None and estimate.high is not None:
                spread = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
            axis.errorbar(estimate.mean, y + 0.12, xerr=spread, fmt="o", markersize=6, capsize=3, color=colour)
        if arm in paper:
            axis.plot(paper[arm], y + 0.12, **OF_PAPER)
    cut = far_below([estimate.mean for estimate in estimates.values() if estimate.mean is not None])
    if cut is not None:
        high = [arm for arm in arms if (mean := estimates[arm].mean) is not None and mean > cut]
        shown = [value for arm in high for value in final[arm].values() if value is not None]
        margin = 0.06 * (max(shown) - min(shown)) + 0.1
        axis.set_xlim(min(shown) - margin, max(shown) + margin)
        for y, arm in enumerate(arms):
            mean = estimates[arm].mean
            if mean is not None and mean <= cut:
                at = {"xy": (0.01, y + 0.12), "xycoords": ("axes fraction", "data"), "va": "center"}
                axis.annotate(f"◂ {mean:.1f}, outside the panel", **at, color=looks[arm]["color"], fontsize=8)
    names = [label(results.title(arm)) + results.lost(dataset, arm).replace(" (", "\n(") for arm in arms]
    axis.set_yticks(range(len(arms)), names)
    axis.set(
        xlabel="test accuracy after the last epoch (%)\nrings: seeds; dots: mean, 95 % interval"
        + ("\ndiamonds: the paper" if paper else ""),
        ylim=(-0.6, len(arms) - 0.4),
    )
    plain(axis)


def curves(path: pathlib.Path, results: Results, splits: tuple[str, ...] = ("test", "train")) -> None:
    """Accuracy against epochs: a column for each data set, a row for each split, mean ± sd over seeds."""
    from matplotlib.figure import Figure  # no global state: works beside a user's own figures

    names = results.datasets
    every = list(dict.fromkeys(arm for name in names for arm in results.arms(name)))
    titles = [results.title(arm) for arm in every]
    width = max(7.0 if len(every) > 6 else 5.2, 0.6 + 3.6 * len(names))
    columns = min(
        len(every), max(1, int(width / (0.8 + 0.085 * max(map(len, titles)))))
    )  # what the legend has room for
    size = (width, 0.4 + 3 * len(splits) + 0.22 * math.ceil(len(every) / columns))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(splits), len(names), squeeze=False, sharex="col")
    handles: dict = {}
    for column, name in enumerate(names):
        looks = {arm: style(arm, place) for place, arm in enumerate(every) if arm in results.arms(name)}
        for axis, split in zip(axes[:, column], splits, strict=True):
            accuracy(axis, results, name, looks, split)
            axis.set(xlabel="", ylabel="")  # at the edges alone; the scales differ, and stay
            lines, _ = axis.get_legend_handles_labels()
            handles |= dict(zip(looks, lines, strict=False))
        lost = len(results.diverged_seeds(name))
        axes[0, column].set_title(name + (f" ({lost} diverged)" if lost else ""))
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    for axis, split in zip(axes[:, 0], splits, strict=True):
        axis.set_ylabel(f"{split} accuracy (%)")
    shown = [results.title(arm) for arm in handles]
    figure.legend(handles.values(), shown, loc="outside lower center", ncols=columns, frameon=False)
    save(figure, path)
