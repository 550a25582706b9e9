"""What is in examples/ as a newcomer runs it: rules by file and name, with flags of their own numbers; scripts.

The pieces of the Flax examples are compared with the library's functions and with what the trained circuit answers.
"""

import json
import pathlib
import re
import runpy
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import start
from stepping import assert_close, batch, directions
from stepping import synapses as random_synapses

import sam_jax as sj
from sam_jax import lab
from sam_jax.experiments import table1
from sam_jax.lab import search

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
RULES = {
    "my_dfa": (f"{EXAMPLES / 'direct_feedback.py'}:dfa", ()),
    "traced": (f"{EXAMPLES / 'eligibility_trace.py'}:traced", ("--trace=0.8",)),
    "noisy": (f"{EXAMPLES / 'noisy_feedback.py'}:noisy", ("--jitter=0.01",)),
    "own_gate": (f"{EXAMPLES / 'own_gate.py'}:own_gate", ()),
}
SCRIPTS = {"flax_head.py": 3, "flax_module.py": 1}  # and how many accuracies each prints
MAKERS = {"own_images.py"}  # of data sets
SPACES = {"wider_search.py": ("sam_wide", "sam_aligned", "sgd_wide", "kp_wide")}  # rules to be searched


def script(name):
    """The names that a script defines."""
    return types.SimpleNamespace(**runpy.run_path(str(EXAMPLES / name), run_name="example"))


def test_every_example_is_tried_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        *(pathlib.Path(rule.rpartition(":")[0]).name for rule, _ in RULES.values()),
        *SCRIPTS,
        *MAKERS,
        *SPACES,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_an_example_keeps_the_promises_of_a_rule(name):
    sj.testing.check(sj.rules.find(RULES[name][0]), learns=False)


@pytest.mark.slow
def test_the_examples_run_beside_ours(tmp_path):
    """In one table, with the titles, the numbers and the W of their own seeds."""
    rules = ",".join(rule for rule, _ in RULES.values())
    given = [flag for _, flags in RULES.values() for flag in flags]
    small = (
        "--scale_w=1",
        "--epochs=2",
        "--warmup_epochs=0",
        "--batch_size=32",
        "--seeds=1",
        f"--out_dir={tmp_path / 'out'}",
    )
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


def test_the_flax_module_computes_and_learns_as_the_circuit_does(float64):
    """Its synapses are drawn in the collection of their own; its activity and its update are sj's."""
    example, circuit = script("flax_module.py"), sj.sam((6, 5, 4, 3), (7, 2))
    module = example.Motif(circuit, (("scale_v", 0.5),))
    x, labels = batch(circuit)
    drawn = module.init({"synapses": jax.random.key(0)}, x)
    assert list(drawn) == ["synapses"]
    assert jax.tree.map(jnp.shape, drawn["synapses"]["circuit"]) == circuit.shapes

    synapses = random_synapses(circuit)
    variables = {"synapses": {"circuit": synapses}}
    state, descent = directions(circuit, synapses, x, labels)
    assert_close(module.apply(variables, x).h, state.activity.h, 0)
    update = example.update(module, variables, x, labels)
    assert jax.tree.structure(update) == jax.tree.structure(variables)
    assert_close(update, descent, 0)


