"""From gradients to new synapses: rates, decay and schedule of eq. (8)-(11), as an optax transformation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from sam_jax.circuit import PATHWAYS, Synapses

SCHEDULES = ("constant", "cosine")


def schedule(name: str, warmup: int, total: int) -> Callable:
    """s(step): a linear rise over `warmup` steps, and then 1, or a half cosine down to 0 at step `total`.

    Raises:
      ValueError: the name is none of SCHEDULES.
    """
    if name not in SCHEDULES:
        raise ValueError(f"schedule is {name!r}, expected one of {', '.join(SCHEDULES)}")

    def s(step):
        rise = jnp.minimum(1.0, (step + 1) / (warmup + 1))
        if name == "constant":
            return rise
        progress = jnp.clip((step - warmup) / max(total - warmup, 1), 0.0, 1.0)
        return rise * 0.5 * (1 + jnp.cos(jnp.pi * progress))

    return s


def optimizer(
    rates: Synapses,
    decay: float | jax.Array = 0.0,
    *,
    plastic: tuple[str, ...] = PATHWAYS,
    schedule: Callable = lambda step: 1.0,
    decay_times_rate: bool = False,
) -> optax.GradientTransformation:
    """ΔM = -s(t) (η_M · gradient_M + γ M) for each plastic pathway M, eq. (8)-(11); 0 for the others.

    The gradients are `local_update`'s: minus the paper's directions, as optax expects.

    Args:
      rates: η_W, η_W̄, η_V, η_V̄, one number for each pathway; they may be traced.
      decay: γ, one number for all pathways, for each step.
      plastic: the pathways that change; the others neither learn nor decay.
      schedule: s(t), a factor for each step that scales rates and decay alike.
      decay_times_rate: multiply γ by each pathway's rate, as the paper's eq. (2) does.

    The updates' `init`/`update` take Synapses; `update` needs `params`.

    Raises:
      ValueError: `plastic` names an unknown pathway, or `update` was called without params.
    """
    if unknown := set(plastic) - set(PATHWAYS):
        raise ValueError(f"plastic names {sorted(unknown)[0]!r}, expected a subset of {', '.join(PATHWAYS)}")

    def update(gradients, step, params=None):
        if params is None:
            raise ValueError("update got no params, expected the synapses as its third argument: decay needs them")
        scale = schedule(step)

        def change(pathway):
            rate, matrices = getattr(rates, pathway), getattr(params, pathway)
            if pathway not in plastic:
                return jax.tree.map(jnp.zeros_like, matrices)
            gamma = decay * rate if decay_times_rate else decay
            return jax.tree.map(
                lambda gradient, m: (-scale * (rate * gradient + gamma * m)).astype(m.dtype),
                getattr(gradients, pathway),
                matrices,
            )

        return Synapses(*map(change, PATHWAYS)), optax.safe_increment(step)

    return optax.GradientTransformation(lambda params: jnp.zeros([], jnp.int32), update)
