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

import comparison
import options
import panels
import present
import runner
from absl import flags

from sam_jax import verdicts
from sam_jax.circuit import PATHWAYS

flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(runner)

VECTOR, MEAN, NORM, SLOW = "vector (default)", "scalar: mean", "scalar: norm", "scalar: norm, rates ÷ 100"
SCALARS = (MEAN, NORM, SLOW)
LOOKS = {
    VECTOR: {"color": "#D55E00", "linestyle": "-"},
    MEAN: {"color": "#0072B2", "linestyle": "--"},
    NORM: {"color": "#009E73", "linestyle": "-."},
    SLOW: {"color": "#CC79A7", "linestyle": ":"},
}


def arms(dataset):
    slow = comparison.numbers("sam", dataset, dict.fromkeys((*PATHWAYS, "decay"), 100))
    signals = {VECTOR: "vector", MEAN: "mean", NORM: "norm", SLOW: "norm"}
    return {
        name: runner.Arm("sam", circuit={"error_signal": signal}, numbers=slow if name == SLOW else {})
        for name, signal in signals.items()
    }


def judge(manifest, rows, dataset):
    """The verdict of one data set: the vector above every scalar."""
    says = "One scalar for each layer in place of the vector degrades learning substantially"
    return comparison.above("scalar_error", manifest, rows, dataset, says, [(VECTOR, scalar) for scalar in SCALARS])


def draw(path, manifest, rows):
    from matplotlib.figure import Figure

    datasets = list(manifest["data"])
    figure = Figure(figsize=(11, 0.7 + 3.6 * len(datasets)), layout="constrained")
    for (left, right), dataset in zip(panels.grid(figure, len(datasets)), datasets, strict=True):
        panels.curves(left, rows, dataset, LOOKS)
        panels.points(right, rows, dataset, LOOKS, ordered=False)
        left.set_title(present.setting(manifest, rows, dataset), fontsize=10)
        chance = manifest["data"][dataset]["trivial_test"]
        for span in (left.axhline, right.axvline):
            span(chance, color="#888888", linestyle=":", label="always the most frequent label")
        left.set_ylim(bottom=max(0, min(left.get_ylim()[0], chance - 3)))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, title="error sent to the hidden layers", loc="outside lower center", ncols=3, frameon=False
    )
    figure.savefig(path, dpi=150)


def make(folder):
    manifest, rows = present.write_tables(folder, reference=VECTOR)
    draw(folder / "scalar_error.png", manifest, rows)
    verdicts.write(folder, [judge(manifest, rows, dataset) for dataset in manifest["data"]])


if __name__ == "__main__":
    runner.main(arms, make, dataset=["cifar10"], epochs=20, seeds=5)
