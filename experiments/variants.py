"""SAM's free choices, and the rules that SAM contains (paper, lines 331-337, 347-352 and 391-400).

Claims: the two streams may have different widths; any downstream nonlinearity D_d and either
postsynaptic signal S_post learn about as well as the default (here: at most one point below); and with
V = V̄ = I and the gate as D_d, SAM is exactly backprop, Feedback Alignment or Kolen-Pollack.

    python experiments/variants.py                       # fashion_mnist, about an hour on two cores
    python experiments/variants.py --dataset=digits --epochs=10   # a minute or two
    python experiments/variants.py --remake=runs/FOLDER  # its tables and figure again

Every variant, the default too, runs with the default's numbers and with --factors times its rates and decay, and
counts by the factor with the best validation accuracy (a diverged seed at chance). Where d̄ > d the rates of W̄, V and V̄
are divided by d̄/d, since what V̄ and W̄ send grows with the neurons that send. A reduction runs beside its rival with
the rival's numbers: it is then the rival's very circuit, so a difference can only come from the code;
tests/test_reductions.py shows the same with stored identity matrices. Leaves in `--out_dir`: manifest.json,
metrics.jsonl, table.md, table.csv, variants.png, verdicts.json.
"""

import comparison
import options
import panels
import present
import runner
from absl import flags

from sam_jax import figures, sweep, tables, verdicts
from sam_jax.circuit import PATHWAYS

flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(runner)

FACTORS = flags.DEFINE_list("factors", ["1", "0.3", "0.1"], "times the default's rates and decay")
DEFAULT, PLAIN = "SAM (default)", "S_post plain"
WIDTHS = {"d̄ = d/2": (0.5,), "d̄ = 2d": (2.0,), "d̄ uneven": (0.6, 1.5, 0.4)}  # d̄/d, layer after layer
GATES = {f"D_d = {name}": name for name in ("gate", "relu", "tanh")}
REDUCTIONS = {  # the rival, its rule, and what SAM's circuit holds to become it
    "SAM as SGD": ("sgd", {"feedback_weights": "tied", "plastic": ("w",)}),
    "SAM as Feedback Alignment": ("fa", {"plastic": ("w",)}),
    "SAM as Kolen–Pollack": ("kp", {"plastic": ("w", "w_bar")}),
}
VARIANTS = (DEFAULT, *WIDTHS, *GATES, PLAIN)
LOOKS = {arm: figures.style(arm, place) for place, arm in enumerate(VARIANTS)}
RIVAL_COLOURS = {"sgd": "#999999", "fa": "#E69F00", "kp": "#56B4E9"}


def at(name, factor):
    """An arm's name."""
    return name if factor == 1 else f"{name}, rates × {factor:g}"


def tried(rows, dataset, name):
    """A variant's arms, one for each factor."""
    arms = dict.fromkeys(row["arm"] for row in rows if row["dataset"] == dataset)
    return [arm for arm in arms if arm == name or arm.startswith(f"{name}, rates")]


def chosen(manifest, rows, dataset):
    """`found[variant]`: the arm of its best factor by mean validation accuracy."""
    rows, chance = [row for row in rows if row["dataset"] == dataset], manifest["data"][dataset]["trivial_test"] / 100
    scores, end = {}, max(row["epoch"] for row in rows)
    for arm in dict.fromkeys(row["arm"] for row in rows):
        scores[arm] = sweep.score([row for row in rows if (row["arm"], row["epoch"]) == (arm, end)], chance)
    return {name: max(tried(rows, dataset, name), key=scores.get) for name in VARIANTS}


def bracketed(rows, dataset, name, best):
    """Whether the best factor has one on either side that trained: then no better one is to be expected."""
    arms = tried(rows, dataset, name)
    alive = [any(v is not None for v in tables.final(rows, dataset, arm).values()) for arm in arms]
    place = arms.index(best)
    return 0 < place < len(arms) - 1 and alive[place - 1] and alive[place + 1]


