"""The Discussion's manipulations in silico: a pathway stops learning (freeze) or falls silent (lesion) during training.

Claim (lines 146-152, 171-176, 187-195): a manipulation that stops the plasticity of V̄ takes away what the learned
H = V̄V̄ᵀ adds to learning, even while W stays plastic; the inter-stream pathways V and V̄ are plastic because learning
needs them to be.

    python experiments/predictions.py                                  # cifar10: about two hours on two cores
    python experiments/predictions.py --freeze=v_bar@10 --lesion=v@10  # two manipulations of your own, and intact
    python experiments/predictions.py --freeze=v@10+v_bar@10           # both pathways in one circuit

Without either flag: each of V̄, V, W̄ frozen after a quarter of the epochs, V̄ also from the start, and each silenced
after half of the epochs. Leaves in `--out_dir`: manifest.json, metrics.jsonl (with H's trace, largest eigenvalue,
effective rank and condition number for each hidden layer), table.md, table.csv, predictions_DATASET.png, verdicts.json.
"""

import numpy as np
import options
import panels
import present
import runner
from absl import flags
from options import FLAGS

from sam_jax import interventions, probes, statistics, tables, verdicts

flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(runner)
for _kind, _what in (("freeze", "stop learning and decaying"), ("lesion", "fall silent")):
    flags.DEFINE_list(
        _kind, None, f"pathways that {_what} from an epoch on, as in v_bar@10,v@5; + joins two in one arm"
    )

SYMBOLS = {"w": "W", "w_bar": "W̄", "v": "V", "v_bar": "V̄"}
COLOURS = {"v_bar": "#D55E00", "v": "#0072B2", "w_bar": "#009E73", "w": "#CC79A7"}
DONE = {"freeze": "frozen", "lesion": "silenced"}
INTACT = "intact"
MEASURES = (
    ("test_accuracy", 100, "test accuracy (%)"),
    ("h_effective_rank", 1, "effective rank of H\n(mean over layers)"),
    ("h_trace_mean", 1, "mean eigenvalue of H\n(trace / width)"),
)


def arms(dataset):
    quarter, half = FLAGS.epochs // 4, FLAGS.epochs // 2
    given = {kind: FLAGS[kind].value or [] for kind in DONE}
    if not any(given.values()):
        given = {
            "freeze": ["v_bar@0", *(f"{p}@{quarter}" for p in ("v_bar", "v", "w_bar"))],
            "lesion": [f"{p}@{half}" for p in ("v_bar", "v", "w_bar")],
        }
    found = {INTACT: runner.Arm("sam")}
    for kind, entries in given.items():
        for entry in entries:
            begun = tuple(interventions.parse(kind, text) for text in entry.split("+"))
            if late := [i.epoch for i in begun if i.epoch >= FLAGS.epochs]:
                raise ValueError(f"--{kind}={entry}: epoch {late[0]} is not before the last, {FLAGS.epochs}")
            found[title(begun)] = runner.Arm("sam", protocol={"interventions": begun})
    return found


def title(begun):
    """`V̄ frozen at 5`; `V̄ frozen at 5, V frozen at 5`."""
    return ", ".join(f"{SYMBOLS[pathway]} {DONE[kind]} at {epoch}" for kind, pathway, epoch in begun)


def probe(protocol, settings, data, synapses):
    return probes.alignment(protocol.circuit, synapses) | probes.conditioning(synapses)


def over_layers(row, column):
    """A row's number, the mean over hidden layers where it has one for each; None where there is none."""
    values = np.atleast_1d(np.array(row[column], float))
    return None if row["diverged"] or not np.isfinite(values).all() else float(values.mean())


def manipulations(manifest, dataset):
    """What was done in each arm: `found[arm]` is a tuple of interventions, in the order of the run."""
    return {
        arm: tuple(interventions.Intervention(*i) for i in cell["protocol"]["interventions"])
        for arm, cell in manifest["cells"][dataset].items()
    }


