"""Figure S1b of the paper: the steps of V̄ and the changes of the loss, over training.

Claim (lines 406-407, Fig. S1b): ‖ΔV̄‖ and ΔL become smaller and smaller, as the theorem on gradient learning requires.

    python experiments/fig_s1b_stationarity.py                        # cifar10, 2 x 5 runs: 35 minutes, two cores
    python experiments/fig_s1b_stationarity.py --recipe=authors2025   # the constant rate alone, 50 epochs
    python experiments/fig_s1b_stationarity.py --remake=runs/FOLDER   # its tables and figure again

‖ΔV̄‖ is the size of one step of eq. (11), decay included, on the first 1,000 training images at full rate: what the
schedule does to the rate is not in it. ΔL is the change of the training loss in an epoch, and there a falling rate
would make the claim true by itself. So the verdicts are on the arm whose rate is constant; it runs at
--constant_factor times the rates and the decay, 0.5 being the mean of the cosine schedule beside it.

Leaves manifest.json, metrics.jsonl, table.md, table.csv, stationarity_DATASET.png and verdicts.json.
"""

import itertools

import jax.numpy as jnp
import numpy as np

from sam_jax import dynamics, inputs, lab, training
from sam_jax.circuit import State
from sam_jax.experiments import paper, verdicts
from sam_jax.lab import compare, figures, statistics, tables
from sam_jax.rules import RULES

FLAGS = (lab.Flag("constant_factor", 0.5, "of rates and decay in the constant-rate arm", lower=0),)
CONSTANT, COSINE = "constant rate", "cosine"
BATCH = 1000  # images of the fixed batch
PAPER = {0: 2.5e-3, 12: 1.2e-3, 24: 6e-4, 36: 3.5e-4, 48: 2.5e-4}  # Fig. S1b's medians by epoch, read off


def check(options):
    if options.schedule == "constant" and options.own.constant_factor != FLAGS[0].default:
        raise ValueError("--constant_factor is for the arm beside a cosine: give --rate_factor, or another --schedule")


def arms(options, dataset):
    if options.schedule == "constant":  # as in the authors' recipe: the rates are those of the run
        return {CONSTANT: lab.Arm("sam")}
    sam = RULES["sam"]
    numbers = options.scaled(sam, options.numbers_of(sam, dataset.name, {}), options.own.constant_factor)
    return {
        CONSTANT: lab.Arm("sam", numbers=numbers, protocol={"schedule": "constant"}),
        COSINE: lab.Arm("sam", protocol={"schedule": "cosine"}),
    }


def probe(job, data, synapses):
    """‖ΔV̄‖ of one step at full rate on the fixed batch, and the same over ‖V̄‖: an entry for each hidden layer."""
    if not synapses.v_bar:
        return {}
    protocol, circuit, loss, train = job.protocol, job.circuit, job.protocol.loss, data.splits["train"]
    state = dynamics.forward(circuit, State(synapses), inputs.standardise(data, train.images[:BATCH]))
    state = dynamics.feedback(circuit, state, loss.error(state.activity.h[-1], train.labels[:BATCH]))
    gradients = dynamics.local_update(circuit, state)
    full_rate = protocol._replace(schedule="constant", warmup_epochs=0)
    optimizer = training.make_optimizer(full_rate, job.numbers, 1)
    steps, _ = optimizer.update(gradients, optimizer.init(synapses), synapses)
    size = jnp.stack([*map(jnp.linalg.norm, steps.v_bar)])
    return {"v_bar_step": size, "v_bar_relative_step": size / jnp.stack([*map(jnp.linalg.norm, synapses.v_bar)])}


def series(results, dataset, arm, column):
    """{seed: {epoch: value}} up to a divergence: a probe's mean over layers, or `loss_change`, |ΔL| for each epoch."""
    found = {}
    chosen = [row for row in results.of(dataset, arm) if not row["diverged"]]
    for seed in sorted({row["seed"] for row in chosen}):
        own = [row for row in chosen if row["seed"] == seed]
        if column == "loss_change":
            found[seed] = {
                b["epoch"]: abs(b["train_loss"] - a["train_loss"]) / (b["epoch"] - a["epoch"])
                for a, b in itertools.pairwise(own)
            }
        else:
            found[seed] = {row["epoch"]: float(np.mean(row[column])) for row in own}
    return found


