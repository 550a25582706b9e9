"""What several tests need: random examples, one compiled training step, and a comparison of pytrees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sam_jax as sj

LOSS_NAMES = tuple(sj.losses.LOSSES)


def some(values, quick):
    """Parameters of a test: those of `quick` in `make test`, the others too in `make test-all`."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]


def batch(circuit, loss="cross_entropy", examples=5, seed=0):
    """x [B, d_1] and labels fit for the loss: classes [B], or rows of 0 and 1 [B, d_L]."""
    random = np.random.default_rng(seed)
    classes = circuit.widths[-1]
    x = random.normal(size=(examples, circuit.widths[0]))
    several = loss == "sigmoid_cross_entropy"
    labels = random.integers(2, size=(examples, classes)) if several else random.integers(classes, size=examples)
    return jnp.asarray(x), jnp.asarray(labels)


def synapses(circuit, seed=0, scale=1.0):
    """Gaussian matrices for every stored pathway, with standard deviation scale / sqrt(their columns)."""
    random = np.random.default_rng(1000 + seed)
    return sj.Synapses(
        *(
            tuple(jnp.asarray(scale / shape[1] ** 0.5 * random.normal(size=shape)) for shape in shapes)
            for shapes in circuit.shapes
        )
    )


def directions(circuit, synapses, x, labels, loss="cross_entropy"):
    """forward, loss, feedback, local_update: the state they leave and the descent direction."""
    loss = sj.losses.LOSSES[loss]
    state = sj.forward(circuit, sj.State(synapses), x)
    state = sj.feedback(circuit, state, loss.error(state.activity.h[-1], labels))
    return state, sj.local_update(circuit, state)


def numbers(rates, decay=0.0, **more):
    """A rule's numbers by name, from the rates of the four pathways."""
    return {f"rate_{pathway}": rate for pathway, rate in rates._asdict().items()} | {"decay": decay} | more


@functools.partial(jax.jit, static_argnums=(0, 6))
def step(circuit, synapses, x, labels, rates, decay, loss="cross_entropy"):
    """The synapses after one step of eq. (8)-(11)."""
    optimizer = sj.plasticity.optimizer(numbers(rates, decay), plastic=circuit.plastic)
    _, grads = directions(circuit, synapses, x, labels, loss)
    updates, _ = optimizer.update(grads, optimizer.init(synapses), synapses)
    return optax.apply_updates(synapses, updates)


def assert_close(actual, expected, tolerance=1e-12):
    """Each array within `tolerance` of the expected one, relative to that one's largest entry."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        a, e = np.asarray(a), np.asarray(e)
        assert a.shape == e.shape
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * np.abs(e).max(initial=0.0))
