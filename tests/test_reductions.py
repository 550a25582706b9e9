"""What must hold exactly, for every nonlinearity: the rules as special cases of one circuit.

Paper, lines 331-337 (SGD, FA and KP are this circuit with pathways held) and Lemma 1 (V tends to V̄ᵀ).
All in float64, to rounding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from stepping import LOSS_NAMES, assert_close, batch, directions, step
from stepping import synapses as random_synapses

import sam_jax as sj
from sam_jax.circuit import ACTIVATIONS, DOWNSTREAM_ACTIVATIONS, ERROR_SIGNALS

pytestmark = pytest.mark.usefixtures("float64")
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)

# An ordinary network, as one would write it in JAX, and ordinary losses.
PHI = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
    "linear": lambda h: h,
}
LOSSES = {
    "cross_entropy": optax.softmax_cross_entropy_with_integer_labels,
    "mse": lambda y_hat, labels: ((y_hat - jax.nn.one_hot(labels, y_hat.shape[1])) ** 2).sum(axis=1),
    "sigmoid_cross_entropy": lambda y_hat, labels: optax.sigmoid_binary_cross_entropy(y_hat, labels).sum(axis=1),
}


def mean_loss(w, x, labels, activation, loss):
    for matrix in w[:-1]:
        x = PHI[activation](x @ matrix.T)
    return LOSSES[loss](x @ w[-1].T, labels).mean()


gradient = jax.jit(jax.grad(mean_loss), static_argnums=(3, 4))


@functools.partial(jax.jit, static_argnums=(0, 4))
def both(circuit, synapses, x, labels, loss="cross_entropy"):
    """The circuit's own direction, and the gradient by autodiff."""
    _, grads = directions(circuit, synapses, x, labels, loss)
    return grads, gradient(synapses.w, x, labels, circuit.activation, loss)


@every_activation
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_sgd_is_the_gradient(activation, loss):
    circuit = sj.sgd((4, 6, 5, 3), activation=activation)
    grads, expected = both(circuit, random_synapses(circuit), *batch(circuit, loss), loss)
    assert_close(grads.w, expected)
    assert (grads.w_bar, grads.v, grads.v_bar) == ((), (), ())


@pytest.mark.parametrize("depth", [2, 3, 8])
def test_sgd_is_the_gradient_at_any_depth(depth):
    circuit = sj.sgd((4, *(6,) * (depth - 2), 3), activation="gelu")
    grads, expected = both(circuit, random_synapses(circuit), *batch(circuit))
    assert_close(grads.w, expected)


@pytest.mark.parametrize("rule", ["fa", "kp", "sam"])
def test_other_rules_are_not_the_gradient(rule):
    circuit = sj.RULES[rule]((4, 6, 5, 3), activation="tanh")
    grads, exact = both(circuit, random_synapses(circuit), *batch(circuit))
    for lower, expected in zip(grads.w[:-1], exact[:-1], strict=True):
        assert np.abs(lower - expected).max() > 0.1 * np.abs(expected).max()


def top_updates(circuits, synapses, x, labels):
    """Each circuit's update of the top W, the circuits sharing `synapses`, and the gradient's."""

    @jax.jit
    def every():
        top = []
        for circuit in circuits:
            held = sj.Synapses(*(m if p in circuit.stored else () for p, m in synapses._asdict().items()))
            top.append(directions(circuit, held, x, labels)[1].w[-1])
        return top, gradient(synapses.w, x, labels, circuits[0].activation, "cross_entropy")[-1]

    return every()


@every_activation
def test_every_rule_gives_the_top_matrix_its_gradient(activation):
    # The streams meet one to one at the output, so that the top W sees ε itself whatever the feedback.
    circuits = [sj.RULES[rule]((4, 5, 3), activation=activation) for rule in sj.rules.TABLE1]
    top, exact = top_updates(circuits, random_synapses(sj.sam((4, 5, 3))), *batch(circuits[0]))
    for update in top:
        assert_close(update, exact)


@pytest.mark.parametrize("error_signal", ERROR_SIGNALS)
def test_every_option_gives_the_top_matrix_its_gradient(error_signal):
    circuits = [
        sj.sam((4, 5, 3), downstream_activation=name, gated=gated, error_signal=error_signal)
        for name in DOWNSTREAM_ACTIVATIONS
        for gated in (sj.PATHWAYS, ("w",), ())
    ]
    top, exact = top_updates(circuits, random_synapses(circuits[0]), *batch(circuits[0]))
    for update in top:
        assert_close(update, exact)


