"""Figure S2 of the paper: accuracy over 64 combinations of the four learning rates, and which of them is best.

Claims (lines 361-368 and 473-476, Fig. S2): among 64 combinations of η_W, η_W̄, η_V and η_V̄ the best has
the smallest η_V; η_V̄ is the largest of the four, usually four times η_W.

    python experiments/fig_s2_learning_rates.py --train_images=10000 --epochs=4   # 64 x 5 runs: 7 minutes, two cores

The paper's text names neither the values nor the data set; what its figure prints is in fig_s2_printed.py. Here η_W̄,
η_V and η_V̄ are each --ratios_... times η_W, and η_W, the decay and the scales are the data set's config's. All
combinations share one compiled program. A seed that diverges counts as guessing the commonest label. Combinations are
ranked by validation accuracy alone; the best with a property is then compared with the best without it on the test
set, which had no part in that.
Leaves manifest.json, metrics.jsonl, table.md, table.csv, learning_rates_DATASET.png and verdicts.json.
"""

import itertools

import numpy as np

from sam_jax import lab
from sam_jax.experiments import paper, verdicts
from sam_jax.lab import compare, figures, flags, statistics, tables
from sam_jax.lab.arms import nothing
from sam_jax.rules import RULES

SYMBOLS = {"w_bar": "η_W̄", "v": "η_V", "v_bar": "η_V̄"}
SETS = (*(f"rate_{p}" for p in SYMBOLS), "evaluate_every")  # by each cell
DEFAULT = ["0.0625", "0.25", "1", "4"]
RATIOS = tuple(
    lab.Flag(f"ratios_{p}", DEFAULT, f"values of {symbol} / η_W", flags.numbers()) for p, symbol in SYMBOLS.items()
)


def arms(options, dataset):
    values = [sorted({float(text) for text in getattr(options.own, f"ratios_{p}")}) for p in SYMBOLS]
    rate_w = options.numbers_of(RULES["sam"], dataset.name, {})["rate_w"]
    found = {}
    for ratios in itertools.product(*values):
        name = ", ".join(f"{symbol} {r:g}" for symbol, r in zip(SYMBOLS.values(), ratios, strict=True))
        numbers = {f"rate_{p}": r * rate_w for p, r in zip(SYMBOLS, ratios, strict=True)}
        tags = dict(zip(SYMBOLS, ratios, strict=True))
        found[name] = lab.Arm("sam", numbers=numbers, protocol={"evaluate_every": options.epochs}, tags=tags)
    return found


def ratios_of(cell):
    """(η_W̄, η_V, η_V̄) / η_W of an arm, from the manifest."""
    return tuple(cell["tags"][p] for p in SYMBOLS)


def combinations(results, dataset):
    """The arms that are combinations of rates, by name; not the rules beside them."""
    return {arm: cell for arm, cell in results.cells(dataset).items() if cell["tags"]}


def scores(results, dataset, column):
    """{ratios: {seed: accuracy %}} of the runs that are through, a diverged one at chance."""
    chance, found = results.chance(dataset, "accuracy"), {}
    for arm, cell in combinations(results, dataset).items():
        last = {row["seed"]: row["epoch"] for row in results.of(dataset, arm)}
        through = [seed for seed, epoch in last.items() if epoch == cell["protocol"]["epochs"]]
        values = compare.at_chance(results.final(dataset, arm, column), chance)
        if through:
            found[ratios_of(cell)] = {seed: values[seed] for seed in through}
    return found


def lost_seeds(results, dataset):
    """{ratios: how many of its seeds diverged}, of those that lost any."""
    counts = {
        ratios_of(cell): list(results.final(dataset, arm, "test_accuracy").values()).count(None)
        for arm, cell in combinations(results, dataset).items()
    }
    return {ratios: count for ratios, count in counts.items() if count}


def smallest_v(ratios, every):
    return ratios[1] == min(r[1] for r in every)


def papers_order(ratios, every):
    """η_V̄ the largest and η_V the smallest of the four (η_W̄ may equal either), η_V̄ about four times η_W."""
    w_bar, v, v_bar = ratios
    return v_bar >= w_bar and v <= w_bar and v < 1 and 2 <= v_bar <= 8


