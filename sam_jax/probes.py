"""What to look at inside a circuit: how well pathways are aligned with those that they stand for."""

import jax
import jax.numpy as jnp

from sam_jax.circuit import Circuit, Synapses


def angle(a: jax.Array, b: jax.Array) -> jax.Array:
    """The angle between two arrays of one shape, taken as vectors, in degrees [0, 180]."""
    cosine = jnp.vdot(a, b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b))
    return jnp.degrees(jnp.arccos(jnp.clip(cosine, -1.0, 1.0)))


def alignment(circuit: Circuit, synapses: Synapses) -> dict[str, jax.Array]:
    """Angles (degrees) and norm ratios between paired pathways, [hidden layers], input side first.

    `w_bar_angle` and `w_bar_norm_ratio` compare W̄ with Wᵀ where W̄ is stored and of that shape
    (Akrout et al. 2019); `v_angle` compares V with V̄ᵀ where they are stored (Lemma 1).
    """
    found = {}
    transposes = [w.T for w in synapses.w[1:]]
    if "w_bar" in circuit.stored and circuit.downstream_widths == circuit.hidden_widths and circuit.hidden_widths:
        pairs = list(zip(synapses.w_bar, transposes, strict=True))
        found["w_bar_angle"] = jnp.stack([angle(w_bar, wt) for w_bar, wt in pairs])
        found["w_bar_norm_ratio"] = jnp.stack([jnp.linalg.norm(w_bar) / jnp.linalg.norm(wt) for w_bar, wt in pairs])
    if synapses.v:
        found["v_angle"] = jnp.stack([angle(v, v_bar.T) for v, v_bar in zip(synapses.v, synapses.v_bar, strict=True)])
    return found
