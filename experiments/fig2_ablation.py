"""Figure 2 of the paper (S1c; lines 101-108 and 452-470): which of SAM's pathways must be plastic?

Claims, on CIFAR-10: plastic W alone is no better than a linear network; of the other pathways V̄ adds
most, from about 40 % to about 46 %; V̄ alone is worth as much as W̄ and V together (line 465, which
prints "W, V"); all four plastic reach SGD and are the best subset.

    python experiments/fig2_ablation.py                       # cifar10, 2-3 hours on two cores
    python experiments/fig2_ablation.py --dataset=digits --epochs=10   # a minute or two
    python experiments/fig2_ablation.py --remake=runs/FOLDER  # its tables and figure again

All eight subsets of pathways with W run with one set of numbers, SAM's; a pathway that is not plastic
stays as it was drawn. The linear network is SGD on the same layers without the nonlinearity, at a rate
of its own since it diverges at SGD's. V is used by eq. (9) alone, so while W̄ is held V changes nothing:
"W, V" is "W", and "W, V, V̄" is "W, V̄", number for number. Leaves in `--out_dir`: manifest.json,
metrics.jsonl, table.md, table.csv, fig2.png, verdicts.json.
"""

from sam_jax import lab
from sam_jax.circuit import SYMBOLS
from sam_jax.experiments import paper, verdicts
from sam_jax.lab import compare, figures, statistics, tables

OTHERS = ((), ("w_bar",), ("v",), ("v_bar",), ("w_bar", "v"), ("w_bar", "v_bar"), ("v", "v_bar"))
SUBSETS = {
    ", ".join(SYMBOLS[p] for p in plastic): plastic
    for plastic in (("w", *others) for others in (*OTHERS, ("w_bar", "v", "v_bar")))
}
ALL = "W, W̄, V, V̄"
LINEAR, SGD = "linear network", "SGD"
# Read off the paper's Figure 2, after 50 epochs of CIFAR-10.
PAPER = {
    "cifar10": {LINEAR: 39.0, "W": 39.3, "W, W̄": 40.5, "W, V": 39.0, "W, V̄": 47.0}
    | {"W, W̄, V": 45.4, "W, W̄, V̄": 46.9, "W, V, V̄": 46.5, ALL: 49.3}
}

# Solid where V̄ is plastic, dashed where it is not; the colour says which of W̄ and V are.
_COLOURS = {(): "#E69F00", ("w_bar",): "#0072B2", ("v",): "#009E73", ("w_bar", "v"): "#D55E00"}
LOOKS = {
    arm: {
        "color": _COLOURS[tuple(p for p in plastic if p in ("w_bar", "v"))],
        "linestyle": "-" if "v_bar" in plastic else "--",
    }
    for arm, plastic in SUBSETS.items()
} | {SGD: {"color": "#000000", "linestyle": "-"}, LINEAR: {"color": "#888888", "linestyle": "-."}}
LOOKS[ALL]["linewidth"] = 2.8
LEGEND = "solid with V̄, dashed without; where W̄ is held, V changes nothing"


def arms(options, dataset):
    ablated = {name: lab.Arm("sam", circuit={"plastic": plastic}) for name, plastic in SUBSETS.items()}
    rate = options.own.linear_rate * options.rate_factor
    linear = lab.Arm("sgd", circuit={"activation": "linear"}, numbers={"rate_w": rate})
    return {LINEAR: linear} | ablated | {SGD: lab.Arm("sgd")}


def judge(results, dataset):
    """The verdicts of one data set."""
    others = [name for name in SUBSETS if name != ALL]
    single = [("W, V̄", "W, V"), ("W, V̄", "W, W̄")]
    pair = compare.alike(results, dataset, "W, V̄", "W, W̄, V", margin=1)
    literal = statistics.describe(results.difference(dataset, "W, V̄", "W, V"))
    every = [(ALL, other) for other in others]
    found = {
        "Plastic W alone is like the linear network": compare.alike(results, dataset, "W", LINEAR, margin=2),
        "Of single additions to W, V̄ gains the most": compare.above(results, dataset, single),
        "V̄ improves on W alone (the paper: from 40 % to about 46 %)": compare.above(results, dataset, [("W, V̄", "W")]),
        "Plastic V̄ is like plastic W̄ and V together": pair._replace(
            ours=f"{pair.ours}. The paper prints “W, V”; W, V̄ − W, V: {literal}"
        ),
        "All four plastic reach SGD (within 1 point)": compare.above(results, dataset, [(ALL, SGD)], margin=-1),
        "All four plastic are the best subset": compare.above(results, dataset, every),
    }
    setting = results.setting(dataset)
    return [verdicts.Verdict("fig2", setting, says, *finding) for says, finding in found.items()]


def draw(path, results):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.9 + 4.6 * len(results.datasets)), layout="constrained")
    lefts = [left for left, _, _ in figures.compared(figure, results, LOOKS, paper=PAPER)]
    figures.legend(figure, lefts, title="plastic pathways: " + figures.label(LEGEND), ncols=5, handlelength=3)
    figures.save(figure, path)


def make(results):
    tables.leave(results, reference=SGD)
    draw(results.folder / "fig2.png", results)
    verdicts.write(results.folder, [verdict for dataset in results.datasets for verdict in judge(results, dataset)])


EXPERIMENT = paper.experiment(
    "fig2_ablation", __doc__, arms, make,
    defaults={"dataset": ["cifar10"], "epochs": 20},
    flags=(lab.Flag("linear_rate", 0.03, "η_W of the linear network", lower=0),),
)  # fmt: skip

if __name__ == "__main__":
    lab.main(EXPERIMENT)