def shrinkage(results, dataset, arm, column):
    """Percent by which the mean over the last quarter of the epochs is below that over the first, paired by seed."""
    epochs = results.cells(dataset)[arm]["protocol"]["epochs"]
    first, last = {}, {}
    for seed, values in series(results, dataset, arm, column).items():
        early = [value for epoch, value in values.items() if 0 < epoch <= max(1, epochs / 4)]
        late = [value for epoch, value in values.items() if epoch > 3 * epochs / 4]
        through = epochs in values and early and np.mean(early) > 0
        first[seed], last[seed] = 100.0, 100 * float(np.mean(late) / np.mean(early)) if through else None
    return statistics.paired(first, last)


def verdict(results, dataset, columns, says):
    """Whether the first of the columns shrinks in the constant-rate arm; the others stand beside it."""
    found = {title: shrinkage(results, dataset, CONSTANT, column) for column, title in columns.items()}
    main = next(iter(found.values()))
    ours = "; ".join(f"{title} shrinks by {statistics.describe(p, '% of it')}" for title, p in found.items())
    effects = tuple(compare.Effect(f"{title} shrinks by", p, "%") for title, p in found.items())
    return verdicts.Verdict(
        "s1b",
        results.setting(dataset) + ", constant rate",
        says,
        f"from the first to the last quarter of the epochs: {ours}",
        statistics.outcome(main.low, main.high),
        effects,
    )


PANELS = {
    "v_bar_step": "$\\|\\Delta\\bar{V}\\|_F$ of one step, mean over layers",
    "v_bar_relative_step": "$\\|\\Delta\\bar{V}\\|_F\\;/\\;\\|\\bar{V}\\|_F$, mean over layers",
    "loss_change": "$|\\Delta L|$ of the training loss per epoch (nats)",
}


def draw(path, results, dataset):
    """‖ΔV̄‖, the same over ‖V̄‖, and |ΔL| against epochs, on log axes: mean ± sd over seeds that have not diverged."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    for axis, (column, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for place, arm in enumerate(arm for arm in (CONSTANT, COSINE) if arm in results.arms(dataset)):
            every = series(results, dataset, arm, column).values()
            epochs = sorted({epoch for values in every for epoch in values})
            grouped = [[values[epoch] for values in every if epoch in values] for epoch in epochs]
            mean = np.array([np.mean(group) for group in grouped])
            sd = np.array([np.std(group, ddof=1) if len(group) > 1 else 0.0 for group in grouped])
            lost = len({row["seed"] for row in results.of(dataset, arm) if row["diverged"]})
            look = figures.style(arm, place + 1)
            axis.plot(epochs, mean, **look, linewidth=1.8, label=arm + (f" ({lost} diverged)" if lost else ""))
            axis.fill_between(epochs, np.maximum(mean - sd, mean / 10), mean + sd, color=look["color"], alpha=0.2, lw=0)
        axis.set(yscale="log", xlabel="epoch", ylabel=title)
        axis.grid(alpha=0.25, which="both")
        axis.spines[["top", "right"]].set_visible(False)
    if results.manifest.get("flags", {}).get("recipe"):
        figure.axes[0].plot(*zip(*PAPER.items(), strict=True), "x", color="#555555", label="the paper, medians")
    figure.axes[0].legend(frameon=False)
    figure.suptitle(f"{results.setting(dataset)}: mean ± sd over seeds", fontsize=10)
    figures.save(figure, path)


def make(results):
    tables.leave(results)
    found = []
    for dataset in results.datasets:
        if CONSTANT not in results.arms(dataset):
            continue
        draw(results.folder / f"stationarity_{dataset}.png", results, dataset)
        steps = {"v_bar_step": "‖ΔV̄‖", "v_bar_relative_step": "‖ΔV̄‖ / ‖V̄‖"}
        found.append(verdict(results, dataset, steps, "the steps of V̄ become smaller and smaller"))
        found.append(verdict(results, dataset, {"loss_change": "|ΔL|"}, "ΔL becomes smaller and smaller"))
    verdicts.write(results.folder, found)


DEFAULTS = {"dataset": ["cifar10"], "epochs": 20}
EXPERIMENT = paper.experiment(
    "fig_s1b_stationarity", __doc__, arms, make, probe=probe, defaults=DEFAULTS, flags=FLAGS, check=check
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
