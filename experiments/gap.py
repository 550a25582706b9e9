"""Why SAM falls short of SGD here: one change of SAM at a time, beside SGD and Kolen-Pollack.

The paper has SAM above SGD on CIFAR-10 (Table 1); our searched settings do not. Each arm changes one thing
about SAM's searched setting, or two that belong together; "V = V̄ = I" takes the inter-stream synapses away and leaves
W̄'s learning, which is Kolen-Pollack but for D_d = I. Not an experiment of the paper's: it gives no verdict.

    python experiments/gap.py --train_images=20000 --epochs=15    # cifar10, 17 arms: 15 minutes on two cores
    python experiments/gap.py --remake=runs/FOLDER                # its tables and figure again

Leaves manifest.json, metrics.jsonl (with H's eigenvalues and effective rank), table.md, table.csv, gap_DATASET.png.
"""

import comparison
import numpy as np
import options
import panels
import present
import runner
from absl import flags

from sam_jax import figures, probes
from sam_jax.circuit import PATHWAYS

flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(runner)
SAM, LONG = "SAM (searched)", "all rates and γ × 0.5, twice the epochs"
COLOURS = {"sgd": "#000000", "kp": "#56B4E9", SAM: "#D55E00"}


def arms(dataset):
    def changed(divide=None, circuit=None, protocol=None, **times):
        numbers = comparison.numbers("sam", dataset, divide)
        numbers |= {name: factor * numbers[name] for name, factor in times.items()}
        return runner.Arm("sam", circuit or {}, numbers, protocol or {})

    def wider(ratio):
        down = tuple(ratio * int(width) for width in options.FLAGS.hidden_widths)
        return changed({"v_bar": ratio}, {"downstream_widths": down})  # V̄'s signal adds up over the neurons that send

    half, epochs = dict.fromkeys((*PATHWAYS, "decay"), 2), options.FLAGS.epochs
    return {
        **{"sgd": runner.Arm("sgd"), "kp": runner.Arm("kp"), SAM: changed()},
        "V, V̄ held": changed(circuit={"plastic": ("w", "w_bar")}),
        "η_V, η_V̄ × 0.3": changed({"v": 1 / 0.3, "v_bar": 1 / 0.3}),
        "η_V, η_V̄ × 3": changed({"v": 1 / 3, "v_bar": 1 / 3}),
        "γ = 0": changed(decay=0),
        "γ × 4": changed(decay=4),
        "all rates and γ × 0.5": changed(half),
        LONG: changed(half, protocol={"epochs": 2 * epochs, "evaluate_every": 2}),
        "warm-up over a third": changed(protocol={"warmup_epochs": epochs / 3}),
        "D_d = gate": changed(circuit={"downstream_activation": "gate"}),
        "S_post plain": changed(circuit={"gate_postsynaptic": False}),
        "d̄ = 4d, η_V̄ ÷ 4": wider(4),
        "W̄ × 0.4 at first": changed(scale_w_bar=0.4),
        "V, V̄ × 2 at first": changed(scale_v=2, scale_v_bar=2),
        "V = V̄ = I": changed(circuit={"one_to_one": True, "plastic": ("w", "w_bar")}),
    }


def probe(protocol, settings, data, synapses):
    held = probes.conditioning(synapses) if synapses.v_bar else {}
    return probes.alignment(protocol.circuit, synapses) | held


def draw(path, manifest, rows, dataset):
    """Accuracy of every arm on the left; on the right against the effective rank of H, where there is an H."""
    from matplotlib.figure import Figure

    cells = manifest["cells"][dataset]
    looks = {arm: {"color": COLOURS.get(arm) or figures.style("", place)["color"]} for place, arm in enumerate(cells)}
    figure = Figure(figsize=(13, 8.5), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.25, 1)})
    panels.points(left, rows, dataset, looks)
    for place, (arm, look) in enumerate(looks.items()):
        of_arm = [row for row in rows if (row["dataset"], row["arm"]) == (dataset, arm) and not row["diverged"]]
        ended = [row for row in of_arm if row["epoch"] == cells[arm]["protocol"]["epochs"]]
        if ended and "h_effective_rank" in ended[0]:
            ranks = [np.mean(row["h_effective_rank"]) for row in ended]
            accuracies = [100 * row["test_accuracy"] for row in ended]
            right.scatter(ranks, accuracies, marker="osD^v<>PX*ph"[place % 12], s=45, label=panels.label(arm), **look)
    right.set(
        xlabel="effective rank of H after training\n(mean over layers; a mark is a seed)", ylabel="test accuracy (%)"
    )
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, title="on the right", loc="outside lower center", ncols=5, frameon=False)
    panels.plain(right)
    figure.suptitle(present.setting(manifest, [row for row in rows if row["arm"] != LONG], dataset), fontsize=10)
    figure.savefig(path, dpi=150)


def make(folder):
    manifest, rows = present.write_tables(folder, reference="sgd")
    for dataset in manifest["data"]:
        draw(folder / f"gap_{dataset}.png", manifest, rows, dataset)


if __name__ == "__main__":
    runner.main(arms, make, probe, dataset=["cifar10"], seeds=3)
