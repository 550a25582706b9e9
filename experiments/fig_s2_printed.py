"""Figure S2 cell by cell: the 144 accuracies that the paper prints, beside ours at the authors' recipe.

Claims (lines 361-368 and 473-476, Fig. S2): the best combination has the smallest η_V; η_V̄ is the largest rate, usually
four times η_W. The paper prints accuracies on CIFAR-10 for factors of the four rates (paper_fig_s2.csv); here the
factors multiply the recipe's rate.

    python experiments/fig_s2_printed.py --epochs=20         # cifar10, 48 cells: 70 minutes on one core
    python experiments/fig_s2_printed.py --others=108 --seeds=3               # all 144 cells, 50 epochs: for a GPU
    python experiments/fig_s2_printed.py --remake=runs/FOLDER                 # its tables and figure again

The cells are the 36 with η_W = 1 and --others of the rest, evenly from the printed order, or those of --cells. How many
epochs the paper's cells had is not known: the recipe's own is printed as 49.77, between what the recipe gives after 20
epochs and after 50. As the authors did, the test images choose the best cell; so no verdict here is a fair choice.
Leaves manifest.json, metrics.jsonl, table.md, table.csv, printed.md, printed_DATASET.png and verdicts.json.
"""

import csv
import pathlib

import numpy as np
from sam_jax.experiments.fig_s2_learning_rates import SETS, papers_order

from sam_jax import lab
from sam_jax.experiments import paper, verdicts
from sam_jax.lab import compare, figures, statistics, tables
from sam_jax.lab.arms import nothing
from sam_jax.rules import RULES

FACTORS = ("w", "w_bar", "v", "v_bar")
PRINTED = pathlib.Path(__file__).parent / "paper_fig_s2.csv"
NAMES = "η_W/η_W̄/η_V/η_V̄"


def printed() -> dict[str, float]:
    """The paper's cells in its order, by name: `1/0.2/1/4`; accuracy in percent."""
    with open(PRINTED, newline="") as file:
        rows = list(csv.DictReader(file))
    return {"/".join(row[f"eta_{p}"] for p in FACTORS): float(row["test_accuracy_percent"]) for row in rows}


def some_cells(names):
    """The check of --cells."""
    unknown = [name for name in names if name not in printed()]
    return f"{unknown[0]!r} is no cell of Figure S2, expected {NAMES} as in 1/0.2/1/4" if unknown else None


FLAGS = (
    lab.Flag("others", 12, "cells with another η_W than 1, evenly from the printed order", lower=0),
    lab.Flag("cells", [], f"these cells alone, {NAMES} as in 1/0.2/1/4", some_cells),
)


def chosen(cells, others: int) -> list[str]:
    """The names to run, in the printed order."""
    if cells:
        return list(dict.fromkeys(cells))
    rest = [name for name in printed() if not name.startswith("1/")]
    places = np.linspace(0, len(rest) - 1, min(others, len(rest))).round().astype(int)
    some = {rest[place] for place in places}
    return [name for name in printed() if name.startswith("1/") or name in some]


def arms(options, dataset):
    sam = RULES["sam"]
    rate = options.numbers_of(sam, dataset.name, {})["rate_w"]
    found = {}
    for name in chosen(options.own.cells, options.own.others):
        factors = dict(zip(FACTORS, map(float, name.split("/")), strict=True))
        numbers = {f"rate_{p}": factor * rate for p, factor in factors.items()}
        found[name] = lab.Arm("sam", numbers=numbers, protocol={"evaluate_every": options.epochs}, tags=factors)
    return found


def pairs(results, dataset):
    """{cell: (the paper's accuracy, our mean over seeds)} of the cells that did not lose all."""
    found = {}
    for name, theirs in printed().items():
        alive = [value for value in results.final(dataset, name).values() if value is not None]
        if alive:
            found[name] = theirs, float(np.mean(alive))
    return found


def correlation(found):
    """Spearman's rank correlation of the pairs in words; none where ours are all alike."""
    from scipy import stats  # a second's import

    theirs, ours = np.array(list(found.values())).T
    if np.ptp(ours) == 0:
        return "not defined"
    rank = stats.spearmanr(theirs, ours)
    return f"{rank.statistic:.2f} (p = {rank.pvalue:.1g})"


