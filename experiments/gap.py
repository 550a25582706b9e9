"""Why SAM falls short of SGD here: one change of SAM at a time, beside SGD and Kolen-Pollack.

The paper has SAM above SGD on CIFAR-10 (Table 1); our searched settings do not. Each arm changes one thing
about SAM's searched setting, or two that belong together; "V = V̄ = I" takes the inter-stream synapses away and leaves
W̄'s learning, which is Kolen-Pollack but for D_d = I. Not an experiment of the paper's: it gives no verdict.

    python experiments/gap.py --train_images=20000 --epochs=15    # cifar10, 17 arms: 15 minutes on two cores
    python experiments/gap.py --remake=runs/FOLDER                # its tables and figure again

Leaves manifest.json, metrics.jsonl (with H's eigenvalues and effective rank), table.md, table.csv, gap_DATASET.png.
"""

import numpy as np

from sam_jax import lab, probes
from sam_jax.experiments import paper
from sam_jax.lab import figures, tables
from sam_jax.rules import RULES

SAM, LONG = "SAM (searched)", "all rates and γ × 0.5, twice the epochs"
COLOURS = {"sgd": "#000000", "kp": "#56B4E9", SAM: "#D55E00"}


def arms(options, dataset):
    sam = RULES["sam"]
    searched = options.numbers_of(sam, dataset.name, {})

    def changed(circuit=None, protocol=None, **times):
        numbers = {name: factor * searched[name] for name, factor in times.items()}
        return lab.Arm("sam", circuit=circuit or {}, numbers=numbers, protocol=protocol or {})

    def wider(ratio):  # V̄'s signal adds up over the neurons that send
        down = tuple(ratio * width for width in options.hidden_widths)
        return changed({"downstream_widths": down}, rate_v_bar=1 / ratio)

    half = options.scaled(sam, searched, 0.5)
    decays = [name for name in searched if name.startswith("decay")]
    epochs = options.epochs
    return {
        **{"sgd": lab.Arm("sgd"), "kp": lab.Arm("kp"), SAM: changed()},
        "V, V̄ held": changed(circuit={"plastic": ("w", "w_bar")}),
        "η_V, η_V̄ × 0.3": changed(rate_v=0.3, rate_v_bar=0.3),
        "η_V, η_V̄ × 3": changed(rate_v=3, rate_v_bar=3),
        "γ = 0": changed(**dict.fromkeys(decays, 0)),
        "γ × 4": changed(**dict.fromkeys(decays, 4)),
        "all rates and γ × 0.5": lab.Arm("sam", numbers=half),
        LONG: lab.Arm("sam", numbers=half, protocol={"epochs": 2 * epochs, "evaluate_every": 2}),
        "warm-up over a third": changed(protocol={"warmup_epochs": epochs / 3}),
        "D_d = gate": changed(circuit={"downstream_activation": "gate"}),
        "S_post plain": changed(circuit={"gated": ()}),
        "d̄ = 4d, η_V̄ ÷ 4": wider(4),
        "W̄ × 0.4 at first": changed(scale_w_bar=0.4),
        "V, V̄ × 2 at first": changed(scale_v=2, scale_v_bar=2),
        "V = V̄ = I": changed(circuit={"one_to_one": True, "plastic": ("w", "w_bar")}),
    }


def probe(job, data, synapses):
    held = probes.conditioning(synapses) if synapses.v_bar else {}
    return probes.alignment(synapses) | held


def draw(path, results, dataset):
    """Accuracy of every arm on the left; on the right against the effective rank of H, where there is an H."""
    from matplotlib.figure import Figure

    cells = results.cells(dataset)
    looks = {arm: {"color": COLOURS.get(arm) or figures.style("", place)["color"]} for place, arm in enumerate(cells)}
    figure = Figure(figsize=(13, 8.5), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.25, 1)})
    figures.points(left, results, dataset, looks)
    for place, (arm, look) in enumerate(looks.items()):
        last = cells[arm]["protocol"]["epochs"]
        ended = [row for row in results.of(dataset, arm) if row["epoch"] == last and not row["diverged"]]
        if ended and "h_effective_rank" in ended[0]:
            ranks = [np.mean(row["h_effective_rank"]) for row in ended]
            accuracies = [100 * row["test_accuracy"] for row in ended]
            right.scatter(
                ranks,
                accuracies,
                marker="osD^v<>PX*ph"[place % 12],
                s=45,
                label=figures.label(results.title(arm)),
                **look,
            )
    right.set(
        xlabel="effective rank of H after training\n(mean over layers; a mark is a seed)", ylabel="test accuracy (%)"
    )
    figures.legend(figure, [right], title="on the right", ncols=5)
    figures.plain(right)
    figure.suptitle(results.setting(dataset, but=(LONG,)), fontsize=10)
    figures.save(figure, path)


def make(results):
    tables.leave(results, reference="sgd")
    for dataset in results.datasets:
        draw(results.folder / f"gap_{dataset}.png", results, dataset)


EXPERIMENT = paper.experiment("gap", __doc__, arms, make, probe=probe, defaults={"dataset": ["cifar10"], "seeds": 3})

if __name__ == "__main__":
    lab.main(EXPERIMENT)
