"""The two propositions on D_d = I, in their experiments: the best linear feedback, and the rank of a decaying V."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import official_files as files
import pytest
from stepping import assert_close

import sam_jax as sj
from sam_jax import lab
from sam_jax.experiments import ceiling, rank
from sam_jax.lab import figures

pytestmark = pytest.mark.usefixtures("float64")
LOSS = sj.losses.cross_entropy
LINEAR = (ceiling.transposes, ceiling.best_of_batch, ceiling.best_running)


def step(rule, activation, widths=(5, 7, 6, 4), examples=40):
    """What a rule's W descends along on a random batch, and the gradient."""
    circuit, numbers = rule(widths, activation=activation), rule.settle()
    keys = jax.random.split(jax.random.key(3), 3)
    x, labels = (
        jax.random.normal(keys[0], (examples, widths[0])),
        jax.random.randint(keys[1], (examples,), 0, widths[-1]),
    )
    state = rule.init(circuit, keys[2], numbers)

    def loss(synapses):
        return LOSS.value(sj.forward(circuit, sj.State(synapses), x).activity.h[-1], labels).mean()

    state = rule.forward(circuit, state, x)
    teacher = sj.Teacher(LOSS.error(state.activity.h[-1], labels), labels, lambda y_hat: y_hat, keys[0])
    state = rule.feedback(circuit, state, teacher)
    return rule.local_update(circuit, state, keys[0], numbers)[0].w, jax.grad(loss)(state.synapses).w, state


def test_the_best_map_is_least_squares_over_the_examples_that_a_neurons_gate_lets_through():
    rng = np.random.default_rng(0)
    gate = rng.integers(0, 2, (30, 5)).astype(float)
    gate[:, 2] = 0  # a silent neuron
    signal, error = rng.normal(size=(30, 5)), rng.normal(size=(30, 3))
    found = ceiling.best_map(*ceiling.moments(jnp.array(gate), jnp.array(signal), jnp.array(error)))
    for neuron in range(5):
        through = gate[:, neuron] == 1
        expected = np.linalg.lstsq(error[through], signal[through, neuron])[0] if through.any() else np.zeros(3)
        np.testing.assert_allclose(found[neuron], expected, atol=1e-3)


@pytest.mark.parametrize("rule", LINEAR, ids=lambda rule: rule.name)
def test_without_gates_linear_feedback_is_backprop(rule):
    """A softmax's errors sum to zero: the map is then not unique, but what it sends is."""
    ours, gradients, _ = step(rule, "linear")
    for one, other in zip(ours, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_no_matrix_misses_backprops_signal_by_less(activation):
    *_, state = step(ceiling.best_of_batch, activation)
    _, _, exact = step(sj.sgd, activation)
    for layer, (ours, theirs) in enumerate(zip(state.activity.h_bar[:-1], exact.activity.h_bar[:-1], strict=True)):
        gate = sj.dynamics.derivative(
            ceiling.best_of_batch((5, 4), activation=activation).phi, exact.activity.h[layer + 1]
        )
        error = exact.activity.h_bar[-1]
        left = jnp.einsum("bj,bj,bk->jk", gate**2, theirs - ours, error)  # what any other matrix could still gain
        whole = jnp.einsum("bj,bj,bk->jk", gate**2, theirs, error)
        assert float(jnp.abs(left).max()) < 1e-2 * float(jnp.abs(whole).max())
        missed = float(jnp.abs(theirs - ours).max()) / float(jnp.abs(theirs).max())
        assert missed < 1e-4 if layer == 1 else missed > 0.01  # on the way to the last hidden layer there is no gate


@pytest.mark.slow
@pytest.mark.parametrize("rule", LINEAR[1:], ids=lambda rule: rule.name)
def test_the_maps_keep_the_promises_of_a_rule(rule):
    with jax.enable_x64(False):
        sj.testing.check(rule, learns=False)


def test_what_makes_v_stationary_has_fewer_dimensions_than_there_are_classes():
    """The proposition itself: η_V <h̄ aᵀ> / γ has rank K - 1 under cross-entropy."""
    circuit = sj.sam((20, 15, 15, 4))
    keys = jax.random.split(jax.random.key(0), 2)
    state = sj.forward(circuit, sj.init(circuit, keys[0]), jax.random.normal(keys[1], (50, 20)))
    state = sj.feedback(circuit, state, LOSS.error(state.activity.h[-1], jnp.arange(50) % 4))
    stationary = sj.Synapses(v=tuple(-3.0 * v for v in sj.local_update(circuit, state).v))

    class Job:
        pass

    Job.circuit = circuit
    found, start = rank.probe(Job, None, stationary), rank.probe(Job, None, state.synapses)
    assert float(jnp.max(found["beyond"])) < 1e-7 and float(jnp.min(start["beyond"])) > 0.5
    assert float(jnp.max(found["effective_rank"])) <= 3 + 1e-9


def test_beyond_is_what_the_largest_singular_values_leave():
    class Job:
        circuit = sj.sam((9, 5, 3))

    found = rank.probe(Job, None, sj.Synapses(v=(jnp.diag(jnp.array([4.0, 3.0, 2.0, 1.0, 2.0])),)))
    assert_close(found["beyond"], jnp.array([3 / 34**0.5]))  # √(4 + 4 + 1) of √34


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.npz"
    return files.write_npz(path, files.examples(60, (4, 3, 1), 3), files.examples(12, (4, 3, 1), 3, seed=1))


@pytest.mark.slow
def test_the_rank_experiment_decays_as_its_arms_say(own, tmp_path, monkeypatch):
    drawn, plain = {}, figures.band

    def band(axis, rows, *given, **look):
        drawn[look["label"]], *_ = found = plain(axis, rows, *given, **look)
        return found

    monkeypatch.setattr(figures, "band", band)
    small = (
        "--epochs=4",
        "--evaluate_every=2",
        "--batch_size=9",
        "--train_images=54",
        "--seeds=2",
        "--hidden_widths=6,5",
    )
    with jax.enable_x64(False):
        lab.main(rank.EXPERIMENT, ["rank.py", f"--dataset={own}", *small, f"--out_dir={tmp_path / 'out'}"])
    cells = json.loads((tmp_path / "out" / "manifest.json").read_text())["cells"]["mine"]
    for total in rank.TOTALS:
        numbers = cells[f"Σγ = {total:g}"]["numbers"]
        assert numbers["decay"] == 0 and 4 * 6 * numbers["decay_v"] == pytest.approx(total)
        assert numbers["decay_v_bar"] == numbers["decay_v"]
    assert drawn["Σγ = 3 at the end"] == [0, 1.5, 3]  # what has decayed at epochs 0, 2 and 4 of 4
    text = (tmp_path / "out" / "rank.md").read_text(encoding="utf-8")
    assert text.startswith("### mine (54 training images), 4 epochs, 2 seeds") and text.count("| Σγ = ") == 4
    assert (tmp_path / "out" / "rank.png").is_file()


@pytest.mark.slow
def test_the_ceiling_runs_and_is_drawn(own, tmp_path):
    small = ("--epochs=2", "--batch_size=18", "--seeds=2", "--hidden_widths=6,5")
    with jax.enable_x64(False):
        lab.main(ceiling.EXPERIMENT, ["ceiling.py", f"--dataset={own}", *small, f"--out_dir={tmp_path / 'out'}"])
    results = lab.Results.read(tmp_path / "out")
    assert results.arms("mine") == [rule.name for rule in ceiling.ARMS]
    assert (tmp_path / "out" / "ceiling.png").is_file()
    assert "best map, running average − SGD" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
