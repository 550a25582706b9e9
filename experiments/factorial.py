"""What SAM's ways with the error cost, one by one and together: gate x W̄ x V, each cell at its own best rate.

Between backprop and SAM lie three choices: what a downstream neuron sends (D_d = gate, as backprop; D_d = I), how W̄
comes about (Wᵀ; plastic; fixed), and what V and V̄ are (I; V orthogonal and V̄ = Vᵀ at the start; random, as SAM's).
Backprop is (gate, Wᵀ, I), Kolen-Pollack (gate, plastic, I), Feedback Alignment (gate, fixed, I), SAM (I, plastic,
random).

    python experiments/factorial.py                                # cifar10, 18 cells: one to three hours on two cores
    python experiments/factorial.py --train_images=20000           # the stored table: half an hour on one fast core
    python experiments/factorial.py --remake=runs/FOLDER           # its tables and figure again

--tune, which is on, chooses each cell's overall factor of rates and decay by validation accuracy. An effect is a mean
over the cells of the other choices, paired by seed; an interaction is what two changes do together beyond the sum. Not
an experiment of the paper's: it gives no verdict. Leaves manifest.json, metrics.jsonl, table.md, table.csv,
factorial.md and factorial_DATASET.png.
"""

import itertools

import jax.numpy as jnp
import numpy as np

from sam_jax import dynamics, lab
from sam_jax.experiments import paper
from sam_jax.lab import figures, statistics, tables
from sam_jax.rules import sam

# Each choice's levels, backprop's first; their names in code and in words.
CHOICES = {
    "D_d": {"gate": "D_d = gate", "identity": "D_d = I"},
    "W̄": {"tied": "W̄ = Wᵀ", "plastic": "W̄ plastic", "fixed": "W̄ fixed"},
    "V": {"one": "V = V̄ = I", "aligned": "V̄ = Vᵀ at first", "random": "V, V̄ random"},
}
CELLS = tuple(itertools.product(*CHOICES.values()))
# From backprop to SAM by one change at a time, and by way of Kolen-Pollack.
WAYS = (
    (
        ("gate", "tied", "one"),
        ("identity", "tied", "one"),
        ("identity", "plastic", "one"),
        ("identity", "plastic", "random"),
    ),
    (("gate", "tied", "one"), ("gate", "plastic", "one"), ("identity", "plastic", "one")),
)
NUMBERS = {"rate_w": 0.1, "rate_w_bar": 0.1, "rate_v": 0.03, "rate_v_bar": 0.03, "decay": 3e-5}
SCALES = {"scale_w": 0.7, "scale_w_bar": 0.6, "scale_v": 0.5, "scale_v_bar": 0.5}


def aligned_init(circuit, key, numbers):
    """V with orthonormal columns, and V̄ its transpose: Lemma 1's limit, where H = I."""
    state = dynamics.init(circuit, key, numbers)
    v = tuple(jnp.linalg.qr(matrix)[0] for matrix in state.synapses.v)
    return state._replace(synapses=state.synapses._replace(v=v, v_bar=tuple(matrix.T for matrix in v)))


def title_of(cell):
    return ", ".join(levels[level] for levels, level in zip(CHOICES.values(), cell, strict=True))


def rule_of(cell):
    """The cell's rule, with a name of its own, by which --tune knows it."""
    gate, w_bar, v = cell
    plastic = ("w", *(("w_bar",) if w_bar == "plastic" else ()), *(() if v == "one" else ("v", "v_bar")))
    circuit = {
        "downstream_activation": gate,
        "feedback_weights": "tied" if w_bar == "tied" else "local",
        "one_to_one": v == "one",
        "plastic": plastic,
    }
    stored = ("w", *(() if w_bar == "tied" else ("w_bar",)), *(() if v == "one" else ("v", "v_bar")))
    numbers = {f"rate_{p}": NUMBERS[f"rate_{p}"] for p in plastic} | {"decay": NUMBERS["decay"]}
    numbers |= {f"scale_{p}": SCALES[f"scale_{p}"] for p in stored}
    how = {"init": aligned_init} if v == "aligned" else {}
    return sam.replace(name="_".join(cell), title=title_of(cell), circuit=circuit, numbers=numbers, space={}, **how)


RULES = {rule.name: rule for rule in map(rule_of, CELLS)}


def check(options):
    if options.downstream_widths not in ((), options.hidden_widths):
        raise ValueError("--downstream_widths: half of the cells need those of --hidden_widths: leave it out")


def arms(options, dataset):
    return {name: lab.Arm(rule) for name, rule in RULES.items()}


def by_seed(results, dataset):
    """{cell: {seed: test measure in percent, None where it diverged}} of the cells that were run."""
    present = results.arms(dataset)
    return {cell: results.final(dataset, name) for cell in CELLS if (name := "_".join(cell)) in present}


