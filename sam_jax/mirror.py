"""Weight mirroring (Akrout et al. 2019, their eq. 7): W̄ learns Wᵀ from noise, with no weight transport.

In mirror mode each hidden layer is driven by zero-mean noise ξ and the next layer answers
y = φ(W ξ); then W̄ <- (1 - λ) W̄ + η_B ξ yᵀ (batch mean). For Gaussian ξ of standard deviation σ,
E[ξ yᵀ] = σ² Wᵀ diag E[φ'], so W̄ settles at (η_B σ² / λ) Wᵀ diag E[φ'].
"""

from typing import NamedTuple

import jax

from sam_jax.circuit import Circuit, State
from sam_jax.dynamics import PHI, outer


class Mirroring(NamedTuple):
    """The numbers of mirror mode, by default those of `wm`; they may be traced.

    Attributes:
      noise_std: σ of the noise.
      rate: η_B.
      decay: λ, for each step; without it ‖W̄‖ grows without bound.
    """

    noise_std: float = 1.0
    rate: float = 0.02
    decay: float = 0.01


def mirror(
    circuit: Circuit, state: State, key: jax.Array, settings: Mirroring, *, batch_size: int, steps: int
) -> State:
    """Mirrors for `steps` batches of noise, both static: only `state.synapses.w_bar` changes.

    Raises:
      ValueError: the circuit's W̄ is not mirrored.
    """
    if circuit.feedback_weights != "mirrored":
        raise ValueError(f"feedback_weights is {circuit.feedback_weights!r}, expected 'mirrored' (the rule wm)")
    w, last = state.synapses.w, len(state.synapses.w_bar) - 1

    def step(w_bar, step_key):
        mirrored = []
        for i, matrix in enumerate(w_bar):
            shape = (batch_size, matrix.shape[0])
            noise = settings.noise_std * jax.random.normal(jax.random.fold_in(step_key, i), shape, matrix.dtype)
            answer = noise @ w[i + 1].T
            answer = answer if i == last else PHI[circuit.activation](answer)  # the output is linear
            mirrored.append((1 - settings.decay) * matrix + settings.rate * outer(noise, answer))
        return tuple(mirrored), None

    w_bar, _ = jax.lax.scan(step, state.synapses.w_bar, jax.random.split(key, steps))
    return state._replace(synapses=state.synapses._replace(w_bar=w_bar))