def effect(manifest, rows, dataset, arm):
    """A verdict: the loss of accuracy, and H's effective rank at the end against the intact circuit's."""
    begun = manipulations(manifest, dataset)[arm]
    paired = tables.difference(rows, dataset, arm, INTACT)
    last = max(row["epoch"] for row in rows)
    ranks = [
        {r["seed"]: over_layers(r, "h_effective_rank") for r in rows if (r["arm"], r["epoch"]) == (a, last)}
        for a in (arm, INTACT)
    ]
    ours = f"{arm} − intact: {statistics.describe(paired)}"
    if not any((i.kind, i.pathway) == ("lesion", "v_bar") for i in begun):  # H = 0 has no effective rank
        ours += f"; effective rank of H: {statistics.describe(statistics.paired(*ranks), 'dimensions')}"
    controls = [  # the same done to W̄
        f"{other} − intact: {statistics.describe(tables.difference(rows, dataset, other, INTACT))}"
        for other, done in manipulations(manifest, dataset).items()
        if done and [(i.kind, i.epoch, "w_bar") for i in begun] == [(i.kind, i.epoch, i.pathway) for i in done]
    ]
    if controls:
        ours += f"; for comparison {', '.join(controls)}"
    lower = paired.low is not None and statistics.outcome(-paired.high, -paired.low)  # a loss is a difference below 0
    says = f"{arm}, accuracy falls below the intact circuit's while W learns on"
    return verdicts.Verdict("predictions", present.setting(manifest, rows, dataset), says, ours, lower or "undecided")


def judge(manifest, rows):
    """A verdict for each manipulation of V and V̄; the paper predicts no loss for W̄, which is a comparison."""
    found = []
    for dataset in manifest["data"]:
        of_dataset = [row for row in rows if row["dataset"] == dataset]
        for arm, begun in manipulations(manifest, dataset).items():
            if begun and {i.pathway for i in begun} <= {"v", "v_bar"}:
                found.append(effect(manifest, of_dataset, dataset, arm))
    return found


def draw(path, manifest, rows, dataset):
    """Frozen on the left, silenced on the right; below the accuracy what becomes of H. Triangles: the manipulation."""
    from matplotlib.figure import Figure

    done = manipulations(manifest, dataset)
    kinds = [kind for kind in DONE if any(kind == i.kind for begun in done.values() for i in begun)]
    figure = Figure(figsize=(1.2 + 4.3 * len(kinds), 8.2), layout="constrained")
    axes = figure.subplots(3, len(kinds), squeeze=False, sharex=True, sharey="row")
    for column, kind in enumerate(kinds):
        seen = []
        for arm, begun in done.items():
            if not begun or begun[0].kind == kind:
                seen.append(COLOURS[begun[0].pathway] if begun else "black")
                look = {"color": seen[-1], "linestyle": "-" if seen.count(seen[-1]) == 1 else "--"}
                of_arm = [row for row in rows if row["arm"] == arm]
                for axis, (name, factor, _) in zip(axes[:, column], MEASURES, strict=True):
                    line(axis, of_arm, name, factor, {i.epoch for i in begun}, label=panels.label(arm), **look)
        axes[0, column].set_title(f"pathway {DONE[kind]} (at the triangle)")
        axes[0, column].legend(frameon=False, loc="lower right", fontsize=9)
        axes[-1, column].set_xlabel("epoch")
    for axis, (_, _, label) in zip(axes[:, 0], MEASURES, strict=True):
        axis.set_ylabel(label)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    lost = len({(row["arm"], row["seed"]) for row in rows if row["diverged"]})
    lost = f"; {lost} runs diverged, drawn up to there" if lost else ""
    figure.suptitle(f"{present.setting(manifest, rows, dataset)}, mean ± sd{lost}", fontsize=10)
    figure.savefig(path, dpi=150)


def line(axis, rows, column, factor, marked, **look):
    """An arm's mean ± sd over seeds against epochs, a triangle where it was manipulated."""
    by_epoch = {}
    for row in rows:
        if (value := over_layers(row, column)) is not None:
            by_epoch.setdefault(row["epoch"], []).append(factor * value)
    mean = np.array([np.mean(values) for values in by_epoch.values()])
    sd = np.array([np.std(values, ddof=1) if len(values) > 1 else 0.0 for values in by_epoch.values()])
    axis.plot([*by_epoch], mean, linewidth=1.8, **look)
    axis.fill_between([*by_epoch], mean - sd, mean + sd, color=look["color"], alpha=0.15, linewidth=0)
    at = [epoch for epoch in by_epoch if epoch in marked]
    axis.plot(at, [np.mean(by_epoch[e]) for e in at], "v", color=look["color"], markersize=8, clip_on=False)


def make(folder):
    manifest, rows = present.write_tables(folder, reference=INTACT)
    for dataset in manifest["data"]:
        of_dataset = [row for row in rows if row["dataset"] == dataset]
        draw(folder / f"predictions_{dataset}.png", manifest, of_dataset, dataset)
    verdicts.write(folder, judge(manifest, rows))


if __name__ == "__main__":
    runner.main(arms, make, probe=probe, dataset=["cifar10"], epochs=20)
