"""The search for every rule's numbers: equally many trials for each, judged by several seeds on the validation split.

The paper tried 64 combinations of the four learning rates, kept the best *ratio*, and tuned the overall
factor for each task (lines 361-368). So does this, with the decay and the initial scales among what is tried:

1. On the first data set, `--trials` settings of each rule, a Sobol sequence in the rule's space
   (`Rule.space`), go through successive halving: a rung is a number of epochs on all
   training images, and the best quarter goes on to the next.
2. On every data set, `--factors` multiply the winner's rates and decay, in runs of the first of `--factor_rungs`.
3. Long runs stand lower rates than short ones, so the best factor, and 0.6 and 1.67 times it, train again
   in longer runs, the next of `--factor_rungs`, and so on: the best of the last three is the data set's winner.

Every trial runs with `--seeds` seeds and counts by its mean validation accuracy, a diverged seed counting
as chance. The test split takes no part. All runs of a rung are one compiled program.

    python experiments/search.py --dataset=cifar10,mnist,fashion_mnist --out_dir=results/search   # 2 to 3 hours
    cp results/search/configs/* experiments/configs/

Leaves in `--out_dir`: manifest.json, metrics.jsonl (a row for each trial, rung and seed), configs/*.cfg,
search.md, stability.png (accuracy and divergence over the rates). An interrupted search goes on where it was.
"""

from sam_jax.experiments import paper
from sam_jax.lab import search, search_report
from sam_jax.lab.run import main_of
from sam_jax.rules import TABLE1


def arms(options, dataset):
    """The rules alone."""
    return {}


EXPERIMENT = paper.experiment(
    "search", __doc__, arms, search_report.make, rules=TABLE1, flags=search.FLAGS, defaults={"seeds": 3}
)

if __name__ == "__main__":
    main_of(EXPERIMENT, search.run, only=(*search.READS, *(flag.name for flag in search.FLAGS)))
