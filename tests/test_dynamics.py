"""One step of random circuits against the NumPy oracle, and what the functions refuse.

The circuits are drawn so that every option meets every other: depths, widths, nonlinearities, topology.
"""

import dataclasses
import itertools
import random

import jax
import jax.numpy as jnp
import numpy as np
import numpy_oracle
import optax
import pytest
from stepping import LOSS_NAMES, assert_close, batch, directions, numbers
from stepping import synapses as random_synapses

import sam_jax as sj
from sam_jax.circuit import ACTIVATIONS, DOWNSTREAM_ACTIVATIONS, ERROR_SIGNALS, FEEDBACK_WEIGHTS, PATHWAYS

WIDTHS = ("narrower", "equal", "wider")  # the downstream layer, against its upstream partner


@dataclasses.dataclass(frozen=True)
class Case:
    """A circuit and what it learns from."""

    circuit: sj.Circuit
    loss: str
    examples: int
    seed: int

    def __str__(self):
        c = self.circuit
        return f"{self.seed}-{c.activation}-{c.downstream_activation}-{'x'.join(map(str, c.widths))}"


def draw(seed, downstream_activation, gated, one_to_one, depth):
    """A random circuit with these settings, S_post gated in all pathways, none, or some; the others are drawn."""
    draw = random.Random(seed)
    widths = tuple(draw.randint(3, 6) for _ in range(depth))
    feedback_weights = draw.choice(FEEDBACK_WEIGHTS + ("local",) * 3)
    downstream_widths = widths[1:-1]
    if not (one_to_one or downstream_activation == "gate" or feedback_weights != "local"):
        downstream_widths = tuple(width + draw.randint(-2, 2) for width in downstream_widths)
    fixed = {"tied": ("w_bar",), "local": ()}[feedback_weights]
    free = [p for p in PATHWAYS if p not in fixed and not (one_to_one and p in ("v", "v_bar"))]
    circuit = sj.Circuit(
        widths,
        downstream_widths,
        activation=ACTIVATIONS[(seed + 2 * (seed // 24)) % len(ACTIVATIONS)],  # relu or linear once at most
        downstream_activation=downstream_activation,
        one_to_one=one_to_one,
        feedback_weights=feedback_weights,
        plastic=tuple(free if draw.random() < 0.5 else draw.sample(free, draw.randint(0, len(free)))),
        gated={"all": PATHWAYS, "none": (), "some": draw.sample(PATHWAYS, draw.randint(1, 3))}[gated],
        error_signal=draw.choice(ERROR_SIGNALS + ("vector",) * 2),
    )
    return Case(circuit, draw.choice(LOSS_NAMES), draw.randint(1, 5), seed)


TOPOLOGIES = list(itertools.product(DOWNSTREAM_ACTIVATIONS, ("all", "none", "some"), (True, False)))
CASES = [draw(seed, *TOPOLOGIES[seed % 24], depth=4 + seed % 3) for seed in range(48)]
CASES += [draw(seed, *TOPOLOGIES[seed % 24], depth=2 + seed % 2) for seed in range(48, 58)]  # no hidden layer, one


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_step_matches_the_oracle(case, float64):
    circuit, loss = case.circuit, sj.losses.LOSSES[case.loss]
    synapses = random_synapses(circuit, case.seed)
    x, labels = batch(circuit, case.loss, case.examples, case.seed)
    rates, decay, scale = sj.Synapses(0.3, 0.7, 0.11, 1.9), 0.013, 0.6

    @jax.jit
    def library(synapses):
        state, grads = directions(circuit, synapses, x, labels, case.loss)
        optimizer = sj.plasticity.optimizer(numbers(rates, decay), plastic=circuit.plastic, schedule=lambda _: scale)
        updates, _ = optimizer.update(grads, optimizer.init(synapses), synapses)
        return state.activity, grads, optax.apply_updates(synapses, updates)

    y = np.asarray(labels if loss.name == "sigmoid_cross_entropy" else np.eye(circuit.widths[-1])[labels])
    activity, grads, after = library(synapses)
    h, h_bar, direction, expected = numpy_oracle.one_step(
        circuit, synapses, np.asarray(x), y, case.loss, rates._asdict(), decay, scale
    )
    assert_close(activity.h, h)
    assert_close(activity.h_bar, h_bar)
    for pathway in PATHWAYS:  # local_update has the sign of descent
        assert_close(jax.tree.map(jnp.negative, getattr(grads, pathway)), direction[pathway])
        assert_close(getattr(after, pathway), expected[pathway])


def test_the_cases_cover_every_option():
    circuits = [case.circuit for case in CASES]
    deep = [c for c in circuits if len(c.widths) > 3]  # so that a hidden layer receives from a hidden layer
    assert {len(c.widths) for c in circuits} == {2, 3, 4, 5, 6}
    assert {c.activation for c in deep} == set(ACTIVATIONS)
    assert {c.error_signal for c in deep} == set(ERROR_SIGNALS)
    assert {c.feedback_weights for c in deep} == set(FEEDBACK_WEIGHTS)
    # D_d, S_post and topology in every combination, with a nonlinearity whose slope is not just 0 or 1
    smooth = [c for c in deep if c.activation not in ("relu", "linear")]
    gating = {4: "all", 0: "none"}
    seen = {(c.downstream_activation, gating.get(len(c.gated), "some"), c.one_to_one) for c in smooth}
    assert seen == set(TOPOLOGIES)
    assert all({p in c.gated for c in deep if 0 < len(c.gated) < 4} == {True, False} for p in PATHWAYS)
    compared = {
        WIDTHS[1 + int(np.sign(down - up))]
        for c in deep
        for up, down in zip(c.hidden_widths, c.downstream_widths, strict=True)
    }
    assert compared == set(WIDTHS)
    assert {case.loss for case in CASES} == set(LOSS_NAMES)
    for pathway in PATHWAYS:  # plastic here, stored but held there
        assert {pathway in c.plastic for c in deep if pathway in c.stored} == {True, False}


@pytest.mark.parametrize("circuit", [sj.sam((4, 5, 6, 3), (7, 2)), sj.kp((4, 5, 6, 3))], ids=["stored", "one to one"])
def test_init_has_the_standard_deviation_it_states(circuit):
    wide = dataclasses.replace(circuit, widths=(400, 300, 350, 200), downstream_widths=())
    if not circuit.one_to_one:
        wide = dataclasses.replace(wide, downstream_widths=(250, 450))
    scales = {"scale_w": 0.5, "scale_w_bar": 2.0, "scale_v": 3.0, "scale_v_bar": 0.7}
    synapses = jax.jit(sj.init, static_argnums=0)(wide, jax.random.key(0), scales).synapses
    assert jax.tree.map(jnp.shape, synapses) == wide.shapes
    for pathway in wide.stored:
        for matrix in getattr(synapses, pathway):
            # fan-in: the neurons that send. W̄ stands for a Wᵀ, whose W is sent to by W̄'s receivers.
            fan_in = matrix.shape[0 if pathway == "w_bar" else 1]
            normal = np.asarray(matrix, float) * fan_in**0.5 / scales[f"scale_{pathway}"]
            sampling = 5 / normal.size**0.5  # five standard errors of a mean; of a deviation it is less
            assert abs(normal.mean()) < sampling
            assert abs(normal.std() - 1) < sampling


def test_init_draws_every_matrix_afresh():
    circuit = sj.sam((6, 6, 6, 6, 6))
    one, other = (jax.tree.leaves(sj.init(circuit, jax.random.key(seed))) for seed in (0, 1))
    scaled = [matrix / jnp.std(matrix) for matrix in (*one, *other)]
    for a, b in itertools.combinations(scaled, 2):
        assert jnp.abs(a - b).max() > 0.1


def test_what_the_equations_refuse():
    circuit = sj.sam((4, 3, 2))
    state = sj.init(circuit, jax.random.key(0))
    for x in (jnp.ones((5, 3)), jnp.ones(4)):
        with pytest.raises(ValueError, match=r"x has shape \(.*\), expected \[B, 4\]"):
            sj.forward(circuit, state, x)
    error = jnp.ones((5, 2))
    with pytest.raises(ValueError, match=r"shape \(5, 2\), expected a state that forward has filled"):
        sj.feedback(circuit, state, error)
    with pytest.raises(ValueError, match="run forward, then feedback, before local_update"):
        sj.local_update(circuit, state)
    state = sj.forward(circuit, state, jnp.ones((5, 4)))
    with pytest.raises(ValueError, match=r"error has shape \(5, 3\), expected that of ŷ, \(5, 2\)"):
        sj.feedback(circuit, state, jnp.ones((5, 3)))
    with pytest.raises(ValueError, match="run forward, then feedback, before local_update"):
        sj.local_update(circuit, state)
