"""SAM, SGD and Kolen–Pollack with more to search: momentum, and SAM's decay of V and of V̄; another start of V and V̄.

`sam_aligned` begins where Lemma 1 ends: the columns of V are orthonormal and V̄ = Vᵀ, so that H = I. That is an
extension of ours, not the paper's.

    python experiments/search.py --dataset=cifar10 --rules=sgd,examples/wider_search.py:sam_wide
"""

import jax.numpy as jnp

import sam_jax as sj

MOMENTUM = {"momentum": (0.1, 0.95)}


def aligned(circuit, key, numbers):
    state = sj.sam.init(circuit, key, numbers)
    v = tuple(jnp.linalg.qr(matrix)[0] for matrix in state.synapses.v)
    return state._replace(synapses=state.synapses._replace(v=v, v_bar=tuple(matrix.T for matrix in v)))


def wide(rule, name, **more):
    """The rule with momentum in its space; the rates' lower ends are a fifth, since momentum multiplies a step."""
    space = {n: (low / 5, high) if n == "rate_w" else (low, high) for n, (low, high) in rule.space.items()}
    return rule.replace(name=name, space=space | MOMENTUM | more)


DECAYS = {"decay_v/decay": (0.1, 30), "decay_v_bar/decay": (0.1, 30)}
sam_wide = wide(sj.sam, "sam_wide", **DECAYS).replace(title="SAM, searched more widely")
sam_aligned = sam_wide.replace(name="sam_aligned", title="SAM, V̄ = Vᵀ at first", init=aligned)
sgd_wide = wide(sj.sgd, "sgd_wide").replace(title="SGD with momentum")
kp_wide = wide(sj.kp, "kp_wide").replace(title="Kolen–Pollack with momentum")
