"""How many dimensions a decaying V keeps: no more than there are classes, less one (docs/linear_feedback.md).

Where V is stationary, D_d = I and γ > 0, cross-entropy's errors leave V a rank of K - 1 or less, K being the classes.
The random start fades by 1 - γ a step, so it takes a Σγ of several to see it. Here γ, of V and V̄ alone, makes Σγ over
the run 0, 1, 3, 9.

    python experiments/rank.py                              # mnist, ten classes: two minutes on two cores
    python experiments/rank.py --dataset=data/shirts.npz,data/five.npz,mnist,data/both.npz   # 2, 5, 10 and 20 classes
    python experiments/rank.py --remake=runs/FOLDER         # its tables and figure again

`beyond` is the share of ‖V‖ (Frobenius) that no matrix of rank K - 1 can hold; `effective_rank` is Roy and Vetterli's.
Rates are constant, as γ is. A run that diverges counts until then. Not an experiment of the paper's: it gives no
verdict. Leaves manifest.json, metrics.jsonl, table.md, table.csv, rank.md and rank.png. (examples/own_images.py makes
the sets of the second command.)
"""

import jax.numpy as jnp
import numpy as np

from sam_jax import lab, probes
from sam_jax.experiments import paper
from sam_jax.lab import figures, flags, statistics, tables
from sam_jax.rules import RULES

NUMBERS = {"rate_w": 0.05, "rate_w_bar": 0.05, "rate_v": 0.05, "rate_v_bar": 0.05}
SCALES = {"scale_w": 1.0, "scale_w_bar": 0.3, "scale_v": 1.0, "scale_v_bar": 1.0}
TOTALS = (0.0, 1.0, 3.0, 9.0)  # Σγ over the run


def arms(options, dataset):
    steps = options.epochs * (len(dataset.train.images) // options.batch_size)
    sam = RULES["sam"]
    return {
        f"Σγ = {total:g}": lab.Arm(
            "sam",
            numbers=sam.settle(
                NUMBERS | SCALES | {"decay": 0.0, "decay_v": total / steps, "decay_v_bar": total / steps}
            ),
            tags={"total": total},
        )
        for total in TOTALS
    }


def probe(job, data, synapses):
    """For every hidden layer's V, input side first: its share beyond K - 1 dimensions, and its effective rank."""
    if not synapses.v:
        return {}
    spectra = [probes.spectrum(v) for v in synapses.v]
    kept = job.circuit.widths[-1] - 1
    beyond = [jnp.linalg.norm(values[kept:]) / jnp.linalg.norm(values) for values in spectra]
    return {"beyond": jnp.stack(beyond), "effective_rank": jnp.stack([*map(probes.effective_rank, synapses.v)])}


def layers_mean(column):
    """A row's number: the mean over its hidden layers; None once it has diverged."""
    return lambda row: None if row["diverged"] or column not in row else float(np.mean(row[column]))


def at_ends(results, dataset, arm, column):
    """The mean over seeds and hidden layers, at the first and at the last epoch that has one."""
    value, found = layers_mean(column), {}
    for row in results.of(dataset, arm):
        if (number := value(row)) is not None:
            found.setdefault(row["epoch"], []).append(number)
    return [float(np.mean(found[end])) for end in (min(found), max(found))] if found else None


def text(results, dataset):
    rows = []
    for arm in results.arms(dataset):
        beyond, rank = (at_ends(results, dataset, arm, column) for column in ("beyond", "effective_rank"))
        if beyond:
            numbers = [f"{share:.3f}" for share in beyond] + [f"{dimensions:.1f}" for dimensions in rank]
            test = statistics.estimate(results.final(dataset, arm).values())
            name = results.title(arm) + results.lost(dataset, arm)
            rows.append([name, *numbers, tables.spread(test.mean, test.sd)])
    classes = results.manifest["data"][dataset]["classes"]
    share = "share of V beyond K - 1 dimensions"
    header = ("", f"{share}, at first", "at last", "effective rank of V, at first", "at last", "test %")
    return f"### {results.setting(dataset)}; K = {classes}\n\n{tables.grid(header, rows)}"


def draw(path, results):
    from matplotlib.figure import Figure

    names = results.datasets
    columns = min(2, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(1.6 + 3.8 * columns, 1.2 + 2.9 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for axis, dataset in zip(axes, names, strict=False):
        for place, (arm, cell) in enumerate((a, c) for a, c in results.cells(dataset).items() if c["tags"]):
            decay = cell["tags"]["total"] / cell["protocol"]["epochs"]
            value, rows = layers_mean("beyond"), results.of(dataset, arm)
            if decay == 0:
                shares = [share for share in map(value, rows) if share is not None]
                label = "γ = 0, all epochs and seeds"
                axis.axhspan(min(shares), max(shares), color="#999999", alpha=0.3, label=label, lw=0)
                continue
            look = figures.style("", place) | {"label": f"{arm} at the end", "marker": "."}
            figures.band(axis, rows, value, lambda row, decay=decay: decay * row["epoch"], **look)
        classes, lost = results.manifest["data"][dataset]["classes"], len(results.diverged_seeds(dataset))
        title = f"{dataset}, K = {classes}" + (f" ({lost} diverged)" if lost else "")
        axis.set(xlabel="Σγ so far", title=title, ylim=(0, 1.02))
        figures.plain(axis)
    for empty in list(axes)[len(names) :]:
        empty.set_axis_off()
    figure.supylabel("share of ‖V‖ beyond K - 1 dimensions, mean of the hidden layers", fontsize=10)
    figures.legend(figure, [axes[0]], ncols=4, fontsize=9)
    figure.suptitle(f"{results.setting(names[0])}: mean ± sd over seeds" if len(names) == 1 else "SAM's V as it decays")
    figures.save(figure, path)


def make(results):
    tables.leave(results)
    (results.folder / "rank.md").write_text("\n".join(text(results, name) for name in results.datasets))
    draw(results.folder / "rank.png", results)


DEFAULTS = {
    "dataset": ["mnist"], "train_images": 5000, "batch_size": 500, "hidden_widths": ["60", "60"], "epochs": 400,
    "evaluate_every": 20, "schedule": "constant", "warmup_epochs": 0.0, "seeds": 3,
}  # fmt: skip
SETS = ("schedule", "warmup_epochs", "decay_times_rate", "last_batch", "rate_factor")  # Σγ is that of the arm's name


def check(options):
    flags.need_nothing_given(options)
    flags.need_hidden(options)


EXPERIMENT = paper.experiment("rank", __doc__, arms, make, probe=probe, defaults=DEFAULTS, sets=SETS, check=check)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