@every_activation
def test_kp_forgets_its_initial_asymmetry_and_nothing_else(activation):
    # W - W̄ᵀ = (1-γ)^n (W_0 - W̄_0ᵀ), whatever the data: both get the same update, both decay.
    circuit, steps = sj.kp((4, 6, 5, 3), activation=activation), 6
    start = random_synapses(circuit)
    for decay in (0.0, 0.03):  # without decay it never forgets
        now = start
        for n in range(steps):
            now = step(circuit, now, *batch(circuit, seed=n), sj.Synapses(0.4, 0.4, 0.0, 0.0), decay)
        for i in range(2):
            assert np.abs(now.w[i + 1] - (1 - decay) ** steps * start.w[i + 1]).max() > 1e-3  # it learned
            expected = (1 - decay) ** steps * (start.w[i + 1] - start.w_bar[i].T)
            assert_close(now.w[i + 1] - now.w_bar[i].T, expected)


def as_stored_identities(circuit, synapses):
    """The same synapses for a circuit that stores V = V̄ = I."""
    identities = tuple(jnp.eye(width) for width in circuit.hidden_widths)
    return synapses._replace(v=identities, v_bar=identities)


@every_activation
@pytest.mark.parametrize("rule", ["sgd", "fa", "kp"])
def test_sam_with_identity_pathways_is_each_layered_rule(rule, activation):
    # Lines 331-337: D_d the Jacobian, V = V̄ = I; then W̄ = Wᵀ, or fixed, or plastic by eq. (9).
    special = sj.RULES[rule]((4, 6, 5, 3), activation=activation)
    plastic = {"sgd": ("w",), "fa": ("w",), "kp": ("w", "w_bar")}[rule]
    general = sj.sam(special.widths, activation=activation, downstream_activation="gate", plastic=plastic)
    assert general.stored == ("w", "w_bar", "v", "v_bar")
    synapses = random_synapses(sj.fa(special.widths))
    one = synapses if rule != "sgd" else synapses._replace(w_bar=())
    other = as_stored_identities(general, synapses)
    rates, decay = sj.Synapses(0.4, 0.3, 0.2, 0.1), 0.03
    for n in range(4):
        if rule == "sgd":
            other = other._replace(w_bar=tuple(w.T for w in other.w[1:]))
        data = batch(special, seed=n)
        one, other = step(special, one, *data, rates, decay), step(general, other, *data, rates, decay)
        assert_close(other.w, one.w)
        if rule != "sgd":
            assert_close(other.w_bar, one.w_bar)
        assert_close((other.v, other.v_bar), (as_stored_identities(general, one).v,) * 2, 0.0)  # held, not decayed


@pytest.mark.parametrize(
    "activation, downstream_activation",
    [(name, "identity") for name in ACTIVATIONS] + [("tanh", name) for name in DOWNSTREAM_ACTIVATIONS[1:]],
)
def test_v_and_v_bar_become_transposes(activation, downstream_activation):
    # Lemma 1: eq. (11) is the transpose of eq. (10), so V - V̄ᵀ shrinks by exactly 1-γ a step.
    downstream_widths = () if downstream_activation == "gate" else (8, 3)
    options = {"activation": activation, "downstream_activation": downstream_activation}
    circuit = sj.sam((4, 6, 5, 3), downstream_widths, **options)
    start = now = random_synapses(circuit, scale=0.5)
    decay, steps = 0.03, 4
    for n in range(steps):
        now = step(circuit, now, *batch(circuit, seed=n), sj.Synapses(0.1, 0.2, 0.4, 0.4), decay)
    for i in range(2):
        assert np.abs(now.v[i] - (1 - decay) ** steps * start.v[i]).max() > 1e-4  # it learned
        assert_close(now.v[i] - now.v_bar[i].T, (1 - decay) ** steps * (start.v[i] - start.v_bar[i].T))


def test_unequal_rates_do_not_align_v_and_v_bar():
    # The same comparison where its premise fails: it would notice a difference.
    circuit = sj.sam((4, 6, 3), (8,))
    start = random_synapses(circuit)
    now = step(circuit, start, *batch(circuit), sj.Synapses(0.1, 0.2, 0.4, 0.1), 0.03)
    gap = now.v[0] - now.v_bar[0].T - 0.97 * (start.v[0] - start.v_bar[0].T)
    assert np.abs(gap).max() > 1e-3