def contrast(values, changes):
    """The effect of some changes from backprop's levels, over and above those of fewer: one number for each seed.

    `changes` is {choice: level}; the mean is over all cells of the other choices. A seed without all of its cells has
    None.
    """
    names = list(CHOICES)
    others = itertools.product(*([*CHOICES[name]] for name in names if name not in changes))
    terms = []
    for rest in others:
        left = iter(rest)
        place = {name: None if name in changes else next(left) for name in names}
        for changed in itertools.product((False, True), repeat=len(changes)):
            made = dict(zip(changes, changed, strict=True))
            cell = tuple(place[n] or (changes[n] if made[n] else next(iter(CHOICES[n]))) for n in names)
            terms.append(((-1) ** changed.count(False), cell))
    found = {}
    for seed in sorted(set().union(*map(dict.keys, values.values()))):
        of_seed = [values.get(cell, {}).get(seed) for _, cell in terms]
        whole = None not in of_seed
        total = sum(sign * value for (sign, _), value in zip(terms, of_seed, strict=True)) if whole else None
        found[seed] = total / (len(terms) / 2 ** len(changes)) if whole else None
    return found


def effects(results, dataset):
    """{in words: Paired} of each level against backprop's, and of each two together."""
    values, found = by_seed(results, dataset), {}
    changes = [(choice, level) for choice, levels in CHOICES.items() for level in list(levels)[1:]]
    pairs = [pair for pair in itertools.combinations(changes, 2) if pair[0][0] != pair[1][0]]
    for some in [*((one,) for one in changes), *pairs]:
        one = contrast(values, dict(some))
        words = " × ".join(CHOICES[choice][level] for choice, level in some)
        found[words] = statistics.paired(one, dict.fromkeys(one, 0.0))
    return found


def steps(results, dataset):
    """[(before, after, Paired)] of the cells on the ways from backprop to SAM, in words."""
    values, found = by_seed(results, dataset), []
    for before, after in (step for way in WAYS for step in itertools.pairwise(way)):
        if before in values and after in values:
            found.append((*map(title_of, (before, after)), statistics.paired(values[after], values[before])))
    return found


def text(results, dataset):
    rows = [[words, statistics.describe(paired)] for words, paired in effects(results, dataset).items()]
    header = ("change from backprop's level; × is what two do beyond their sum", "of test accuracy")
    ways = [[before, after, statistics.describe(paired)] for before, after, paired in steps(results, dataset)]
    return (
        f"### {results.setting(dataset)}\n\n{tables.grid(header, rows, numbers=False)}\n"
        "From backprop to SAM by one change at a time, and by way of Kolen–Pollack:\n\n"
        f"{tables.grid(('from', 'to', 'of test accuracy'), ways, numbers=False)}"
    )


def draw(path, results, dataset):
    """Every cell's seeds and mean on the left; the effects with their intervals on the right."""
    from matplotlib.figure import Figure

    values, found = by_seed(results, dataset), effects(results, dataset)
    figure = Figure(figsize=(12.5, 6), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1, 1.1)})
    groups = list(itertools.product(CHOICES["D_d"], CHOICES["W̄"]))
    for place, (gate, w_bar) in enumerate(groups):
        x = [i + 0.11 * (place - 2.5) for i in range(len(CHOICES["V"]))]
        seeds = [[u for u in values.get((gate, w_bar, v), {}).values() if u is not None] for v in CHOICES["V"]]
        look = figures.style("", 1 + list(CHOICES["W̄"]).index(w_bar)) | {"linestyle": "none"}
        marker, fill = ("o", None) if gate == "gate" else ("s", "white")
        for here, some in zip(x, seeds, strict=True):
            left.plot([here] * len(some), some, ".", color=look["color"], alpha=0.35, markersize=4)
        mean = [np.mean(some) if some else np.nan for some in seeds]
        title = figures.label(f"{CHOICES['D_d'][gate]}, {CHOICES['W̄'][w_bar]}")
        left.plot(x, mean, marker=marker, markersize=8, markerfacecolor=fill or look["color"], label=title, **look)
    left.set_xticks(range(len(CHOICES["V"])), map(figures.label, CHOICES["V"].values()))
    left.set(ylabel="test accuracy after the last epoch (%)")
    figures.legend(figure, [left], loc="outside lower left", ncols=2, fontsize=8)
    for y, paired in enumerate(reversed(found.values())):
        if paired.difference is not None:
            known = (
                None if paired.low is None else [[paired.difference - paired.low], [paired.high - paired.difference]]
            )
            right.errorbar(paired.difference, y, xerr=known, fmt="o", color="#000000", capsize=3)
    right.axvline(0, color="#888888", linewidth=1)
    right.set_yticks(range(len(found)), [figures.label(words) for words in reversed(found)], fontsize=8)
    right.set(xlabel="points of test accuracy, 95 % interval", title="change from backprop's level")
    for axis in (left, right):
        figures.plain(axis)
    figure.suptitle(results.setting(dataset), fontsize=10)
    figures.save(figure, path)


def make(results):
    tables.leave(results, reference="gate_tied_one")
    parts = []
    for dataset in results.datasets:
        parts.append(text(results, dataset))
        draw(results.folder / f"factorial_{dataset}.png", results, dataset)
    (results.folder / "factorial.md").write_text("\n".join(parts), encoding="utf-8")


DEFAULTS = {"dataset": ["cifar10"], "epochs": 15, "seeds": 3, "evaluate_every": 5, "tune": True}
EXPERIMENT = paper.experiment("factorial", __doc__, arms, make, defaults=DEFAULTS, check=check)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
