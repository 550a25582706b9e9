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

from sam_jax import figures, interventions, probes, statistics, tables, verdicts

flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(runner)
for _kind, _what in (("freeze", "stop learning and decaying"), ("lesion", "fall silent")):
    _help = f"pathways that {_what} from an epoch on, as in v_bar@10,v@5; + joins two in one arm"
    flags.DEFINE_list(_kind, None, _help)

SYMBOLS = {"w": "W", "w_bar": "W̄", "v": "V", "v_bar": "V̄"}
DONE = {"freeze": "frozen", "lesion": "silenced"}
INTACT = "intact"
COLOURS = {INTACT: "black", "v_bar": "#D55E00", "v": "#0072B2", "w_bar": "#009E73", "w": "#CC79A7"}
DASHES = {INTACT: "-", "v_bar": (0, (4, 2)), "v": "-.", "w_bar": ":", "w": "--"}  # from the start: no dashes
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


def over_layers(column, factor=1):
    """From a row to its number, the mean over hidden layers where it has one for each; None where there is none."""
    mean = lambda row: factor * float(np.mean(np.array(row[column], float)))  # noqa: E731
    return lambda row: mean(row) if not row["diverged"] and np.isfinite(mean(row)) else None


def manipulations(manifest, dataset):
    """What was done in each arm: `found[arm]` is a tuple of interventions, in the order of the run."""
    arms = manifest["cells"][dataset].items()
    return {arm: [interventions.Intervention(*i) for i in cell["protocol"]["interventions"]] for arm, cell in arms}


def judge(manifest, rows, dataset):
    """A verdict for each manipulation of V and V̄. The paper predicts no loss for W̄, which is a comparison."""
    done, final, found = manipulations(manifest, dataset), {}, []
    for row in sorted((row for row in rows if row["dataset"] == dataset), key=lambda row: row["epoch"]):
        final.setdefault(row["arm"], {})[row["seed"]] = over_layers("h_effective_rank")(row)
    for arm, begun in done.items():
        if not begun or not {i.pathway for i in begun} <= {"v", "v_bar"}:
            continue
        control = title([i._replace(pathway="w_bar") for i in begun[:1]])
        compared = [arm, control] if control in done else [arm]
        losses = [tables.difference(rows, dataset, other, INTACT) for other in compared]
        ours = [f"{other} − intact: {statistics.describe(loss)}" for other, loss in zip(compared, losses, strict=True)]
        if ("lesion", "v_bar") not in {i[:2] for i in begun}:  # H = 0 has no effective rank
            rank = statistics.paired(final[arm], final[INTACT])
            ours.insert(1, f"effective rank of H − intact: {statistics.describe(rank, 'dimensions')}")
        outcome, (_, low, high, *_) = "undecided", losses[0]
        if low is not None and (high < 0 or low >= 0):  # no change at all is no loss
            outcome = "holds" if high < 0 else "does not hold"
        says = f"With {arm}, accuracy falls below the intact circuit's"
        says += " while W learns on" if {i.kind for i in begun} == {"freeze"} else ""
        setting = present.setting(manifest, rows, dataset)
        found.append(verdicts.Verdict("predictions", setting, says, "; ".join(ours), outcome))
    return found


def draw(path, manifest, rows, dataset):
    """Frozen on the left, silenced on the right; below the accuracy what becomes of H. Triangles: the manipulation."""
    from matplotlib.figure import Figure

    done = manipulations(manifest, dataset)
    kinds = [kind for kind in DONE if any(kind == i.kind for begun in done.values() for i in begun)]
    figure = Figure(figsize=(1.2 + 4.3 * len(kinds), 8.2), layout="constrained")
    axes = figure.subplots(3, len(kinds), squeeze=False, sharex=True, sharey="row")
    for (row, column), axis in np.ndenumerate(axes):
        measure, factor, label = MEASURES[row]
        for arm, begun in done.items():
            if not begun or begun[0].kind == kinds[column]:
                pathway = begun[0].pathway if begun else INTACT
                dashes = "-" if begun and begun[0].epoch == 0 else DASHES[pathway]
                name = panels.label(arm) + panels.lost(rows, dataset, arm)
                look = {"color": COLOURS[pathway], "linestyle": dashes, "label": name}
                of_arm = [row for row in rows if row["arm"] == arm]
                epochs, *_ = figures.band(axis, of_arm, over_layers(measure, factor), **look)
                at = [epochs.index(i.epoch) for i in begun if i.epoch in epochs]
                axis.lines[-1].set(marker="v" if at else "", markevery=at, markersize=8)
        axis.set(xlabel="epoch", ylabel=label)
        axis.label_outer()
        axis.xaxis.get_major_locator().set_params(integer=True)
        panels.plain(axis)
    for axis, kind in zip(axes[0], kinds, strict=True):
        axis.set_title(f"pathway {DONE[kind]} (at the triangle)")
        axis.legend(frameon=False, loc="lower right", fontsize=9, handlelength=3)
    figure.suptitle(f"{present.setting(manifest, rows, dataset)}, mean ± sd", fontsize=10)
    figure.savefig(path, dpi=150)


def make(folder):
    manifest, rows = present.write_tables(folder, reference=INTACT)
    for dataset in manifest["data"]:
        of_dataset = [row for row in rows if row["dataset"] == dataset]
        draw(folder / f"predictions_{dataset}.png", manifest, of_dataset, dataset)
    verdicts.write(folder, [verdict for dataset in manifest["data"] for verdict in judge(manifest, rows, dataset)])


if __name__ == "__main__":
    runner.main(arms, make, probe=probe, dataset=["cifar10"], epochs=20)
