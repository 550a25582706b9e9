"""The factorial experiment: its cells are the rules that it says, its effects those of known tables; it runs."""

import jax
import jax.numpy as jnp
import numpy as np
import official_files as files
import pytest
from stepping import assert_close

import sam_jax as sj
from sam_jax import lab
from sam_jax.experiments import factorial
from sam_jax.lab import flags, statistics

WIDTHS = (12, 8, 7, 3)
KNOWN = {
    ("gate", "tied", "one"): sj.sgd,
    ("gate", "plastic", "one"): sj.kp,
    ("gate", "fixed", "one"): sj.fa,
    ("identity", "plastic", "random"): sj.sam,
}


@pytest.mark.parametrize("cell", KNOWN, ids="_".join)
def test_the_corners_are_the_rules_that_have_names(cell):
    assert factorial.rule_of(cell)(WIDTHS) == KNOWN[cell](WIDTHS)
    assert factorial.rule_of(cell).functions == KNOWN[cell].functions


@pytest.mark.parametrize("cell", factorial.CELLS, ids="_".join)
def test_a_cell_has_numbers_for_what_it_stores(cell):
    rule = factorial.rule_of(cell)
    circuit = rule(WIDTHS)
    assert {name for name in rule.numbers if name.startswith("scale_")} == {f"scale_{p}" for p in circuit.stored}
    assert {name for name in rule.numbers if name.startswith("rate_")} == {f"rate_{p}" for p in circuit.plastic}


def test_aligned_streams_begin_in_lemma_1s_limit():
    rule = factorial.RULES["identity_plastic_aligned"]
    synapses = rule.init(rule(WIDTHS), jax.random.key(0), rule.settle()).synapses
    for v, v_bar, h in zip(synapses.v, synapses.v_bar, sj.probes.preconditioner(synapses), strict=True):
        assert_close(v_bar, v.T)
        np.testing.assert_allclose(h, jnp.eye(len(h)), atol=1e-6)


GATE, W_BAR, V = (
    {"gate": 0, "identity": -1},
    {"tied": 0, "plastic": -2, "fixed": -8},
    {"one": 0, "aligned": 3, "random": 5},
)


def table(interaction=0.0, lost=()):
    """Known effects, added up; D_d = I with a random V has something of its own; seeds differ by ten."""
    return {
        cell: {
            seed: None
            if (cell, seed) in lost
            else 50 + 10 * seed + GATE[cell[0]] + W_BAR[cell[1]] + V[cell[2]]
            + interaction * (cell[0] == "identity" and cell[2] == "random")
            for seed in range(3)
        }
        for cell in factorial.CELLS
    }  # fmt: skip


def test_main_effects_of_a_sum_are_its_terms():
    for choice, known in (("D_d", GATE), ("W̄", W_BAR), ("V", V)):
        for level, size in list(known.items())[1:]:
            assert factorial.contrast(table(), {choice: level}) == {0: size, 1: size, 2: size}


def test_an_interaction_is_what_two_changes_do_beyond_their_sum():
    both = {"D_d": "identity", "V": "random"}
    assert factorial.contrast(table(), both) == {0: 0, 1: 0, 2: 0}
    assert factorial.contrast(table(interaction=-4), both) == {0: -4, 1: -4, 2: -4}
    # The main effect is the mean over V's three levels, of which one is changed.
    found = factorial.contrast(table(interaction=-3), {"D_d": "identity"})
    assert list(found.values()) == pytest.approx([-1 - 1] * 3)


def test_a_seed_that_lost_a_cell_is_left_out():
    lost = table(lost=[(("gate", "tied", "one"), 1)])
    found = factorial.contrast(lost, {"D_d": "identity"})
    assert found == {0: -1, 1: None, 2: -1}
    assert statistics.paired(found, dict.fromkeys(found, 0.0)).lost == 1


def test_streams_of_other_widths_are_refused():
    with pytest.raises(ValueError, match="half of the cells need those of --hidden_widths: leave it out"):
        flags.parse(factorial.EXPERIMENT, ["factorial", "--dataset=digits", "--downstream_widths=9,9,9"])


@pytest.mark.slow
def test_it_runs_and_is_drawn(tmp_path):
    path = files.write_npz(
        tmp_path / "mine.npz", files.examples(60, (4, 3, 1), 3), files.examples(12, (4, 3, 1), 3, seed=1)
    )
    small = ("--epochs=1", "--batch_size=18", "--seeds=2", "--hidden_widths=6,5", "--notune")
    lab.main(factorial.EXPERIMENT, ["factorial.py", f"--dataset={path}", *small, f"--out_dir={tmp_path / 'out'}"])
    results = lab.Results.read(tmp_path / "out")
    assert results.arms("mine") == ["_".join(cell) for cell in factorial.CELLS]
    words = (tmp_path / "out" / "factorial.md").read_text(encoding="utf-8")
    assert words.count("\n| ") == 2 + 5 + 8 + 2 + 5 and "| W̄ fixed × V, V̄ random |" in words
    assert (tmp_path / "out" / "factorial_mine.png").is_file()
    a, b = (results.final("mine", f"{cell}_plastic_one") for cell in ("gate", "identity"))
    mean = sum(b[seed] - a[seed] for seed in a) / len(a)
    step = "| D_d = gate, W̄ plastic, V = V̄ = I | D_d = I, W̄ plastic, V = V̄ = I |"
    assert f"{step} {mean:+.2f} points" in words
