"""The rules in examples/ as a newcomer runs them: by file and name, beside ours, with flags of their own numbers."""

import json
import pathlib

import pytest

import sam_jax as sj
from sam_jax import lab
from sam_jax.experiments import table1

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
RULES = {
    "my_dfa": (f"{EXAMPLES / 'direct_feedback.py'}:dfa", ()),
    "traced": (f"{EXAMPLES / 'eligibility_trace.py'}:traced", ("--trace=0.8",)),
    "noisy": (f"{EXAMPLES / 'noisy_feedback.py'}:noisy", ("--jitter=0.01",)),
}


def test_every_example_is_tried_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        pathlib.Path(rule.rpartition(":")[0]).name for rule, _ in RULES.values()
    }


@pytest.mark.parametrize("name", RULES)
def test_an_example_keeps_the_promises_of_a_rule(name):
    sj.testing.check(sj.rules.find(RULES[name][0]), learns=False)


@pytest.mark.slow
def test_the_examples_run_beside_ours(tmp_path):
    """In one table, with the titles, the numbers and the W of their own seeds."""
    rules = ",".join(rule for rule, _ in RULES.values())
    given = [flag for _, flags in RULES.values() for flag in flags]
    small = ("--epochs=2", "--warmup_epochs=0", "--batch_size=32", "--seeds=1", f"--out_dir={tmp_path / 'out'}")
    lab.main(table1.EXPERIMENT, ["table1.py", f"--rules=sgd,{rules}", *given, *small])
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    cells = json.loads((tmp_path / "out" / "manifest.json").read_text())["cells"]["digits"]
    assert list(cells) == ["sgd", *RULES]
    assert (cells["traced"]["numbers"]["trace"], cells["noisy"]["numbers"]["jitter"]) == (0.8, 0.01)
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    for name in RULES:
        assert cells[name]["title"] in text
        losses = [row["train_loss"] for row in rows if row["arm"] == name]
        assert losses[0] == next(row["train_loss"] for row in rows if row["arm"] == "sgd")  # the same first W
        assert losses[-1] < losses[0]
