"""The scalar-error ablation (paper, lines 88-92 and 161-163): is a vector of errors needed in each layer?

Claim: collapsing each layer's feedback vector to one scalar that its neurons share, its mean or its
norm, with all else as it is, degrades learning substantially.

    python experiments/scalar_error.py                       # cifar10, about 40 minutes on two cores
    python experiments/scalar_error.py --dataset=digits --epochs=10   # half a minute
    python experiments/scalar_error.py --remake=runs/FOLDER  # its tables and figure again

The error at the output stays a vector: only hidden layers are collapsed. A norm has no sign, so it
drives the synapses one way until they diverge; it runs at a hundredth of the rates as well. A diverged
run counts as chance in the verdict. Leaves in `--out_dir`: manifest.json, metrics.jsonl, table.md,
table.csv, scalar_error.png, verdicts.json.
"""

from sam_jax import lab
from sam_jax.experiments import paper, verdicts
from sam_jax.lab import compare, figures, tables
from sam_jax.rules import RULES

VECTOR, MEAN, NORM, SLOW = "vector (default)", "scalar: mean", "scalar: norm", "scalar: norm, rates ÷ 100"
SCALARS = (MEAN, NORM, SLOW)
LOOKS = {
    VECTOR: {"color": "#D55E00", "linestyle": "-"},
    MEAN: {"color": "#0072B2", "linestyle": "--"},
    NORM: {"color": "#009E73", "linestyle": "-."},
    SLOW: {"color": "#CC79A7", "linestyle": ":"},
}


def arms(options, dataset):
    sam = RULES["sam"]
    slow = options.scaled(sam, options.numbers_of(sam, dataset.name, {}), 1 / 100)
    signals = {VECTOR: "vector", MEAN: "mean", NORM: "norm", SLOW: "norm"}
    return {
        name: lab.Arm("sam", circuit={"error_signal": signal}, numbers=slow if name == SLOW else {})
        for name, signal in signals.items()
    }


def judge(results, dataset):
    """The verdict of one data set: the vector above every scalar."""
    says = "One scalar for each layer in place of the vector degrades learning substantially"
    pairs = [(VECTOR, scalar) for scalar in SCALARS]
    finding = compare.above(results, dataset, pairs, lost_is_chance=True)
    return verdicts.Verdict("scalar_error", results.setting(dataset), says, *finding)


def draw(path, results):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.7 + 3.6 * len(results.datasets)), layout="constrained")
    panels = figures.compared(figure, results, LOOKS, ordered=False)
    for left, right, dataset in panels:
        chance = results.chance(dataset, "accuracy")
        for span in (left.axhline, right.axvline):
            span(chance, color="#888888", linestyle=":", label="always the most frequent label")
        left.set_ylim(bottom=max(0, min(left.get_ylim()[0], chance - 3)))
    figures.legend(figure, [left for left, _, _ in panels], title="error sent to the hidden layers", ncols=3)
    figures.save(figure, path)


def make(results):
    tables.leave(results, reference=VECTOR)
    draw(results.folder / "scalar_error.png", results)
    verdicts.write(results.folder, [judge(results, dataset) for dataset in results.datasets])


EXPERIMENT = paper.experiment("scalar_error", __doc__, arms, make, defaults={"dataset": ["cifar10"], "epochs": 20})

if __name__ == "__main__":
    lab.main(EXPERIMENT)
