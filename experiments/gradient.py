"""How near each rule's step is to the gradient's while it learns, and how far SAM is from Theorem 3's premise.

The authors' erratum: the cosine of SAM's ΔW with backprop's rises to about 0.8 on typical layers, and does not stay
near 1. They log the misfit of Theorem 3's premise, V D_u Wᵀ - W̄ V̄ᵀ, relative to V D_u Wᵀ. Beside them: the cosine of
SAM's ΔW with what the theorem says of it, H ΔW_SGD.

    python experiments/gradient.py                          # mnist, 20 epochs, three seeds: ten minutes on two cores
    python experiments/gradient.py --dataset=cifar10 --recipe=authors2025 --rules=sam,sgd   # as the authors ran it
    python experiments/gradient.py --remake=runs/FOLDER     # its tables and figure again

Both are measured on the first 2,000 training images after each evaluation; the misfit on 200 of them. A rule that
carries a memory along is trained, and has no cosine here. Leaves in `--out_dir`: manifest.json, metrics.jsonl,
table.md, table.csv, gradient.md, gradient_DATASET.png, verdicts.json.
"""

import jax
import numpy as np

from sam_jax import inputs, lab, probes
from sam_jax.circuit import Activity, State
from sam_jax.experiments import paper, theory_report, verdicts
from sam_jax.lab import figures, statistics, tables

IMAGES, FEW = 2000, 200
ERRATUM = 0.8
COSINE, THEOREM, MISFIT = "gradient_cosine", "theorem_cosine", "misfit"
MEASURES = {
    COSINE: "cosine with the gradient",
    THEOREM: "cosine with H × the gradient",
    MISFIT: "misfit of Theorem 3's premise",
}


def probe(job, data, synapses):
    found, train = probes.alignment(synapses), data.splits["train"]
    x, labels = inputs.standardise(data, train.images[:IMAGES]), train.labels[:IMAGES]
    if job.rule.name == "sam":
        decay = job.numbers.get("decay_v", job.numbers["decay"])
        decay /= 1 if job.protocol.decay_times_rate else job.numbers["rate_v"]
        found |= probes.against_gradient(job.circuit, synapses, x, labels, job.protocol.loss, decay)
        found[MISFIT] = probes.misfit(job.circuit, synapses, x[:FEW])
    key = jax.random.key(0)
    if not jax.tree.leaves(job.rule.init(job.circuit, key, job.numbers).memory):
        state = State(synapses, Activity(), ())
        cosine = probes.gradient_cosine(job.protocol, job.numbers, state, x, labels, key)
        found[COSINE] = cosine[:-1]  # the top W has ε itself under every rule
    return found


def of_layers(column):
    """A `value` for `figures.band`: the mean over the hidden layers; None where the run has diverged."""
    return lambda row: None if row["diverged"] or None in row[column] else float(np.mean(row[column]))


def has(results, dataset, column):
    """The arms that were measured."""
    return [arm for arm in results.arms(dataset) if column in results.of(dataset, arm)[0]]


def text(results, dataset) -> str:
    """Each measured arm at the first and the last epoch, layer by layer, input side first: mean over the seeds."""
    rows = []
    for column, name in MEASURES.items():
        for arm in has(results, dataset, column):
            every = [row for row in results.of(dataset, arm) if not row["diverged"]]
            if not every:
                continue
            ends = []
            for epoch in (every[0]["epoch"], every[-1]["epoch"]):
                layers = np.array([row[column] for row in every if row["epoch"] == epoch], float)
                ends.append(", ".join(f"{value:.2f}" for value in layers.mean(axis=0)))
            whole = statistics.estimate(results.by_seed(dataset, arm, column, np.mean).values())
            rows.append([results.title(arm), name, *ends, statistics.interval(whole)])
    header = ("rule", "what", "first epoch", "last epoch", "last epoch, mean of the layers, 95 % interval")
    return f"### {results.setting(dataset)}\n\n{tables.grid(header, rows, numbers=False)}"


def draw(path, results, dataset):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    looks = figures.looks(results, dataset, {})
    for arm in has(results, dataset, COSINE):
        name = figures.label(results.title(arm)) + results.lost(dataset, arm)
        figures.band(left, results.of(dataset, arm), of_layers(COSINE), label=name, **looks[arm])
    for arm in has(results, dataset, THEOREM):
        look = {**looks[arm], "linestyle": (0, (1, 1)), "label": f"{results.title(arm)}, with H × the gradient's"}
        figures.band(left, results.of(dataset, arm), of_layers(THEOREM), **look)
    left.axhline(ERRATUM, color="#888888", linestyle=":", label="the authors' erratum on SAM: about 0.8")
    left.set(xlabel="epoch", ylabel="cosine of ΔW with the gradient's step", title="mean of the hidden layers")
    for arm in has(results, dataset, MISFIT):
        rows = results.of(dataset, arm)
        for layer in range(len(rows[0][MISFIT])):
            figures.band(
                right,
                rows,
                lambda row, layer=layer: None if row["diverged"] else row[MISFIT][layer],
                label=f"hidden layer {layer + 1}",
                **figures.style("", layer),
            )
    right.axhline(1.0, color="#888888", linestyle=":", label=figures.label("W̄ = 0"))
    right.set(xlabel="epoch", ylabel="‖V D W$^T$ - W̄ V̄$^T$‖ / ‖V D W$^T$‖".replace("W̄", r"$\mathregular{\bar{W}}$"))
    right.set(title="SAM: misfit of Theorem 3's premise", ylim=(0, None))
    for axis in (left, right):
        figures.plain(axis)
    right.legend(frameon=False, fontsize=8)
    figures.legend(figure, [left], ncols=4, fontsize=8)
    figure.suptitle(results.setting(dataset))
    figures.save(figure, path)


def make(results):
    tables.leave(results)
    parts = []
    for dataset in results.datasets:
        draw(results.folder / f"gradient_{dataset}.png", results, dataset)
        parts.append(text(results, dataset))
    (results.folder / "gradient.md").write_text("\n".join(parts), encoding="utf-8")
    found = [theory_report.theorem3(results, name, "sam") for name in results.datasets if "sam" in results.arms(name)]
    verdicts.write(results.folder, found)


EXPERIMENT = paper.experiment(
    "gradient",
    __doc__,
    lambda options, dataset: {},
    make,
    probe=probe,
    rules=paper.RULES,
    defaults={"dataset": ["mnist"], "epochs": 20, "seeds": 3},
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
