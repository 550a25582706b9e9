"""The scalar-error ablation (paper, lines 88-92 and 161-163): is a vector of errors needed in each layer?

Claim: collapsing each layer's feedback vector to one scalar that its neurons share, its mean or its
norm, with all else as it is, degrades learning substantially.

    python experiments/scalar_error.py                       # cifar10, about 40 minutes on two cores
    python experiments/scalar_error.py --dataset=digits --epochs=10   # half a minute
    python experiments/scalar_error.py --remake=runs/FOLDER  # its tables and figure again

The error at the output stays a vector: only hidden layers are collapsed. Leaves in `--out_dir`:
manifest.json, metrics.jsonl, table.md, table.csv, scalar_error.png, verdicts.json.
"""

import options
import panels
import present
import runner
from absl import flags

from sam_jax import verdicts

flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(runner)

VECTOR, MEAN, NORM = "vector (default)", "scalar: mean", "scalar: norm"
SIGNALS = {VECTOR: "vector", MEAN: "mean", NORM: "norm"}
LOOKS = {
    VECTOR: {"color": "#D55E00", "linestyle": "-"},
    MEAN: {"color": "#0072B2", "linestyle": "--"},
    NORM: {"color": "#009E73", "linestyle": "-."},
}


def arms(dataset):
    return {name: runner.Arm("sam", circuit={"error_signal": signal}) for name, signal in SIGNALS.items()}


def judge(manifest, rows, dataset):
    """The verdict of one data set."""
    says = "One scalar for each layer in place of the vector degrades learning substantially"
    return present.above("scalar_error", manifest, rows, dataset, says, [(VECTOR, MEAN), (VECTOR, NORM)])


def draw(path, manifest, rows):
    from matplotlib.figure import Figure

    datasets = list(manifest["data"])
    figure = Figure(figsize=(10, 0.4 + 3.4 * len(datasets)), layout="constrained")
    for (left, right), dataset in zip(figure.subplots(len(datasets), 2, squeeze=False), datasets, strict=True):
        panels.curves(left, rows, dataset, LOOKS)
        panels.points(right, rows, dataset, LOOKS, ordered=False)
        left.set_title(present.setting(manifest, rows, dataset), fontsize=10)
        right.set_title("last epoch: seeds (rings), mean and 95 % interval", fontsize=10)
        chance = manifest["data"][dataset]["trivial_test"]
        for span in (left.axhline, right.axvline):
            span(chance, color="#888888", linestyle=":", label="always the most frequent label")
        left.set_ylim(bottom=max(0, min(left.get_ylim()[0], chance - 3)))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, title="error sent to the hidden layers", loc="outside lower center", ncols=4, frameon=False
    )
    figure.savefig(path, dpi=150)


def make(folder):
    manifest, rows = present.write_tables(folder, reference=VECTOR)
    draw(folder / "scalar_error.png", manifest, rows)
    verdicts.write(folder, [judge(manifest, rows, dataset) for dataset in manifest["data"]])


if __name__ == "__main__":
    runner.main(arms, make, dataset=["cifar10"], epochs=20, seeds=5)
