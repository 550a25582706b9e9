"""The experiment on what separates SAM from SGD: each arm changes what its name says, and two steps of it run."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from absl.testing import flagsaver

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))
import gap
import options
import runner

from sam_jax.data import datasets

SCRIPTS = pathlib.Path(gap.__file__).parent
if not options.FLAGS.is_parsed():
    options.FLAGS(["test"])

CHANGES = {  # what differs from the searched setting, and by how much
    "V, V̄ held": {"circuit.plastic": ["w", "w_bar"]},
    "η_V, η_V̄ × 0.3": {"rates.v": 0.3, "rates.v_bar": 0.3},
    "η_V, η_V̄ × 3": {"rates.v": 3, "rates.v_bar": 3},
    "γ = 0": {"decay": 0},
    "γ × 4": {"decay": 4},
    "all rates and γ × 0.5": {"rates.w": 0.5, "rates.w_bar": 0.5, "rates.v": 0.5, "rates.v_bar": 0.5, "decay": 0.5},
    "warm-up over a third": {"protocol.warmup_epochs": 4},
    "D_d = gate": {"circuit.downstream_activation": "gate"},
    "S_post plain": {"circuit.gate_postsynaptic": False},
    "d̄ = 4d, η_V̄ ÷ 4": {"rates.v_bar": 0.25, "circuit.downstream_widths": [24, 20]},
    "W̄ × 0.4 at first": {"scales.w_bar": 0.4},
    "V, V̄ × 2 at first": {"scales.v": 2, "scales.v_bar": 2},
    "V = V̄ = I": {"circuit.one_to_one": True, "circuit.plastic": ["w", "w_bar"]},
}
CHANGES[gap.LONG] = CHANGES["all rates and γ × 0.5"] | {"protocol.epochs": 24, "protocol.evaluate_every": 2}


def flat(description):
    """{"circuit.plastic": ...; "rates.w": ...; "decay": ...}."""
    settings = {name: value for name, value in description["settings"].items() if name != "mirroring"}
    groups = {**settings, "circuit": description["circuit"], "protocol": description["protocol"]}
    found = {}
    for group, value in groups.items():
        inside = value.items() if isinstance(value, dict) else ((None, value),)
        found |= {f"{group}.{name}" if name else group: v for name, v in inside}
    return json.loads(json.dumps(found))


def test_each_arm_changes_what_its_name_says():
    with flagsaver.as_parsed(hidden_widths="6,5", epochs="12"):
        arms = gap.arms("cifar10")
        digits = datasets.load("digits")._replace(name="cifar10")
        found = {name: flat(runner.describe(arm, digits)) for name, arm in arms.items()}
    searched = found[gap.SAM]
    assert arms.keys() == {"sgd", "kp", gap.SAM} | CHANGES.keys()
    for name, changes in CHANGES.items():
        differing = {key for key in searched if found[name][key] != searched[key]}
        assert differing == changes.keys(), name
        for key, change in changes.items():
            if key.startswith(("circuit", "protocol")):
                assert found[name][key] == change
            else:
                assert found[name][key] == pytest.approx(change * searched[key], rel=1e-6), (name, key)


def test_two_steps_leave_a_figure(tmp_path):
    random = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 36), ("test", 10)):
        arrays[f"{split}_images"] = random.integers(256, size=(n, 4, 3, 1), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 3).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", **arrays)
    flags = ("--dataset=mine.npz", "--epochs=1", "--batch_size=16", "--seeds=1", "--hidden_widths=4", "--out_dir=out")
    command = [sys.executable, SCRIPTS / "gap.py", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert len({row["arm"] for row in rows}) == 17
    assert {"gap_mine.png", "table.md"} <= {path.name for path in (tmp_path / "out").iterdir()}
