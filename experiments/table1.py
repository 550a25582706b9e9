"""Table 1 of the paper: test accuracy of SAM beside SGD, Feedback Alignment, Weight Mirroring and Kolen-Pollack.

Claim: SAM is at least as good as SGD on six of seven data sets, and better than FA, WM and KP on all.

    python experiments/table1.py                                   # digits, a minute on two cores
    python experiments/table1.py --dataset=mnist,fashion_mnist,cifar10   # an hour on two cores
    python experiments/table1.py --remake=runs/FOLDER              # its tables and figure again

Every rule runs with the numbers that the search chose for the data set (configs/), where there are any.
Prints the table and leaves in `--out_dir`: manifest.json, metrics.jsonl, table.md, table.csv (and
auc.csv where a data set has an AUC), curves.png, verdicts.json.
"""

import options
import present
import runner
from absl import flags

from sam_jax import RULES, figures, verdicts

flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(runner)
RULE_NAMES = flags.DEFINE_list("rules", list(RULES), f"learning rules, of {', '.join(RULES)}")
flags.register_validator("rules", lambda names: options.known(names, list(RULES), "rule"))


def arms(dataset):
    names = list(dict.fromkeys(RULE_NAMES.value))
    if options.FLAGS.downstream_widths and all(RULES[name].settings.get("one_to_one") for name in names):
        raise ValueError("--downstream_widths is for sam alone, and sam is not among --rules: leave it out")
    return {name: runner.Arm(name) for name in names}


def make(folder):
    manifest, rows = present.write_tables(folder, reference="sgd")
    figures.curves(folder / "curves.png", rows)
    found = []
    for dataset in manifest["data"]:
        trained = {row["arm"] for row in rows if row["dataset"] == dataset}
        claims = {"SAM at least as good as SGD": ("sgd",), "SAM above FA, WM and KP": ("fa", "wm", "kp")}
        for says, rivals in claims.items():
            if trained >= {"sam", *rivals}:
                pairs = [("sam", rival) for rival in rivals]
                found.append(present.above("table1", manifest, rows, dataset, says, pairs))
    verdicts.write(folder, found)


if __name__ == "__main__":
    runner.main(arms, make)