def verdict(claim, says, results, dataset, has):
    """Whether the best of our cells has the property, against the best without it; paired over their common seeds.

    None of a single seed, which has no interval.
    """
    ours = {name: mean for name, (_, mean) in pairs(results, dataset).items()}
    ranked = sorted(ours, key=lambda name: -ours[name])
    sides = [[name for name in ranked if has(name) is wanted] for wanted in (True, False)]
    if not all(sides) or len({row["seed"] for row in results.rows if row["dataset"] == dataset}) < 2:
        return None
    best, rival = (side[0] for side in sides)
    effect = compare.Effect(
        f"the best as claimed ({best}) − the best otherwise ({rival})", results.difference(dataset, best, rival)
    )
    outcome = statistics.outcome(effect.paired.low, effect.paired.high)
    if results.lost(dataset, best if outcome == "holds" else rival):
        outcome = "undecided"  # the seeds that are left may be the lucky ones
    words = f"{NAMES} as factors; chosen on the test images, as the authors did; {effect.words}"
    return verdicts.Verdict(claim, results.setting(dataset), says, words, outcome, (effect,))


def smallest_v(name):
    return name.split("/")[2] == "0.1"


def as_claimed(name):
    w, *others = map(float, name.split("/"))
    return papers_order(tuple(factor / w for factor in others), ())


def text(results, dataset):
    found = pairs(results, dataset)
    theirs, ours = np.array(list(found.values())).T
    apart = ours - theirs
    rows = [[name, f"{a:.2f}", f"{b:.2f}", f"{b - a:+.2f}"] for name, (a, b) in found.items()]
    lost = [name for name in results.arms(dataset) if name in printed() and name not in found]
    return (
        f"### {results.setting(dataset)}\n\nSpearman's rank correlation of our {len(found)} cells with the paper's: "
        f"{correlation(found)}. Ours − the paper's: mean {apart.mean():+.2f} points, "
        f"sd {apart.std(ddof=1):.2f}, from {apart.min():+.2f} to {apart.max():+.2f}."
        + (f" All seeds diverged in {', '.join(lost)}." if lost else "")
        + f"\n\n{tables.grid((NAMES, 'the paper, test %', 'here, test %', 'diff.'), rows)}"
    )


def draw(path, results, dataset):
    """Our cells against the paper's; what lies on the line agrees. On the right, the corner where most lie."""
    from matplotlib.figure import Figure

    found = pairs(results, dataset)
    every = np.array([*found.values()])
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    for axis, low in zip(figure.subplots(1, 2), (every.min() - 1, np.floor(np.percentile(every, 10))), strict=True):
        for place, (v_bar, marker) in enumerate((("1", "o"), ("2", "s"), ("4", "^"))):
            for w_is_one in (True, False):
                names = [n for n in found if n.split("/")[3] == v_bar and n.startswith("1/") is w_is_one]
                if names:
                    x, y = np.array([found[name] for name in names]).T
                    colour = figures.style("", place)["color"]
                    label = rf"$\eta_{{\bar V}}$ = {v_bar}" + ("" if w_is_one else r", another $\eta_W$ than 1")
                    fill = colour if w_is_one else "none"
                    axis.scatter(x, y, s=32, marker=marker, label=label, edgecolors=colour, facecolors=fill)
        ends = [low, every.max() + 0.5]
        axis.plot(ends, ends, color="#888888", linewidth=1, linestyle=":", label="equal")
        axis.set(xlim=ends, ylim=ends, aspect="equal", ylabel="here, test accuracy (%)")
        axis.set_xlabel("the paper's Figure S2, test accuracy (%)")
        figures.plain(axis)
    figure.axes[0].legend(frameon=False, fontsize=9)
    figure.suptitle(f"{results.setting(dataset)}\nSpearman's rank correlation {correlation(found)}", fontsize=10)
    figures.save(figure, path)


def make(results):
    tables.leave(results)
    found, parts = [], []
    for dataset in results.datasets:
        if len(pairs(results, dataset)) < 3:
            continue
        parts.append(text(results, dataset))
        draw(results.folder / f"printed_{dataset}.png", results, dataset)
        for claim, says, has in (
            ("s2", "the best of the cells has the smallest η_V", smallest_v),
            ("rate_order", "η_V̄ is the largest, usually four times η_W, and η_V the smallest", as_claimed),
        ):
            found.append(verdict(claim, says, results, dataset, has))
    (results.folder / "printed.md").write_text("\n".join(parts), encoding="utf-8")
    verdicts.write(results.folder, [one for one in found if one])


DEFAULTS = {"dataset": ["cifar10"], "recipe": "authors2025", "seeds": 1}
EXPERIMENT = paper.experiment(
    "fig_s2_printed", __doc__, arms, make, probe=nothing, defaults=DEFAULTS, flags=FLAGS, sets=SETS
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
