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

from sam_jax import interventions, lab, probes
from sam_jax.circuit import SYMBOLS
from sam_jax.experiments import paper, verdicts
from sam_jax.lab import compare, figures, flags, statistics, tables

DONE = {"freeze": "frozen", "lesion": "silenced"}
INTACT = "intact"
COLOURS = {INTACT: "black", "v_bar": "#D55E00", "v": "#0072B2", "w_bar": "#009E73", "w": "#CC79A7"}
DASHES = {INTACT: "-", "v_bar": (0, (4, 2)), "v": "-.", "w_bar": ":", "w": "--"}  # from the start: no dashes
MEASURES = (
    ("test_accuracy", 100, "test accuracy (%)"),
    ("h_effective_rank", 1, "effective rank of H\n(mean over layers)"),
    ("h_trace_mean", 1, "mean eigenvalue of H\n(trace / width)"),
)


def asked(options):
    """What is done in each arm but the intact one: a tuple of interventions, which an entry joins by +."""
    quarter, half = options.epochs // 4, options.epochs // 2
    given = {"freeze": options.own.freeze or [], "lesion": options.own.lesion or []}
    if not any(given.values()):
        given = {
            "freeze": ["v_bar@0", *(f"{p}@{quarter}" for p in ("v_bar", "v", "w_bar"))],
            "lesion": [f"{p}@{half}" for p in ("v_bar", "v", "w_bar")],
        }
    return [
        tuple(interventions.parse(kind, text) for text in entry.split("+"))
        for kind, entries in given.items()
        for entry in entries
    ]


def check(options):
    flags.need_hidden(options)
    for begun in asked(options):
        for kind, pathway, epoch in begun:
            if epoch >= options.epochs:
                raise ValueError(f"--{kind}={pathway}@{epoch}: expected an epoch before the last, {options.epochs}")


def arms(options, dataset):
    return {INTACT: lab.Arm("sam")} | {
        title(begun): lab.Arm("sam", protocol={"interventions": begun}) for begun in asked(options)
    }


def title(begun):
    """`V̄ frozen at 5`; `V̄ frozen at 5, V frozen at 5`."""
    return ", ".join(f"{SYMBOLS[pathway]} {DONE[kind]} at {epoch}" for kind, pathway, epoch in begun)


def probe(job, data, synapses):
    held = probes.conditioning(synapses) if synapses.v_bar else {}  # a rule beside SAM may have no H
    return probes.alignment(synapses) | held


def over_layers(column, factor=1):
    """From a row to its number, the mean over hidden layers where it has one for each; None where there is none."""

    def number(row):
        if row["diverged"]:
            return None
        mean = factor * float(np.mean(np.array(row[column], float)))
        return mean if np.isfinite(mean) else None

    return number


def manipulations(results, dataset):
    """What was done in each arm of SAM: `found[arm]` is a list of interventions, in the order of the run."""
    cells = results.cells(dataset).items()
    arms = [(arm, cell) for arm, cell in cells if arm == INTACT or cell["protocol"]["interventions"]]
    return {arm: [interventions.Intervention(*i) for i in cell["protocol"]["interventions"]] for arm, cell in arms}


def judge(results, dataset):
    """A verdict for each manipulation of V and V̄. The paper predicts no loss for W̄, which is a comparison."""
    done, found = manipulations(results, dataset), []

    def ranks(arm):
        return results.by_seed(dataset, arm, "h_effective_rank", np.mean)

    for arm, begun in done.items():
        if not begun or not {i.pathway for i in begun} <= {"v", "v_bar"}:
            continue
        control = title([i._replace(pathway="w_bar") for i in begun[:1]])
        compared = [arm, control] if control in done else [arm]
        losses = [results.difference(dataset, other, INTACT) for other in compared]
        effects = [compare.Effect(f"{other} − intact", loss) for other, loss in zip(compared, losses, strict=True)]
        if ("lesion", "v_bar") not in {i[:2] for i in begun}:  # H = 0 has no effective rank
            rank = statistics.paired(ranks(arm), ranks(INTACT))
            effects.insert(1, compare.Effect("effective rank of H − intact", rank, "dimensions"))
        outcome, (_, low, high, *_) = "undecided", losses[0]
        if low is not None and (high < 0 or low >= 0):  # no change at all is no loss
            outcome = "holds" if high < 0 else "does not hold"
            if results.lost(dataset, INTACT if high < 0 else arm):  # the seeds that are left may be the lucky ones
                outcome = "undecided"
        says = f"With {arm}, accuracy falls below the intact circuit's"
        says += " while W learns on" if {i.kind for i in begun} == {"freeze"} else ""
        ours = "; ".join(effect.words for effect in effects)
        found.append(verdicts.Verdict("predictions", results.setting(dataset), says, ours, outcome, tuple(effects)))
    return found


def draw(path, results, dataset):
    """Frozen on the left, silenced on the right; below the accuracy what becomes of H. Triangles: the manipulation."""
    from matplotlib.figure import Figure

    done = manipulations(results, dataset)
    kinds = [kind for kind in DONE if any(kind == i.kind for begun in done.values() for i in begun)]
    figure = Figure(figsize=(1.2 + 4.3 * len(kinds), 8.2), layout="constrained")
    axes = figure.subplots(3, len(kinds), squeeze=False, sharex=True, sharey="row")
    for (row, column), axis in np.ndenumerate(axes):
        measure, factor, label = MEASURES[row]
        for arm, begun in done.items():
            if not begun or begun[0].kind == kinds[column]:
                pathway = begun[0].pathway if begun else INTACT
                dashes = "-" if begun and begun[0].epoch == 0 else DASHES[pathway]
                look = {"color": COLOURS[pathway], "linestyle": dashes}
                if len(begun) > 1:  # several at once: none of the pathways' own looks
                    look = figures.style("", list(done).index(arm))
                look["label"] = figures.label(arm) + results.lost(dataset, arm)
                epochs, *_ = figures.band(axis, results.of(dataset, arm), over_layers(measure, factor), **look)
                at = [epochs.index(i.epoch) for i in begun if i.epoch in epochs]
                axis.lines[-1].set(marker="v" if at else "", markevery=at, markersize=8)
        axis.set(xlabel="epoch", ylabel=label)
        axis.label_outer()
        axis.xaxis.get_major_locator().set_params(integer=True)
        figures.plain(axis)
    for axis, kind in zip(axes[0], kinds, strict=True):
        axis.set_title(f"pathway {DONE[kind]} (at the triangle)")
        axis.legend(frameon=False, loc="lower right", fontsize=9, handlelength=3)
    figure.suptitle(f"{results.setting(dataset)}, mean ± sd", fontsize=10)
    figures.save(figure, path)


def make(results):
    tables.leave(results, reference=INTACT)
    for dataset in results.datasets:
        draw(results.folder / f"predictions_{dataset}.png", results, dataset)
    verdicts.write(results.folder, [verdict for dataset in results.datasets for verdict in judge(results, dataset)])


FLAGS = tuple(
    lab.Flag(kind, [], f"pathways that {what} from an epoch on, as in v_bar@10,v@5; + joins two in one arm")
    for kind, what in (("freeze", "stop learning and decaying"), ("lesion", "fall silent"))
)
DEFAULTS = {"dataset": ["cifar10"], "epochs": 20}
EXPERIMENT = paper.experiment(
    "predictions", __doc__, arms, make, probe=probe, defaults=DEFAULTS, flags=FLAGS, check=check
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