def arms(dataset):
    if options.FLAGS.downstream_widths:
        raise ValueError("--downstream_widths is what this experiment varies: leave it out")
    hidden, found = [int(width) for width in options.FLAGS.hidden_widths], {}
    fields = {DEFAULT: {}, PLAIN: {"gate_postsynaptic": False}}
    fields |= {name: {"downstream_activation": gate} for name, gate in GATES.items()}
    for name, ratios in WIDTHS.items():
        widths = tuple(max(1, round(ratios[i % len(ratios)] * width)) for i, width in enumerate(hidden))
        fields[name] = {"downstream_widths": widths}
    for name in VARIANTS:
        wider = max((1.0, *WIDTHS.get(name, ())))
        for factor in map(float, FACTORS.value):
            divide = {p: (1 if p == "w" else wider) / factor for p in PATHWAYS} | {"decay": 1 / factor}
            numbers = comparison.numbers("sam", dataset, divide)
            found[at(name, factor)] = runner.Arm("sam", circuit=fields[name], numbers=numbers)
    for name, (rival, held) in REDUCTIONS.items():
        circuit = {"one_to_one": True, "downstream_activation": "gate", **held}
        found |= {rival: runner.Arm(rival), name: runner.Arm("sam", circuit, comparison.numbers(rival, dataset))}
    return found


def judge(manifest, rows, dataset):
    """The verdicts of one data set."""
    found, best = [], chosen(manifest, rows, dataset)
    for claim, names, says in (
        ("widths", WIDTHS, "The streams may have different widths (tested: at most 1 point below equal widths)"),
        ("downstream_nonlinearity", GATES, "Any D_d (tested: at most 1 point below the identity)"),
        ("postsynaptic_signal", [PLAIN], "Either postsynaptic signal (tested: plain at most 1 point below gated)"),
    ):
        pairs = [(best[name], best[DEFAULT]) for name in names]
        verdict = comparison.above(claim, manifest, rows, dataset, says, pairs, margin=-1)
        if verdict.outcome == "does not hold" and not all(bracketed(rows, dataset, name, best[name]) for name in names):
            note = "; undecided, since a better factor may lie beyond or between those tried"
            verdict = verdict._replace(outcome="undecided", ours=verdict.ours + note)
        found.append(verdict)
    ours, outcomes = [], []
    for name, (rival, _) in REDUCTIONS.items():
        apart = comparison.largest_difference(rows, dataset, name, rival)
        ours.append(f"{name}: " + ("no pairs" if apart is None else f"largest difference {apart:g}"))
        outcomes.append("undecided" if apart is None else "holds" if apart == 0 else "does not hold")
    says = "With V = V̄ = I and D_d = gate, SAM is exactly SGD, FA or KP"
    ours = "one circuit by construction; train loss and test accuracy over all epochs and seeds; " + "; ".join(ours)
    setting = present.setting(manifest, rows, dataset)
    return [*found, verdicts.Verdict("reductions", setting, says, ours, present.together(outcomes))]


def draw(path, manifest, rows):
    from matplotlib.figure import Figure

    names = list(manifest["data"])
    figure = Figure(figsize=(16, 1.4 + 4.6 * len(names)), layout="constrained")
    for (left, middle, right), dataset in zip(figure.subplots(len(names), 3, squeeze=False), names, strict=True):
        looks = {arm: LOOKS[name] for name, arm in chosen(manifest, rows, dataset).items()}
        panels.curves(left, rows, dataset, looks)
        panels.points(middle, rows, dataset, looks, ordered=False)
        looks = {}
        for name, (rival, _) in REDUCTIONS.items():  # broad and light under thin and dark
            looks[rival] = {"color": RIVAL_COLOURS[rival], "linewidth": 7}
            looks[name] = {"color": "#000000", "linestyle": "--", "linewidth": 1.1}
        panels.curves(right, rows, dataset, looks)
        left.set_title(present.setting(manifest, rows, dataset), fontsize=10)
        middle.set_title("SAM's variants at their best factor, the default on top", fontsize=10)
        apart = [comparison.largest_difference(rows, dataset, name, rival) for name, (rival, _) in REDUCTIONS.items()]
        known = "–" if None in apart else f"{max(apart):g}"
        right.set_title(f"SAM (thin) with a rival's settings and numbers\nlargest difference: {known}", fontsize=10)
    for axis, title, place in ((left, "variants", "lower left"), (right, "reductions", "lower right")):
        handles, labels = axis.get_legend_handles_labels()
        figure.legend(
            handles, labels, title=title, loc=f"outside {place}", ncols=4 if axis is left else 3, frameon=False
        )
    figure.savefig(path, dpi=150)


def make(folder):
    manifest, rows = present.write_tables(folder, reference=DEFAULT)
    draw(folder / "variants.png", manifest, rows)
    verdicts.write(folder, [verdict for dataset in manifest["data"] for verdict in judge(manifest, rows, dataset)])


if __name__ == "__main__":
    runner.main(arms, make, dataset=["fashion_mnist"], epochs=15, seeds=5)
