"""Weight mirroring (Akrout et al. 2019, their eq. 7): W̄ learns Wᵀ from noise, with no weight transport.

In mirror mode each hidden layer is driven by zero-mean noise ξ and the next layer answers
y = φ(W ξ); then W̄ <- (1 - λ) W̄ + η_B ξ yᵀ (batch mean). For Gaussian ξ of standard deviation σ,
E[ξ yᵀ] = σ² Wᵀ diag E[φ'], so W̄ settles at (η_B σ² / λ) Wᵀ diag E[φ'].

Its numbers: `mirror_noise_std` σ; `mirror_rate` η_B; `mirror_decay` λ, for each mirror step, without
which ‖W̄‖ grows without bound; `mirror_steps_before` training and `mirror_steps_after` each update.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sam_jax import dynamics
from sam_jax.circuit import Circuit, State
from sam_jax.connections import hebb, send
from sam_jax.rules.motif import fa

BATCH = 256  # rows of noise in a mirror step


def mirror(circuit: Circuit, state: State, key: jax.Array, numbers: Mapping, steps: jax.Array | int) -> State:
    """So many mirror steps, a number that may be traced: only `state.synapses.w_bar` changes.

    Raises:
      ValueError: the circuit's W̄ is not of Wᵀ's shape.
    """
    w, w_bar = state.synapses.w, state.synapses.w_bar
    shapes = [matrix.shape for matrix in w_bar], [matrix.T.shape for matrix in w[1:]]
    if shapes[0] != shapes[1]:
        raise ValueError(f"w_bar has shapes {shapes[0]}, expected those of the transposed w, {shapes[1]}")
    last = len(w_bar) - 1

    def step(place, w_bar):
        step_key = jax.random.fold_in(key, place)
        mirrored = []
        for i, matrix in enumerate(w_bar):
            noise = jax.random.normal(jax.random.fold_in(step_key, i), (BATCH, matrix.shape[0]), matrix.dtype)
            noise = numbers["mirror_noise_std"] * noise
            answer = send(w[i + 1], noise)
            answer = answer if i == last else circuit.phi(answer)  # the output is linear
            mirrored.append((1 - numbers["mirror_decay"]) * matrix + numbers["mirror_rate"] * hebb(noise, answer))
        return tuple(mirrored)

    w_bar = jax.lax.fori_loop(0, jnp.asarray(steps, int), step, w_bar)
    return state._replace(synapses=state.synapses._replace(w_bar=w_bar))


def mirrored_before(circuit: Circuit, key: jax.Array, numbers: Mapping) -> State:
    """The circuit's own start, mirrored."""
    state = dynamics.init(circuit, key, numbers)
    return mirror(circuit, state, jax.random.fold_in(key, 1), numbers, numbers["mirror_steps_before"])


def mirrored_after(circuit: Circuit, state: State, key: jax.Array, numbers: Mapping) -> State:
    """The mirror phase after an update."""
    return mirror(circuit, state, key, numbers, numbers["mirror_steps_after"])


wm = fa.replace(
    name="wm",
    title="Weight Mirroring",
    numbers={
        "rate_w": 0.0422,  # what the search chose, as for the other rules of Table 1
        "decay": 5.83e-7,
        "scale_w": 1.11,
        "scale_w_bar": 1.0,
        "mirror_noise_std": 1.0,
        "mirror_rate": 0.0243,
        "mirror_decay": 0.00936,
        "mirror_steps_before": 500.0,
        "mirror_steps_after": 1.0,
    },
    # Not scaled: `mirror_rate` and `mirror_decay` decide where W̄ settles, not how fast W learns.
    space={
        "rate_w": (0.02, 0.5),
        "decay/rate_w": (1e-5, 3e-3),
        "scale_w": (0.4, 1.2),
        "mirror_decay": (0.003, 0.03),
        "mirror_rate/mirror_decay": (0.7, 3.0),  # 2 makes W̄ as large as Wᵀ under relu
    },
    source="Akrout, Wilson, Humphreys, Lillicrap and Tweed 2019",
    learned_after=("w_bar",),
    init=mirrored_before,
    after=mirrored_after,
)
