"""Table 2 of the paper (lines 180-190): eight criteria that tell SAM from its rivals, and whether circuits meet them.

Claim: only SAM has all four pathways, and all four plastic. The criteria are computed from each rule's
settings, and tested as one would test an animal: a pathway is there if a lesion of it before training
changes the trained network (its test loss), and plastic if training turns its matrices into something
that decay alone does not make of them.

    python experiments/table2.py                       # digits, two minutes on two cores
    python experiments/table2.py --dataset=mnist --epochs=3   # about ten minutes
    python experiments/table2.py --remake=runs/FOLDER  # its tables and figure again

A pathway that a rule has no matrix for, tied or one to one, cannot be lesioned: it is not there. Leaves in
`--out_dir`: manifest.json, metrics.jsonl, table.md, table.csv, table2.md, table2.png, verdicts.json.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sam_jax import lab
from sam_jax.circuit import PATHWAYS, SYMBOLS
from sam_jax.experiments import paper, ticks, verdicts
from sam_jax.interventions import Intervention
from sam_jax.lab import tables
from sam_jax.rules import CRITERIA, RULES, compatibility_table

CHANGED = 1e-3  # of the test loss (nats), and of a matrix relative to its size at the start
NOTE = (
    "Connectivity: the least change of test loss (nats) by a lesion, over seeds. Plasticity: the least change of the\n"
    "matrices beyond decay, relative to their start, over seeds. A pathway with no matrix of its own has no number."
)


def lesioned(rule, pathway):
    return f"{RULES[rule].title} without {SYMBOLS[pathway]}"


def arms(options, dataset):
    found = {rule: lab.Arm(rule) for rule in RULES}
    for rule, marks in compatibility_table().items():
        for pathway, connectivity in zip(PATHWAYS, CRITERIA[:4], strict=True):
            if marks[connectivity]:
                lesion = (Intervention("lesion", pathway, 0),)
                found[lesioned(rule, pathway)] = lab.Arm(rule, protocol={"interventions": lesion})
    return found


def probe(job, data, synapses):
    """Two random projections of every matrix, `w_projection` [2 · entries of w] and so on: decay shrinks them alike."""

    def project(pathway, i, matrix):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), PATHWAYS.index(pathway)), i)
        return jnp.tensordot(jax.random.normal(key, (2, *matrix.shape)), matrix, 2) / matrix.size**0.5

    return {
        f"{pathway}_projection": jnp.concatenate([project(pathway, i, m) for i, m in enumerate(matrices)])
        for pathway, matrices in synapses._asdict().items()
        if matrices
    }


def moved(first, last):
    """How far `last` is from every shrunken copy of `first`, relative to `first`: 0 for decay alone."""
    first, last = np.array(first), np.array(last)
    size = max(np.linalg.norm(first), 1e-12)
    return float(np.linalg.norm(last - (last @ first) / size**2 * first) / size)


def simulate(results, dataset, rule):
    """What the runs say of each criterion: a (✓, measured) pair; (None, None) where no run is left to say it.

    Connectivity's number is the smallest |change of test loss| by the lesion, over seeds; a lesioned run
    that diverges is changed without bound. Plasticity's is the smallest move over seeds and pathways.
    """
    of_rule = results.of(dataset, rule)
    losses = results.final(dataset, rule, "test_loss")
    seeds = [seed for seed, loss in losses.items() if loss is not None]
    found = {}
    for pathway, connectivity, plasticity in zip(PATHWAYS, CRITERIA[:4], CRITERIA[4:], strict=True):
        column = f"{pathway}_projection"
        if not seeds:
            found |= {connectivity: (None, None), plasticity: (None, None)}
            continue
        if column not in of_rule[0]:  # no matrix to cut or to change
            found |= {connectivity: (False, None), plasticity: (False, None)}
            continue
        cut = results.final(dataset, lesioned(rule, pathway), "test_loss")
        far = [abs(losses[s] - cut[s]) if cut[s] is not None else float("inf") for s in seeds if s in cut]
        found[connectivity] = (min(far) > CHANGED, min(far)) if far else (None, None)
        ends = [sorted((r for r in of_rule if r["seed"] == s), key=lambda r: r["epoch"]) for s in seeds]
        far = min(moved(end[0][column], end[-1][column]) for end in ends)
        found[plasticity] = (far > CHANGED, far)
    return {criterion: found[criterion] for criterion in CRITERIA}


def judge(results, dataset):
    """The verdict of one data set: the paper's rows, as computed and as simulated."""
    computed, wrong, unknown = compatibility_table(), [], []
    for rule, printed in paper.TABLE2.items():
        simulated = simulate(results, dataset, rule)
        for criterion, tick in zip(CRITERIA, printed, strict=True):
            seen = simulated[criterion][0]
            if computed[rule][criterion] != tick or seen not in (tick, None):
                wrong.append(f"{RULES[rule].title}, {criterion}")
            elif seen is None:
                unknown.append(f"{RULES[rule].title}, {criterion}")
    total = len(paper.TABLE2) * len(CRITERIA)
    ours = f"{total - len(wrong) - len(unknown)} of {total} entries agree, computed and simulated"
    if wrong:
        ours += f"; differ: {'; '.join(wrong)}"
    if unknown:
        ours += f"; no runs for: {'; '.join(unknown)}"
    outcome = "does not hold" if wrong else "undecided" if unknown else "holds"
    says = "Of the paper's four rules SAM alone meets all eight criteria (Table 2, 32 entries)"
    return verdicts.Verdict("table2", results.setting(dataset), says, ours, outcome)


def grids(results):
    """The tables to show by title: `grid[rule's title][criterion]` is a (✓, measured) pair."""
    names = {rule: row.title for rule, row in RULES.items()}
    printed = {r: dict(zip(CRITERIA, marks, strict=True)) for r, marks in paper.TABLE2.items()}
    found = {
        title: {names[r]: {c: (tick, None) for c, tick in marks.items()} for r, marks in table.items()}
        for title, table in (("the paper's Table 2", printed), ("computed from settings", compatibility_table()))
    }
    for dataset in results.datasets:
        title = f"measured: {results.setting(dataset)}"
        found[title] = {
            name: simulate(results, dataset, rule) for rule, name in names.items() if rule in results.arms(dataset)
        }
    return found


def make(results):
    tables.leave(results)
    found, folder = grids(results), results.folder
    ticks.write_markdown(folder / "table2.md", found)
    ticks.draw(folder / "table2.png", found, NOTE)
    verdicts.write(folder, [judge(results, dataset) for dataset in results.datasets])


EXPERIMENT = paper.experiment("table2", __doc__, arms, make, probe=probe, defaults={"epochs": 10, "seeds": 3})

if __name__ == "__main__":
    lab.main(EXPERIMENT)
