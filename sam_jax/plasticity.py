"""From what a rule descends along to new synapses: rates, decay and schedule of eq. (8)-(11), in optax's pieces."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from sam_jax.circuit import PATHWAYS, Synapses

SCHEDULES = ("constant", "cosine")


def make_schedule(name: str, warmup: int, total: int) -> Callable:
    """s(step): a linear rise over `warmup` steps, and then 1, or a half cosine down to 0 at step `total`.

    Raises:
      ValueError: the name is none of SCHEDULES.

    >>> import sam_jax as sj
    >>> s = sj.plasticity.make_schedule("cosine", warmup=1, total=5)
    >>> [abs(round(float(s(step)), 3)) for step in (0, 1, 3, 5)]
    [0.5, 1.0, 0.5, 0.0]
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


def always(step):
    """The schedule of a constant rate.

    >>> import sam_jax as sj
    >>> sj.plasticity.always(7)
    1.0
    """
    return 1.0


def optimizer(
    numbers: Mapping,
    *,
    plastic: tuple[str, ...] = PATHWAYS,
    schedule: Callable = always,
    decay_times_rate: bool = False,
) -> optax.GradientTransformation:
    """ΔM = -s(t) (η_M · gradient_M + γ M) for each plastic pathway M, eq. (8)-(11); 0 for the others.

    The gradients are `local_update`'s: minus the paper's directions, as optax expects. In this order:
    each pathway's gradient times its rate; where `clip_norm` is given, all of them together cut to a
    global norm of clip_norm · η_W (so that it is the norm of the gradients where all rates are W's);
    the decay; where `momentum` is given, plus so much of the last step; the schedule. To the norm that cuts,
    1e-6 η_W is added, as by PyTorch's clip_grad_norm_ and not by optax's, so that the authors' steps come out.

    Args:
      numbers: by name: `rate_w`, ... for the plastic pathways; `decay` γ for each step, of all pathways,
        or `decay_w`, ... of one; `momentum`; `clip_norm`. They may be traced; others are not read.
      plastic: the pathways that change; the others neither learn nor decay.
      schedule: s(t), a factor for each step that scales rates and decay alike.
      decay_times_rate: multiply γ by each pathway's rate, as the paper's eq. (2) does.

    The updates' `init`/`update` take Synapses; `update` needs `params`.

    Raises:
      ValueError: `plastic` names an unknown pathway or one without a rate, or `update` was called without params.

    >>> import sam_jax as sj
    >>> optimizer = sj.plasticity.optimizer({"rate_w": 0.1, "momentum": 0.9}, plastic=("w",))
    """
    if unknown := set(plastic) - set(PATHWAYS):
        raise ValueError(f"plastic names {min(unknown)!r}, expected a subset of {', '.join(PATHWAYS)}")
    for pathway in plastic:
        if f"rate_{pathway}" not in numbers:
            raise ValueError(f"{pathway} is plastic, but the numbers {', '.join(numbers)} have no rate_{pathway}")
    pieces = [optax.stateless(_times_rates(numbers, plastic))]
    if "clip_norm" in numbers:
        pieces.append(optax.stateless(_clipped(numbers)))
    pieces.append(optax.stateless(_plus_decay(numbers, plastic, decay_times_rate)))
    if "momentum" in numbers:
        pieces.append(optax.trace(numbers["momentum"]))
    pieces.append(optax.scale_by_schedule(lambda step: -schedule(step)))
    return optax.chain(*pieces)


def carried_over(numbers: Mapping, opt_state: optax.OptState) -> optax.OptState:
    """The optimizer's state at the start of an epoch: the momentum times `momentum_kept`, where both are given.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> numbers, one = {"rate_w": 0.5, "momentum": 0.9, "momentum_kept": 0.25}, sj.Synapses(w=(jnp.ones((1, 1)),))
    >>> optimizer = sj.plasticity.optimizer(numbers, plastic=("w",))
    >>> _, state = optimizer.update(one, optimizer.init(one), one)
    >>> carried = sj.plasticity.carried_over(numbers, state)
    >>> still, _ = optimizer.update(sj.Synapses(w=(jnp.zeros((1, 1)),)), carried, one)
    >>> print(f"{still.w[0].item():.4f}")  # -0.9 · 0.25 · 0.5
    -0.1125
    """
    if "momentum" not in numbers or "momentum_kept" not in numbers:
        return opt_state
    trace = optax.tree_utils.tree_get(opt_state, "trace")
    kept = jax.tree.map(lambda m: (numbers["momentum_kept"] * m).astype(m.dtype), trace)
    return optax.tree_utils.tree_set(opt_state, trace=kept)


def held(inner: optax.GradientTransformation, plastic: tuple[str, ...]) -> optax.GradientTransformation:
    """Any optax optimizer of Synapses, with no step for the pathways that are not plastic.

    >>> import jax.numpy as jnp, optax, sam_jax as sj
    >>> one = sj.Synapses(w=(jnp.ones((1, 1)),), v=(jnp.ones((1, 1)),))
    >>> optimizer = sj.plasticity.held(optax.sgd(0.5), plastic=("w",))
    >>> updates, _ = optimizer.update(one, optimizer.init(one), one)
    >>> updates.w[0].item(), updates.v[0].item()
    (-0.5, 0.0)
    """

    def update(gradients, state, params=None):
        updates, state = inner.update(gradients, state, params)
        return _each_pathway(lambda p, m: m if p in plastic else jax.tree.map(jnp.zeros_like, m), updates), state

    return optax.GradientTransformation(inner.init, update)


def _each_pathway(change, synapses: Synapses) -> Synapses:
    return Synapses(*(change(pathway, getattr(synapses, pathway)) for pathway in PATHWAYS))


def _times_rates(numbers, plastic):
    def change(pathway, gradients):
        if pathway not in plastic:
            return jax.tree.map(jnp.zeros_like, gradients)
        rate = numbers[f"rate_{pathway}"]
        return jax.tree.map(lambda gradient: (rate * gradient).astype(gradient.dtype), gradients)

    return lambda gradients, params: _each_pathway(change, gradients)


def _clipped(numbers):
    limit, little = numbers["clip_norm"] * numbers["rate_w"], 1e-6 * numbers["rate_w"]

    def clip(steps, params):
        share = jnp.minimum(1.0, limit / (optax.tree.norm(steps) + little))
        return jax.tree.map(lambda s: (share * s).astype(s.dtype), steps)

    return clip


def _plus_decay(numbers, plastic, decay_times_rate):
    def gamma(pathway):
        decay = numbers.get(f"decay_{pathway}", numbers.get("decay", 0.0))
        return decay * numbers[f"rate_{pathway}"] if decay_times_rate else decay

    def add(steps, params):
        if params is None:
            raise ValueError("update got no params, expected the synapses as its third argument: decay needs them")

        def change(pathway, matrices):
            if pathway not in plastic:
                return matrices
            g = gamma(pathway)
            return jax.tree.map(lambda s, m: (s + g * m).astype(m.dtype), matrices, getattr(params, pathway))

        return _each_pathway(change, steps)

    return add
