"""The experiment on what separates SAM from SGD: each arm changes what its name says, and two steps of it run."""

import json

import official_files as files
import pytest

from sam_jax import lab
from sam_jax.data import datasets
from sam_jax.experiments import gap
from sam_jax.lab import arms, flags

CHANGES = {  # what differs from the searched setting, and by how much
    "V, V̄ held": {"circuit.plastic": ["w", "w_bar"]},
    "η_V, η_V̄ × 0.3": {"rate_v": 0.3, "rate_v_bar": 0.3},
    "η_V, η_V̄ × 3": {"rate_v": 3, "rate_v_bar": 3},
    "γ = 0": {"decay": 0},
    "γ × 4": {"decay": 4},
    "all rates and γ × 0.5": {"rate_w": 0.5, "rate_w_bar": 0.5, "rate_v": 0.5, "rate_v_bar": 0.5, "decay": 0.5},
    "warm-up over a third": {"protocol.warmup_epochs": 4},
    "D_d = gate": {"circuit.downstream_activation": "gate"},
    "S_post plain": {"circuit.gated": []},
    "d̄ = 4d, η_V̄ ÷ 4": {"rate_v_bar": 0.25, "circuit.downstream_widths": [24, 20]},
    "W̄ × 0.4 at first": {"scale_w_bar": 0.4},
    "V, V̄ × 2 at first": {"scale_v": 2, "scale_v_bar": 2},
    "V = V̄ = I": {"circuit.one_to_one": True, "circuit.plastic": ["w", "w_bar"]},
}
CHANGES[gap.LONG] = CHANGES["all rates and γ × 0.5"] | {"protocol.epochs": 24, "protocol.evaluate_every": 2}


def flat(job):
    """{"circuit.plastic": ...; "rate_w": ...; "decay": ...}."""
    described = json.loads(json.dumps(job.describe()))
    found = dict(described["numbers"])
    for group in ("circuit", "protocol"):
        found |= {f"{group}.{name}": value for name, value in described[group].items()}
    return found


def test_each_arm_changes_what_its_name_says():
    argv = ["gap.py", "--dataset=digits", "--hidden_widths=6,5", "--epochs=12"]
    options = flags.parse(gap.EXPERIMENT, argv)
    digits = datasets.load("digits")._replace(name="cifar10")  # whose numbers were searched
    of_gap = gap.arms(options, digits)
    found = {name: flat(arms.settle(options, digits, name, arm)) for name, arm in of_gap.items()}
    searched = found[gap.SAM]
    assert of_gap.keys() == {"sgd", "kp", gap.SAM} | CHANGES.keys()
    for name, changes in CHANGES.items():
        differing = {key for key in searched if found[name][key] != searched[key]}
        assert differing == changes.keys(), name
        for key, change in changes.items():
            if key.startswith(("circuit", "protocol")):
                assert found[name][key] == change
            else:
                assert found[name][key] == pytest.approx(change * searched[key], rel=1e-6), (name, key)


def test_without_decay_no_pathway_decays_under_a_recipe_that_has_one_for_each():
    options = flags.parse(gap.EXPERIMENT, ["gap.py", "--dataset=digits", "--recipe=authors2026", "--hidden_widths=6,5"])
    digits = datasets.load("digits")
    job = arms.settle(options, digits, "γ = 0", gap.arms(options, digits)["γ = 0"])
    assert {job.numbers[name] for name in ("decay", "decay_v", "decay_v_bar")} == {0}


@pytest.mark.slow
def test_two_steps_leave_a_figure(tmp_path):
    files.write_npz(tmp_path / "mine.npz", files.examples(36, (4, 3, 1), 3), files.examples(10, (4, 3, 1), 3, seed=1))
    small = ("--epochs=1", "--batch_size=16", "--seeds=1", "--hidden_widths=4", f"--out_dir={tmp_path / 'out'}")
    lab.main(gap.EXPERIMENT, ["gap.py", f"--dataset={tmp_path / 'mine.npz'}", *small])
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert len({row["arm"] for row in rows}) == 17
    assert {"gap_mine.png", "table.md"} <= {path.name for path in (tmp_path / "out").iterdir()}
