"""Node perturbation: one scalar error for the whole network, the loss, and noise that says who caused it.

Every neuron's potential is jittered by noise ξ of standard deviation σ, once as it is and once with its
sign turned. The difference of the two losses, one number for each example, credits all neurons alike:

    δ_l = -(F(h + ξ) - F(h - ξ)) / (2 σ²) ξ_l        E[δ] = -∂F/∂h up to σ² (exactly for a quadratic F of a
                                                     linear network)

(Widrow and Lehr 1990; Werfel, Xie and Seung 2003). It is the baseline that vectorized errors are measured
against: unbiased, local, and the noisier the more neurons share the number. Its numbers are the search's
(results/search_other_rules) for MNIST: at CIFAR-10's, a fifth of them, small data sets are not learned.
"""

import jax

from sam_jax.circuit import Activity, Circuit, State
from sam_jax.connections import send
from sam_jax.rule import Rule, Teacher

SIGMA = 1e-2  # small against the potentials, which are of order 1, and large against rounding


def jittered(circuit: Circuit, state: State, noise: tuple[jax.Array, ...]) -> jax.Array:
    """ŷ [B, K] where noise[l] [B, d_{l+1}] is added to the potentials of layer l + 1."""
    sent = state.activity.h[0]
    for w, xi in zip(state.synapses.w, noise, strict=True):
        h = send(w, sent) + xi
        sent = circuit.phi(h)
    return h


def perturb(circuit: Circuit, state: State, teacher: Teacher) -> State:
    """δ of every layer, the output too, where h̄ stands."""
    h = state.activity.h
    noise = tuple(
        SIGMA * jax.random.normal(jax.random.fold_in(teacher.key, i), potential.shape, potential.dtype)
        for i, potential in enumerate(h[1:])
    )
    turned = tuple(-xi for xi in noise)
    difference = teacher.value(jittered(circuit, state, noise)) - teacher.value(jittered(circuit, state, turned))
    scalar = difference[:, None] / (2 * SIGMA**2)
    return state._replace(activity=Activity(h, tuple(-scalar * xi for xi in noise)))


node_perturbation = Rule(
    name="node_perturbation",
    title="Node Perturbation",
    # δ is of the potentials already, so nothing gates it; and no neuron sends it on.
    circuit={
        "one_to_one": True,
        "downstream_activation": "identity",
        "plastic": ("w",),
        "gated": (),
        "feedback_weights": "tied",
    },
    numbers={"rate_w": 0.00905, "decay": 8.61e-6, "scale_w": 1.1},
    space={"rate_w": (3e-4, 0.05), "decay/rate_w": (1e-5, 3e-3), "scale_w": (0.4, 1.2)},
    feedback=perturb,
    source="Widrow and Lehr 1990; Werfel, Xie and Seung 2003",
)
