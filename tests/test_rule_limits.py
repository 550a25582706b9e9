"""The exact limits of the rules beyond Table 1, in double precision: against jax.grad, and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sam_jax as sj
from sam_jax.losses import LOSSES, targets

pytestmark = pytest.mark.usefixtures("float64")
WIDTHS = (6, 5, 4, 3)


def descent(rule, circuit, synapses, loss="cross_entropy", key=0):
    """What a rule descends along on eight examples, from these synapses."""
    loss = LOSSES[loss]
    x = jax.random.normal(jax.random.key(5), (8, circuit.widths[0]))
    labels = jnp.arange(8) % circuit.widths[-1]
    state = rule.forward(circuit, sj.State(synapses), x)
    y_hat = state.activity.h[-1]
    teacher = sj.Teacher(
        loss.error(y_hat, labels), targets(y_hat, labels), lambda y: loss.value(y, labels), jax.random.key(key)
    )
    state = rule.feedback(circuit, state, teacher)
    return rule.local_update(circuit, state, jax.random.key(1), rule.settle())[0]


def gradient(circuit, w, loss="cross_entropy"):
    def mean_loss(w):
        x = jax.random.normal(jax.random.key(5), (8, circuit.widths[0]))
        y_hat = sj.forward(circuit, sj.State(sj.Synapses(w)), x).activity.h[-1]
        return LOSSES[loss].value(y_hat, jnp.arange(8) % circuit.widths[-1]).mean()

    return jax.grad(mean_loss)(w)


def close(a, b, tolerance=1e-12):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * np.abs(y).max())


def test_direct_feedback_with_one_hidden_layer_is_feedback_alignment():
    for seed in range(2):
        direct, layered = (rule((6, 5, 3)) for rule in (sj.dfa, sj.fa))
        numbers = sj.fa.settle()
        starts = [r.init(c, jax.random.key(seed), numbers) for r, c in ((sj.dfa, direct), (sj.fa, layered))]
        assert all(map(np.array_equal, jax.tree.leaves(starts[0]), jax.tree.leaves(starts[1])))
        steps = descent(sj.dfa, direct, starts[0].synapses), descent(sj.fa, layered, starts[1].synapses)
        assert all(map(np.array_equal, jax.tree.leaves(steps[0]), jax.tree.leaves(steps[1])))


def test_direct_feedback_through_the_transposed_products_is_the_gradient_of_a_linear_network():
    circuit = sj.dfa(WIDTHS, activation="linear")
    w = sj.dfa.init(circuit, jax.random.key(0), sj.dfa.settle()).synapses.w
    b = ((w[2] @ w[1]).T, w[2].T)
    close(descent(sj.dfa, circuit, sj.Synapses(w, b)).w, gradient(circuit, w))


def test_direct_kolen_pollack_descends_alike_on_the_top_w_and_the_last_b():
    circuit = sj.dkp((6, 5, 3))
    step = descent(sj.dkp, circuit, sj.dkp.init(circuit, jax.random.key(0), sj.dkp.settle()).synapses)
    close([step.w_bar[0]], [step.w[-1].T])  # so W - Bᵀ shrinks by the decay alone


@pytest.mark.parametrize("rule", [sj.usf, sj.frsf, sj.brsf], ids=lambda rule: rule.name)
def test_sign_symmetry_with_the_right_magnitudes_is_the_gradient(rule):
    circuit = rule(WIDTHS)
    w = rule.init(circuit, jax.random.key(0), rule.settle()).synapses.w
    close(descent(rule, circuit, sj.Synapses(w, tuple(jnp.abs(m.T) for m in w[1:]))).w, gradient(circuit, w))


def test_node_perturbation_is_the_gradient_on_average():
    rule, circuit = sj.node_perturbation, sj.node_perturbation((4, 3, 2), activation="linear")
    w = rule.init(circuit, jax.random.key(0), rule.settle()).synapses.w
    steps = jax.vmap(lambda key: descent(rule, circuit, sj.Synapses(w), "mse", key).w)(jnp.arange(20_000))
    for tried, exact in zip(steps, gradient(circuit, w, "mse"), strict=True):
        error = tried.std(axis=0) / len(tried) ** 0.5
        assert (np.abs(tried.mean(axis=0) - exact) < 5 * error).all()


def signed_error(circuit, state, teacher):
    return sj.rules.direct.project(state, jnp.sign(teacher.error), teacher.error)


def test_target_projection_is_direct_feedback_of_the_signs_but_for_a_constant():
    """With softmax sign(ε) = 2t - 1: B sign(ε) is 2B t less B·1."""
    circuit = sj.drtp(WIDTHS)
    start = sj.drtp.init(circuit, jax.random.key(0), sj.drtp.settle()).synapses
    twice = start._replace(w_bar=tuple(2 * b for b in start.w_bar))

    def heard(rule, synapses):
        labels = jnp.arange(8) % 3
        state = rule.forward(circuit, sj.State(synapses), jax.random.normal(jax.random.key(5), (8, 6)))
        y_hat = state.activity.h[-1]
        error = LOSSES["cross_entropy"].error(y_hat, labels)
        teacher = sj.Teacher(error, targets(y_hat, labels), lambda y: y, jax.random.key(0))
        return rule.feedback(circuit, state, teacher).activity.h_bar[:-1]

    of_signs = heard(sj.drtp.replace(name="sdfa", feedback=signed_error), start)
    close([h - b.sum(axis=1)[None] for h, b in zip(heard(sj.drtp, twice), start.w_bar, strict=True)], of_signs)
