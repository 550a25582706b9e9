"""SAM's free choices, and the rules that SAM contains (paper, lines 331-337, 347-352 and 391-400).

Claims: the two streams may have different widths; any downstream nonlinearity D_d and either
postsynaptic signal S_post learn about as well as the default (here: at most one point below); and with
V = V̄ = I and the gate as D_d, SAM is exactly backprop, Feedback Alignment or Kolen-Pollack.

    python experiments/variants.py                       # fashion_mnist, about an hour on two cores
    python experiments/variants.py --dataset=digits --epochs=10   # a minute or two
    python experiments/variants.py --remake=runs/FOLDER  # its tables and figure again

Every variant runs with the default's numbers; where d̄ > d the rates of W̄, V and V̄ are divided by d̄/d,
since what V̄ and W̄ send grows with the neurons that send. A reduction runs beside its rival with the
rival's numbers: SAM with that row of settings is the rival's very circuit, so a difference can only come
from the code; tests/test_reductions.py shows the same with stored identity matrices. Leaves in `--out_dir`:
manifest.json, metrics.jsonl, table.md, table.csv, variants.png, verdicts.json.
"""

import comparison
import options
import panels
import present
import runner
from absl import flags

from sam_jax import figures, verdicts

flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(runner)

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


def arms(dataset):
    if options.FLAGS.downstream_widths:
        raise ValueError("--downstream_widths is what this experiment varies: leave it out")
    hidden, found = [int(width) for width in options.FLAGS.hidden_widths], {DEFAULT: runner.Arm("sam")}
    for name, ratios in WIDTHS.items():
        widths = tuple(max(1, round(ratios[i % len(ratios)] * width)) for i, width in enumerate(hidden))
        numbers = comparison.numbers("sam", dataset, dict.fromkeys(("w_bar", "v", "v_bar"), max(1.0, *ratios)))
        found[name] = runner.Arm("sam", circuit={"downstream_widths": widths}, numbers=numbers)
    for name, gate in GATES.items():
        found[name] = runner.Arm("sam", circuit={"downstream_activation": gate})
    found[PLAIN] = runner.Arm("sam", circuit={"gate_postsynaptic": False})
    for name, (rival, held) in REDUCTIONS.items():
        circuit = {"one_to_one": True, "downstream_activation": "gate", **held}
        found |= {rival: runner.Arm(rival), name: runner.Arm("sam", circuit, comparison.numbers(rival, dataset))}
    return found


def largest_difference(rows, dataset, a, b):
    """The largest |a - b| of train loss and test accuracy over all seeds and epochs; None where they do not pair.

    A pair of which one member alone has diverged is infinitely far apart.
    """
    measured = [
        {
            (*(row[k] for k in ("seed", "epoch")), column): row[column]
            for row in rows
            if (row["dataset"], row["arm"]) == (dataset, arm)
            for column in ("train_loss", "test_accuracy")
        }
        for arm in (a, b)
    ]
    if not measured[0] or measured[0].keys() != measured[1].keys():
        return None
    pairs = [(value, measured[1][key]) for key, value in measured[0].items()]
    return max(0.0 if x == y else float("inf") if None in (x, y) else abs(x - y) for x, y in pairs)


def judge(manifest, rows, dataset):
    """The verdicts of one data set."""
    found = []
    for claim, names, says in (
        ("widths", WIDTHS, "The streams may have different widths (tested: at most 1 point below equal widths)"),
        ("downstream_nonlinearity", GATES, "Any D_d (tested: at most 1 point below the identity)"),
        ("postsynaptic_signal", [PLAIN], "Either postsynaptic signal (tested: plain at most 1 point below gated)"),
    ):
        pairs = [(name, DEFAULT) for name in names]
        found.append(comparison.above(claim, manifest, rows, dataset, says, pairs, margin=-1))
    ours, outcomes = [], []
    for name, (rival, _) in REDUCTIONS.items():
        apart = largest_difference(rows, dataset, name, rival)
        ours.append(f"{name}: " + ("no pairs" if apart is None else f"largest difference {apart:g}"))
        outcomes.append("undecided" if apart is None else "holds" if apart == 0 else "does not hold")
    says = "With V = V̄ = I and D_d = gate, SAM is exactly SGD, FA or KP"
    ours = "train loss and test accuracy over all epochs and seeds; " + "; ".join(ours)
    setting = present.setting(manifest, rows, dataset)
    return [*found, verdicts.Verdict("reductions", setting, says, ours, present.together(outcomes))]


def draw(path, manifest, rows):
    from matplotlib.figure import Figure

    names = list(manifest["data"])
    figure = Figure(figsize=(16, 1.4 + 4.6 * len(names)), layout="constrained")
    for (left, middle, right), dataset in zip(figure.subplots(len(names), 3, squeeze=False), names, strict=True):
        panels.curves(left, rows, dataset, LOOKS)
        panels.points(middle, rows, dataset, LOOKS, ordered=False)
        looks = {}
        for name, (rival, _) in REDUCTIONS.items():  # broad and light under thin and dark
            looks[rival] = {"color": RIVAL_COLOURS[rival], "linewidth": 7}
            looks[name] = {"color": "#000000", "linestyle": "--", "linewidth": 1.1}
        panels.curves(right, rows, dataset, looks)
        left.set_title(present.setting(manifest, rows, dataset), fontsize=10)
        middle.set_title("SAM's variants, the default on top", fontsize=10)
        apart = [largest_difference(rows, dataset, name, rival) for name, (rival, _) in REDUCTIONS.items()]
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
