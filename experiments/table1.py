"""Table 1 of the paper: test accuracy of SAM beside SGD, Feedback Alignment, Weight Mirroring and Kolen-Pollack.

Claim: SAM is at least as good as SGD on six of seven data sets, and better than FA, WM and KP on all.

    python experiments/table1.py                                   # digits, a minute on two cores
    python experiments/table1.py --dataset=mnist,fashion_mnist,cifar10   # an hour on two cores
    python experiments/table1.py --remake=runs/FOLDER              # its tables and figure again

Every rule runs with the numbers that the search chose for the data set (configs/), where there are any.
Prints the table and leaves in `--out_dir`: manifest.json, metrics.jsonl, table.md, table.csv (and
auc.csv where a data set has an AUC), curves.png, verdicts.json.
"""

from sam_jax import lab
from sam_jax.experiments import paper, verdicts
from sam_jax.lab import compare, figures, tables
from sam_jax.rules import TABLE1

CLAIMS = {"SAM at least as good as SGD": ("sgd",), "SAM above FA, WM and KP": ("fa", "wm", "kp")}


def check(options):
    if not options.rules:
        raise ValueError("no rule given, as in --rules=sgd,sam")


def arms(options, dataset):
    """The rules alone."""
    return {}


def judge(results, dataset):
    """The verdicts of one data set, of the claims whose rules were run."""
    found = []
    for says, rivals in CLAIMS.items():
        if {"sam", *rivals} <= set(results.arms(dataset)):
            finding = compare.above(results, dataset, [("sam", rival) for rival in rivals])
            found.append(verdicts.Verdict("table1", results.setting(dataset), says, *finding))
    return found


def make(results):
    tables.leave(results, reference="sgd")
    figures.curves(results.folder / "curves.png", results)
    known = [dataset for dataset in results.datasets if dataset in paper.SETS]  # of others the paper says nothing
    verdicts.write(results.folder, [verdict for dataset in known for verdict in judge(results, dataset)])


EXPERIMENT = paper.experiment("table1", __doc__, arms, make, rules=TABLE1, check=check)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