def test_the_flax_head_sees_what_the_circuits_top_layer_sees(float64):
    """Its features through the top W are ŷ, and its loss at scores of 0 is the log of the number of classes."""
    example, circuit = script("flax_head.py"), sj.sam((6, 5, 4, 3))
    synapses, (x, labels) = random_synapses(circuit), batch(circuit)
    seen = example.features(circuit, synapses, x)
    assert_close(seen @ synapses.w[-1].T, sj.forward(circuit, sj.State(synapses), x).activity.h[-1])
    head = example.Head(3)
    nothing = jax.tree.map(jnp.zeros_like, head.init(jax.random.key(0), seen))
    assert_close(example.loss(nothing, head, seen, labels), np.log(3))


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_accuracies_far_above_chance(name, tmp_path):
    done = start(EXAMPLES / name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    accuracies = [float(number) for number in re.findall(r"([\d.]+) %", done.stdout)]
    assert len(accuracies) == SCRIPTS[name] and all(85 < accuracy <= 100 for accuracy in accuracies)
    if name == "flax_head.py":
        _, learned, untrained = accuracies
        assert learned > untrained


def test_own_images_are_read_back(tmp_path):
    """Classes are chosen and counted anew; of two sets the second's come after the first's."""
    made, digits = script("own_images.py"), sj.load("digits")
    for name, arrays in {"some": made.of_classes(digits, [8, 3]), "both": made.both(digits, digits)}.items():
        np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
    some, both = (sj.load(tmp_path / f"{name}.npz") for name in ("some", "both"))
    chosen = np.isin(digits.test.labels, [3, 8])
    assert (some.classes, both.classes) == (2, 20)
    np.testing.assert_array_equal(some.test.images, digits.test.images[chosen])
    np.testing.assert_array_equal(some.test.labels, digits.test.labels[chosen] == 8)
    labels = np.concatenate([digits.test.labels, digits.test.labels + 10])
    order = np.random.default_rng(0).permutation(len(labels))
    np.testing.assert_array_equal(both.test.labels, labels[order])
    np.testing.assert_array_equal(both.test.images, np.concatenate([digits.test.images] * 2)[order])
    assert set(both.train.labels[:200]) == set(range(20))


@pytest.mark.parametrize("name", SPACES["wider_search.py"])
def test_a_wider_space_reaches_the_optimizer(name):
    """Every trial settles into numbers of the rule; momentum and the two decays are among them, and so is V's start."""
    rule = sj.rules.find(f"{EXAMPLES / 'wider_search.py'}:{name}")
    base = getattr(sj, name.partition("_")[0])
    low, high = rule.space["rate_w"]
    assert (low, high) == (base.space["rate_w"][0] / 5, base.space["rate_w"][1])
    for trial in search.sample(rule, 8):
        numbers = rule.settle(trial)
        assert 0.1 <= numbers["momentum"] <= 0.95 and low <= numbers["rate_w"] <= high
        assert ("decay_v" in numbers) == ("decay_v_bar" in numbers) == name.startswith("sam")
    if name == "sam_aligned":
        circuit = rule((6, 5, 4, 3))
        synapses = rule.init(circuit, jax.random.key(0), rule.settle()).synapses
        for v, v_bar in zip(synapses.v, synapses.v_bar, strict=True):
            np.testing.assert_allclose(v.T @ v, np.eye(v.shape[1]), atol=1e-6)
            np.testing.assert_array_equal(v_bar, v.T)


def test_a_gate_of_its_own_is_backprops_where_v_is_the_identity(float64):
    """With W̄ = Wᵀ and V = V̄ = I, W then learns along the gradient; no downstream neuron sends without drive."""
    rule = sj.rules.find(RULES["own_gate"][0])
    circuit, key = rule((6, 5, 4, 3)), jax.random.key(0)
    start = sj.init(circuit, key)
    w, identities = start.synapses.w, (jnp.eye(5), jnp.eye(4))
    synapses = sj.Synapses(w, (w[1].T, w[2].T), identities, identities)
    x, labels = batch(circuit, examples=20)

    def loss(synapses):
        return sj.losses.cross_entropy.value(sj.forward(circuit, sj.State(synapses), x).activity.h[-1], labels).mean()

    state = rule.forward(circuit, sj.State(synapses), x)
    error = sj.losses.cross_entropy.error(state.activity.h[-1], labels)
    state = rule.feedback(circuit, state, sj.Teacher(error, labels, None, key))
    assert_close(rule.local_update(circuit, state, key, {})[0].w, jax.grad(loss)(synapses).w)
    silent = state.activity.h[1] <= 0
    assert silent.any() and not state.activity.h_bar[0][silent].any()
