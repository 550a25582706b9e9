"""The search for every rule's numbers: equally many trials for each, judged by several seeds on the validation split.

The paper tried 64 combinations of the four learning rates, kept the best *ratio*, and tuned the overall
factor for each task (lines 361-368). So does this, with the decay and the initial scales among what is tried:

1. On the first data set, `--trials` settings of each rule, a Sobol sequence in the rule's space
   (`sam_jax/sweep.py`), go through successive halving: a rung is a number of training images and of
   epochs, and the best quarter goes on to the next.
2. On every data set, `--factors` multiply the winner's rates and decay, in runs of the first of `--factor_rungs`.
3. Long runs stand lower rates than short ones, so the best factor, and 0.6 and 1.67 times it, train again
   in longer runs, the next of `--factor_rungs`, and so on: the best of the last three is the data set's winner.

Every trial runs with `--seeds` seeds and counts by its mean validation accuracy, a diverged seed counting
as chance. The test split takes no part. All runs of a rung are one compiled program.

    python experiments/search.py --dataset=cifar10,mnist,fashion_mnist --out_dir=results/search   # 90 minutes, 2 cores
    cp results/search/configs/* experiments/configs/

Leaves in `--out_dir`: manifest.json, metrics.jsonl (a row for each trial, rung and seed), configs/*.cfg,
search.md, stability.png (accuracy and divergence over the rates). An interrupted search goes on where it was.
"""

import math
import pathlib

import jax
import options
import processes
import rungs
import runner
import search_report
from absl import flags
from options import FLAGS

from sam_jax import RULES, inputs, records, sweep

flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(runner)
RULE_NAMES = flags.DEFINE_list("rules", list(RULES), f"learning rules, of {', '.join(RULES)}")
flags.register_validator("rules", lambda names: options.known(names, list(RULES), "rule"))
TRIALS = flags.DEFINE_integer("trials", 32, "settings tried for each rule on the first data set", lower_bound=2)
RUNGS = flags.DEFINE_list("rungs", ["8000x3", "20000x4"], "IMAGESxEPOCHS of each rung")
FACTORS = flags.DEFINE_list("factors", ["0.25", "0.42", "0.7", "1.2", "2"], "times the winner's rates")
FACTOR_RUNGS = flags.DEFINE_list("factor_rungs", ["45000x6", "45000x12", "45000x20"], "IMAGESxEPOCHS of the factors")
KEEP = 4  # a quarter of a rung's trials goes on
STEPS = (0.6, 1.0, 1.67)  # times the best factor, in the next stage


def ratio_search(search, dataset, rule, on_rung) -> dict:
    """Stage 1: the best of the rule's trials after all rungs."""
    trials = sweep.sample(rule, TRIALS.value)
    for level, (images, epochs) in enumerate(map(rungs.rung_of, RUNGS.value)):
        scores = search.rung(dataset, rule, f"rung {level}", trials, images, epochs)
        best = sweep.survivors(scores, math.ceil(len(trials) / KEEP))
        trials = [trials[place] for place in best]
        on_rung()
    return trials[0]


def factor_search(search, dataset, winner: dict, rule: str) -> None:
    """Stages 2 and 3: the winner with several overall factors for this data set, in ever longer runs."""
    factors = [float(factor) for factor in FACTORS.value]
    for level, rung in enumerate(FACTOR_RUNGS.value):
        trials = [sweep.scaled(winner, factor) for factor in factors]
        scores = search.rung(dataset, rule, f"factor {level}", trials, *rungs.rung_of(rung))
        best = sweep.survivors(scores, 1)[0]
        factors = [factors[best] * step for step in STEPS]


def protocol() -> dict:
    """The search's stages, for the manifest: a search may go on with more of them."""
    for rung in (*RUNGS.value, *FACTOR_RUNGS.value):
        rungs.rung_of(rung)
    stages = {"ratios": {"trials": TRIALS.value, "rungs": RUNGS.value, "keep": f"1/{KEEP}", "seeds": FLAGS.seeds}}
    for level, rung in enumerate(FACTOR_RUNGS.value):
        stages[f"factor {level}"] = {"rung": rung, "factors": STEPS if level else FACTORS.value}
    return {"search": stages}


def run() -> pathlib.Path:
    """Searches every rule on every data set; returns the folder."""
    with options.one_line_errors():
        options.check()
        cells, folder = protocol(), options.out_dir()
        records.check(folder, cells)
        loaded = [options.load(name) for name in options.dataset_names()]
        for dataset in loaded:
            runner.needs({rule: runner.Arm(rule) for rule in RULE_NAMES.value}, dataset)
        runner.open_run(folder, cells, loaded, spaces=sweep.SPACES)
    rules = list(dict.fromkeys(RULE_NAMES.value))
    with jax.default_matmul_precision(FLAGS.precision), runner.progress() as bar:
        task = bar.add_task("", total=len(rules) * (len(RUNGS.value) + len(loaded)))
        winners = {}
        for dataset in loaded:
            search = rungs.Search(folder, inputs.place(dataset))
            for rule in rules:
                bar.update(task, description=f"{dataset.name}: {rule}")
                if rule not in winners:
                    winners[rule] = ratio_search(search, dataset, rule, lambda: bar.advance(task))
                factor_search(search, dataset, winners[rule], rule)
                bar.advance(task)
    if processes.first():
        records.merge(folder, rungs.order)
    return folder


if __name__ == "__main__":
    runner.main_of(run, search_report.make, dataset=["digits"], seeds=3)