def verdict(claim, says, results, dataset, has):
    """Whether the best combination is one that `has` the property; None where all have it, or none."""
    val, test = (scores(results, dataset, f"{split}_accuracy") for split in ("val", "test"))
    ranked = sorted(val, key=lambda ratios: -np.mean([*val[ratios].values()]))
    with_it, without = ([r for r in ranked if has(r, ranked) is wanted] for wanted in (True, False))
    if not with_it or not without:
        return None
    paired = statistics.paired(test[with_it[0]], test[without[0]])
    outcome = statistics.outcome(paired.low, paired.high)
    lost = lost_seeds(results, dataset).keys()
    if (outcome == "holds") != has(ranked[0], ranked) or lost & {with_it[0], without[0]}:
        outcome = "undecided"  # the two splits contradict each other, or divergence alone would decide
    named = ["/".join(f"{r:g}" for r in ratios) for ratios in (ranked[0], with_it[0], without[0])]
    reached = [float(np.mean([*split[ranked[0]].values()])) for split in (val, test)]
    effect = compare.Effect(f"the best as claimed ({named[1]}) − the best otherwise ({named[2]})", paired)
    ours = (
        f"η_W̄/η_V/η_V̄ in units of η_W: best on validation {named[0]} ({reached[0]:.2f} %, {reached[1]:.2f} % on test); "
        f"on test, {effect.words}"
    )
    ours += "; diverged seeds are among these" if lost & {with_it[0], without[0]} else ""
    return verdicts.Verdict(claim, results.setting(dataset), says, ours, outcome, (effect,))


def draw(path, results, dataset):
    """Four heat maps, one for each η_V: mean validation accuracy over η_W̄ and η_V̄, the best cell framed."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    val = scores(results, dataset, "val_accuracy")
    means = {ratios: float(np.mean([*values.values()])) for ratios, values in val.items()}
    lost = lost_seeds(results, dataset)
    w_bars, vs, v_bars = (sorted({ratios[i] for ratios in means}) for i in range(3))
    best = max(means, key=means.get)
    figure = Figure(figsize=(1.2 + 2.9 * max(2, len(vs)), 4.1), layout="constrained")
    axes = figure.subplots(1, len(vs), sharey=True, squeeze=False)[0]
    high = max(means.values())
    low = max(min(means.values()), high - 15)  # the lowest would squeeze what matters
    for axis, v in zip(axes, vs, strict=True):
        grid = np.array([[means.get((w_bar, v, v_bar), np.nan) for v_bar in v_bars] for w_bar in w_bars])
        image = axis.imshow(grid, cmap="cividis", vmin=low, vmax=high, origin="lower")
        for (y, w_bar), (x, v_bar) in itertools.product(enumerate(w_bars), enumerate(v_bars)):
            if (here := (w_bar, v, v_bar)) in means:
                ink = "black" if means[here] > (low + high) / 2 else "white"
                mark = f"\n✕{lost.get(here, 0)}" if here in lost else ""
                axis.text(x, y, f"{means[here]:.1f}{mark}", color=ink, ha="center", va="center", fontsize=9)
                if here == best:
                    axis.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, fill=False, ec="#D55E00", lw=3))
        axis.set_title(f"$\\eta_V$ = {v:g} $\\eta_W$", fontweight="bold" if v == best[1] else "normal")
        axis.set_xlabel("$\\eta_{\\bar V}$ / $\\eta_W$")
        axis.set_xticks(range(len(v_bars)), [f"{r:g}" for r in v_bars])
        axis.set_yticks(range(len(w_bars)), [f"{r:g}" for r in w_bars])
    axes[0].set_ylabel("$\\eta_{\\bar W}$ / $\\eta_W$")
    below = "min" if low > min(means.values()) else "neither"
    figure.colorbar(image, ax=axes, label="validation accuracy (%)", extend=below)
    rate_w = next(iter(combinations(results, dataset).values()))["numbers"]["rate_w"]
    figure.suptitle(
        f"{results.setting(dataset)}, $\\eta_W$ = {rate_w:.3g}\n"
        "Framed: the best. ✕n: n seeds diverged, counting as guesses",
        fontsize=10,
    )
    figures.save(figure, path, shades=True)


def make(results):
    tables.leave(results)
    found, folder = [], results.folder
    for dataset in results.datasets:
        if scores(results, dataset, "val_accuracy"):
            draw(folder / f"learning_rates_{dataset}.png", results, dataset)
            for claim, says, has in (
                ("s2", "the best of 64 combinations has the smallest η_V", smallest_v),
                ("rate_order", "η_V̄ is the largest, usually four times η_W, and η_V the smallest", papers_order),
            ):
                found.append(verdict(claim, says, results, dataset, has))
    verdicts.write(folder, [v for v in found if v])


DEFAULTS = {"dataset": ["cifar10"], "seeds": 3}
EXPERIMENT = paper.experiment(
    "fig_s2_learning_rates",
    __doc__,
    arms,
    make,
    probe=nothing,
    defaults=DEFAULTS,
    flags=RATIOS,
    sets=SETS,
    check=flags.need_validation,
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
