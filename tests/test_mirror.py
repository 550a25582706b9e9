"""Weight mirroring: one step against NumPy, and where it settles against the closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_oracle
import pytest
from stepping import assert_close
from stepping import synapses as random_synapses

import sam_jax as sj
from sam_jax.circuit import ACTIVATIONS

pytestmark = pytest.mark.usefixtures("float64")
mirror = functools.partial(jax.jit, static_argnums=0)(sj.rules.mirror.mirror)


def numbers(noise_std, rate, decay):
    return {"mirror_noise_std": noise_std, "mirror_rate": rate, "mirror_decay": decay}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("one_to_one", [True, False])
def test_the_recursion(activation, one_to_one, monkeypatch):
    # y = φ(W ξ), W̄ <- (1-λ) W̄ + η_B ξ yᵀ averaged over the batch; the output layer is linear.
    circuit = sj.wm((3, 5, 4, 2), activation=activation, one_to_one=one_to_one)
    state = sj.State(random_synapses(circuit), sj.Activity(("left alone",)))
    noise = {width: np.random.default_rng(width).normal(size=(256, width)) for width in (5, 4)}
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, *_: jnp.asarray(noise[shape[1]]))
    after = sj.rules.mirror.mirror(circuit, state, jax.random.key(0), numbers(0.7, rate=0.3, decay=0.1), steps=2)

    phi = [numpy_oracle.PHI[activation], numpy_oracle.PHI["linear"]]
    for i, width in enumerate((5, 4)):
        expected, matrix = np.asarray(state.synapses.w_bar[i]), np.asarray(state.synapses.w[i + 1])
        for _ in range(2):
            products = [np.outer(0.7 * xi, phi[i](matrix @ (0.7 * xi))) for xi in noise[width]]
            expected = (1 - 0.1) * expected + 0.3 * sum(products) / 256
        assert_close(after.synapses.w_bar[i], expected)
    assert after.activity is state.activity
    for pathway in ("w", "v", "v_bar"):
        assert_close(getattr(after.synapses, pathway), getattr(state.synapses, pathway), 0.0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_where_it_settles(activation):
    """W̄ -> (η_B σ² / λ) Wᵀ diag E[φ'], within sampling.

    W̄_T = (1-λ)^T W̄_0 + η_B Σ_k (1-λ)^k M_k, with M_k the mean of B independent products ξ y. So its
    mean is the closed form once (1-λ)^T is negligible, and an entry's variance is
    η_B² Var(ξ y) / B Σ_k (1-λ)^{2k} = η_B² Var(ξ y) / (B λ (2 - λ)).
    |φ(z)| <= |z| for every φ here but the sigmoid, which is at most 1. With z = W ξ of deviation s,
    Cauchy-Schwarz gives Var(ξ y) <= sqrt(E ξ⁴ E z⁴) = 3 σ² s², or for the sigmoid E ξ² = σ².
    """
    circuit = sj.wm((3, 5, 4, 2), activation=activation)
    sigma, eta, decay, examples = 0.8, 0.05, 0.05, sj.rules.mirror.BATCH
    state = sj.State(random_synapses(circuit))
    after = mirror(circuit, state, jax.random.key(1), numbers(sigma, eta, decay), 500)  # 0.95^500 = 7e-12

    points, weights = np.polynomial.hermite_e.hermegauss(80)
    for i, phi in enumerate((activation, "linear")):
        matrix = np.asarray(state.synapses.w[i + 1])
        s = sigma * np.linalg.norm(matrix, axis=1)  # the deviation of W ξ, for each neuron that answers
        slope = (weights * numpy_oracle.SLOPE[phi](s[:, None] * points)).sum(axis=1) / weights.sum()
        if phi in ("relu", "leaky_relu"):  # the slope jumps at 0, where quadrature is poor: half of either
            slope = np.full_like(s, {"relu": 0.5, "leaky_relu": 0.505}[phi])
        expected = eta * sigma**2 / decay * matrix.T @ np.diag(slope)
        variance = sigma**2 * (np.ones_like(s) if phi == "sigmoid" else 3 * s**2)
        sampling = eta * np.sqrt(variance / (examples * decay * (2 - decay)))
        assert (np.abs(np.asarray(after.synapses.w_bar[i]) - expected) < 5 * sampling).all()
        assert np.abs(expected).max() > 10 * sampling.max()  # so that a wrong factor would be seen


def test_noise_is_fresh_for_each_step_layer_and_key(monkeypatch):
    # Linear, one row of noise, no decay: a step adds η ξ (W ξ)ᵀ, of rank one; n different ones add rank n.
    monkeypatch.setattr(sj.rules.mirror, "BATCH", 1)
    circuit = sj.wm((3, 6, 6, 6), activation="linear")
    eye = (jnp.eye(6),) * 2
    state = sj.State(sj.Synapses(w=(jnp.ones((6, 3)), *eye), w_bar=tuple(jnp.zeros((6, 6)) for _ in eye)))
    results = [
        sj.rules.mirror.mirror(circuit, state, jax.random.key(key), numbers(1.0, 1.0, 0.0), 3).synapses.w_bar
        for key in (0, 1)
    ]
    for w_bar in results:
        assert [np.linalg.matrix_rank(m) for m in w_bar] == [3, 3]
    drawn = [m for w_bar in results for m in w_bar]
    assert all(np.linalg.matrix_rank(a - b) > 3 for n, a in enumerate(drawn) for b in drawn[:n])


def test_no_steps_change_nothing():
    circuit = sj.wm((3, 5, 2))
    state = sj.State(random_synapses(circuit))
    assert_close(mirror(circuit, state, jax.random.key(0), numbers(1.0, 0.02, 0.01), 0), state, 0.0)


@pytest.mark.parametrize("circuit", [sj.sgd((3, 5, 2)), sj.sam((3, 5, 2), (4,))], ids=["tied", "another width"])
def test_only_feedback_of_the_transposes_shape_can_mirror(circuit):
    state = sj.State(random_synapses(circuit))
    with pytest.raises(ValueError, match=r"w_bar has shapes .*, expected those of the transposed w, \[\(5, 2\)\]"):
        sj.rules.mirror.mirror(circuit, state, jax.random.key(0), numbers(1.0, 0.02, 0.01), 1)


def test_the_rule_mirrors_before_training_and_after_each_update():
    # So many steps of its numbers, traced; and W̄ is where those steps take what the circuit drew.
    circuit, key = sj.wm((3, 5, 4, 2)), jax.random.key(2)
    settled = sj.wm.settle({"mirror_steps_before": 7.0, "mirror_steps_after": 3.0})
    drawn = sj.init(circuit, key, settled)
    before = sj.wm.init(circuit, key, settled)
    assert_close(before, mirror(circuit, drawn, jax.random.fold_in(key, 1), settled, 7))
    after = sj.wm.after(circuit, before, jax.random.key(3), settled)
    assert_close(after, mirror(circuit, before, jax.random.key(3), settled, 3))
    assert np.abs(after.synapses.w_bar[0] - before.synapses.w_bar[0]).max() > 1e-3
